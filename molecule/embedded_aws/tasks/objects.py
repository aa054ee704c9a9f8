"""objects.py ENDPOINT written|read: put objects as the image pipeline does, or see that they are there, and whole."""

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.exceptions import ClientError

endpoint, what = sys.argv[1:]
s3 = boto3.client(
    "s3",
    endpoint_url=endpoint,
    region_name="us-east-1",
    aws_access_key_id="x",
    aws_secret_access_key="x",  # noqa: S106 - it takes any
)
bucket, keys = {"Bucket": "molecule"}, [f"{number}.jpg" for number in range(200)]


def body_of(key):
    """Return 100 KB of unique content."""
    return hashlib.shake_256(key.encode()).digest(100_000)


def write(key):
    """Put an object unless it exists."""
    s3.put_object(**bucket, Key=key, Body=body_of(key), Metadata={"image-id": key}, IfNoneMatch="*")


def differs(key):
    """Tell whether an object differs from what was written."""
    stored = s3.get_object(**bucket, Key=key)
    return stored["Body"].read() != body_of(key) or stored["Metadata"] != {"image-id": key}


with ThreadPoolExecutor(4) as pool:
    if what == "written":
        s3.create_bucket(**bucket)
        list(pool.map(write, keys))
    elif wrong := [key for key, bad in zip(keys, pool.map(differs, keys), strict=True) if bad]:
        sys.exit(f"not as they were written: {wrong}")

try:
    write(keys[0])
    sys.exit(f"{keys[0]} was overwritten")
except ClientError as error:
    if error.response["Error"]["Code"] != "PreconditionFailed":
        raise
