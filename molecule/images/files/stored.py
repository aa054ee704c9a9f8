"""Print as JSON what a bucket holds: the key of every object, and its metadata.

stored.py ENDPOINT BUCKET PREFIX
"""

import json
import sys

import boto3


def main(endpoint: str, bucket: str, prefix: str) -> None:
    """Ask for every object whose key begins so."""
    s3 = boto3.client("s3", endpoint_url=endpoint)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    print(json.dumps([{"key": key} | s3.head_object(Bucket=bucket, Key=key)["Metadata"] for key in keys]))


if __name__ == "__main__":
    main(*sys.argv[1:])
