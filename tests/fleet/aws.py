"""Clients of the embedded AWS of the fleet, and the objects in its S3."""

from collections import defaultdict
from typing import Any

import boto3  # type: ignore[import-untyped]

from .fleet import Fleet


def client(fleet: Fleet, service: str) -> Any:
    """Return a client of a service of the embedded AWS, which accepts any credentials."""
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=f"http://{fleet.embedded_aws.address}:4566",
        aws_access_key_id="embedded",
        aws_secret_access_key="embedded",
    )


class Results:
    """The bucket of the converted images."""

    def __init__(self, fleet: Fleet) -> None:
        self._s3 = client(fleet, "s3")
        stack = client(fleet, "cloudformation").describe_stacks(StackName="frota-storage")["Stacks"][0]
        self.bucket = next(item["OutputValue"] for item in stack["Outputs"] if item["OutputKey"] == "ResultsBucket")

    def keys(self, prefix: str) -> list[str]:
        """Return the keys with a prefix."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def metadata(self, key: str) -> dict[str, str]:
        """Return the metadata of an object."""
        metadata: dict[str, str] = self._s3.head_object(Bucket=self.bucket, Key=key)["Metadata"]
        return metadata

    def body(self, key: str) -> bytes:
        """Return the content of an object."""
        body: bytes = self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def keys_by_image(self, prefix: str) -> dict[str, list[str]]:
        """Return the keys with a prefix, by the id of their image."""
        keys = defaultdict(list)
        for key in self.keys(prefix):
            keys[self.metadata(key)["image-id"]].append(key)
        return keys

    def drop(self, prefix: str) -> None:
        """Delete the objects with a prefix; a request deletes at most 1000."""
        while keys := [{"Key": key} for key in self.keys(prefix)[:1000]]:
            self._s3.delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})
