"""Where images are kept, as written in the templates: private, encrypted, over TLS alone, kept by mistake at worst."""

from collections.abc import Callable
from typing import Any

import pytest

Resources = Callable[..., dict[str, Any]]


@pytest.fixture
def buckets(resources: Resources) -> dict[str, Any]:
    """The properties of every bucket."""
    found = resources("AWS::S3::Bucket")
    assert set(found) == {"storage.ResultsBucket", "storage.UploadsBucket"}
    return found


def test_every_bucket_is_private_and_belongs_to_its_owner_with_all_it_holds(buckets: dict[str, Any]) -> None:
    blocks = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    for name, bucket in buckets.items():
        assert bucket["PublicAccessBlockConfiguration"] == dict.fromkeys(blocks, True), name
        assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}, name


def test_every_bucket_is_encrypted(buckets: dict[str, Any]) -> None:
    wanted = [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    for name, bucket in buckets.items():
        assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"] == wanted, name


def test_every_bucket_is_reached_over_tls_alone(buckets: dict[str, Any], resources: Resources) -> None:
    policies = {
        policy["Bucket"]["Ref"]: policy["PolicyDocument"] for policy in resources("AWS::S3::BucketPolicy").values()
    }
    assert {f"storage.{name}" for name in policies} == set(buckets)
    for name, policy in policies.items():
        [statement] = policy["Statement"]
        everything = [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]
        assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*"), name
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}, name
        assert statement["Resource"] == everything, name


def test_a_bucket_has_no_name_that_somebody_else_in_the_world_may_have_taken(buckets: dict[str, Any]) -> None:
    assert [name for name, bucket in buckets.items() if "BucketName" in bucket] == []


def test_no_bucket_goes_with_its_stack(stacks: dict[str, Any], buckets: dict[str, Any]) -> None:
    for name in buckets:
        resource = stacks["storage"]["Resources"][name.partition(".")[2]]
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain"), name


def test_results_are_kept_for_ever_and_uploads_for_three_months(buckets: dict[str, Any]) -> None:
    def ends(name: str) -> list[Any]:
        rules = buckets[name]["LifecycleConfiguration"]["Rules"]
        return [(rule.get("Prefix"), rule["ExpirationInDays"]) for rule in rules if "ExpirationInDays" in rule]

    assert ends("storage.ResultsBucket") == []
    assert ends("storage.UploadsBucket") == [("uploads/", 90)]


def test_uploads_in_parts_that_never_end_are_cleared_away(buckets: dict[str, Any]) -> None:
    for name, bucket in buckets.items():
        rules = bucket["LifecycleConfiguration"]["Rules"]
        days = [rule["AbortIncompleteMultipartUpload"] for rule in rules if "AbortIncompleteMultipartUpload" in rule]
        assert days == [{"DaysAfterInitiation": 1}], name
        assert {rule["Status"] for rule in rules} == {"Enabled"}, name
