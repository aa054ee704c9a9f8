"""What the embedded AWS of the fleet knows, and what its S3 holds."""

from collections import defaultdict
from typing import Any

import boto3  # type: ignore[import-untyped]

from .fleet import Fleet


def client(fleet: Fleet, service: str) -> Any:
    """Return an API of the embedded AWS; it takes any credentials."""
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=f"http://{fleet.embedded_aws.address}:4566",
        aws_access_key_id="embedded",
        aws_secret_access_key="embedded",
    )


class Results:
    """The bucket of the grey images."""

    def __init__(self, fleet: Fleet) -> None:
        self._s3 = client(fleet, "s3")
        described = client(fleet, "cloudformation").describe_stacks(StackName="frota-storage")["Stacks"][0]
        self.bucket = next(one["OutputValue"] for one in described["Outputs"] if one["OutputKey"] == "ResultsBucket")

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin so."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def metadata(self, key: str) -> dict[str, str]:
        """Return what was put down about an object."""
        found: dict[str, str] = self._s3.head_object(Bucket=self.bucket, Key=key)["Metadata"]
        return found

    def body(self, key: str) -> bytes:
        """Return an object."""
        found: bytes = self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return found

    def keys_by_image(self, prefix: str) -> dict[str, list[str]]:
        """Return the keys that begin so by the id of their image."""
        found = defaultdict(list)
        for key in self.keys(prefix):
            found[self.metadata(key)["image-id"]].append(key)
        return found

    def drop(self, prefix: str) -> None:
        """Delete the objects whose keys begin so, a thousand with each request, which is the most."""
        while keys := [{"Key": key} for key in self.keys(prefix)[:1000]]:
            self._s3.delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})
