"""The buckets in the templates: access, encryption, retention."""

from collections.abc import Callable
from typing import Any

import pytest

Resources = Callable[..., dict[str, Any]]


@pytest.fixture
def buckets(resources: Resources) -> dict[str, Any]:
    """Return the properties of every bucket."""
    buckets = resources("AWS::S3::Bucket")
    assert set(buckets) == {"storage.ResultsBucket", "storage.UploadsBucket", "storage.BackupsBucket"}
    return buckets


def test_buckets_are_private(buckets: dict[str, Any]) -> None:
    """Every bucket blocks public access, and its owner owns all objects."""
    blocks = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    for name, bucket in buckets.items():
        assert bucket["PublicAccessBlockConfiguration"] == dict.fromkeys(blocks, True), name
        assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}, name


def test_buckets_are_encrypted(buckets: dict[str, Any]) -> None:
    """Every bucket encrypts its objects."""
    expected = [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    for name, bucket in buckets.items():
        assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"] == expected, name


def test_buckets_require_tls(buckets: dict[str, Any], resources: Resources) -> None:
    """Every bucket denies requests without TLS."""
    policies = {
        policy["Bucket"]["Ref"]: policy["PolicyDocument"] for policy in resources("AWS::S3::BucketPolicy").values()
    }
    assert {f"storage.{name}" for name in policies} == set(buckets)
    for name, policy in policies.items():
        [statement] = policy["Statement"]
        bucket_and_objects = [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]
        assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*"), name
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}, name
        assert statement["Resource"] == bucket_and_objects, name


def test_bucket_names_are_generated(buckets: dict[str, Any]) -> None:
    """AWS generates the bucket names, because they must be globally unique."""
    assert [name for name, bucket in buckets.items() if "BucketName" in bucket] == []


def test_buckets_outlive_their_stack(stacks: dict[str, Any], buckets: dict[str, Any]) -> None:
    """A bucket is retained when its stack is deleted or replaces it."""
    for name in buckets:
        resource = stacks["storage"]["Resources"][name.partition(".")[2]]
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain"), name


def test_expiration_of_objects(buckets: dict[str, Any]) -> None:
    """Results and backups never expire; uploads expire after 90 days."""

    def expirations(name: str) -> list[Any]:
        rules = buckets[name]["LifecycleConfiguration"]["Rules"]
        return [(rule.get("Prefix"), rule["ExpirationInDays"]) for rule in rules if "ExpirationInDays" in rule]

    assert expirations("storage.ResultsBucket") == expirations("storage.BackupsBucket") == []
    assert expirations("storage.UploadsBucket") == [("uploads/", 90)]


def test_incomplete_uploads_are_aborted(buckets: dict[str, Any]) -> None:
    """Incomplete multipart uploads are aborted after a day."""
    for name, bucket in buckets.items():
        rules = bucket["LifecycleConfiguration"]["Rules"]
        days = [rule["AbortIncompleteMultipartUpload"] for rule in rules if "AbortIncompleteMultipartUpload" in rule]
        assert days == [{"DaysAfterInitiation": 1}], name
        assert {rule["Status"] for rule in rules} == {"Enabled"}, name
