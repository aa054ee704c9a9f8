"""Permissions of the hosts in the AWS API, according to the templates."""

import json
from collections.abc import Callable
from typing import Any

Resources = Callable[..., dict[str, Any]]

# Wildcards that AWS requires: (resource, action or "Resource") -> reason; none so far.
WILDCARDS: dict[tuple[str, str], str] = {}
# Allowed policies that AWS manages: ARN -> reason; none so far.
MANAGED: dict[str, str] = {}

PRINCIPALS = ("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group")
POLICIES = ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy")


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def permissions(resources: Resources) -> list[tuple[str, dict[str, Any]]]:
    """Return every policy statement with the name of its resource."""
    documents = [
        (name, policy["PolicyDocument"])
        for name, principal in resources(*PRINCIPALS).items()
        for policy in principal.get("Policies", [])
    ]
    documents += [(name, policy["PolicyDocument"]) for name, policy in resources(*POLICIES).items()]
    return [(name, statement) for name, document in documents for statement in as_list(document["Statement"])]


def wildcards(name: str, statement: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the wildcards of a statement in its actions and resources; NotAction and NotResource count as such."""
    used = [(name, str(action)) for action in as_list(statement.get("Action", "*")) if "*" in str(action)]
    if "*" in as_list(statement.get("Resource", "*")):
        used.append((name, "Resource"))
    return used


def test_only_ec2_may_assume_roles(resources: Resources) -> None:
    """Only EC2 may assume a role of the fleet."""
    roles = resources("AWS::IAM::Role")
    assert roles
    trusted = {
        (statement["Effect"], str(statement["Principal"]), statement["Action"])
        for role in roles.values()
        for statement in as_list(role["AssumeRolePolicyDocument"]["Statement"])
    }
    assert trusted == {("Allow", "{'Service': 'ec2.amazonaws.com'}", "sts:AssumeRole")}


def test_wildcards_have_a_reason(resources: Resources) -> None:
    """No permission has a wildcard without a listed reason."""
    used = [wildcard for name, statement in permissions(resources) for wildcard in wildcards(name, statement)]
    assert [wildcard for wildcard in used if wildcard not in WILDCARDS] == []


def test_host_role_has_no_permissions(resources: Resources) -> None:
    """The role of hosts that use no AWS API has no permissions."""
    assert [statement for name, statement in permissions(resources) if name == "access.HostRole"] == []


# All permissions: role, action, resource, condition.
RESULTS, UPLOADS, BACKUPS = (
    "arn:${AWS::Partition}:s3:::${" + bucket + "}" for bucket in ("ResultsBucket", "UploadsBucket", "BackupsBucket")
)
IF_NONE_MATCH = '{"Null": {"s3:if-none-match": "false"}}'
ALLOWED = {
    ("ImageProducerRole", "s3:PutObject", f"{UPLOADS}/uploads/*", ""),
    ("ImageProducerRole", "s3:AbortMultipartUpload", f"{UPLOADS}/uploads/*", ""),
    ("ImageWorkerRole", "s3:PutObject", f"{RESULTS}/*", IF_NONE_MATCH),
    ("ImageWorkerRole", "s3:GetObject", f"{RESULTS}/*", ""),
    ("ImageWorkerRole", "s3:GetObject", f"{UPLOADS}/uploads/*", ""),
    ("ImageWorkerRole", "s3:DeleteObject", f"{UPLOADS}/uploads/*", ""),
    ("ImageWorkerRole", "s3:ListBucket", RESULTS, ""),
    ("ImageWorkerRole", "s3:ListBucket", UPLOADS, ""),
    ("DatabaseRole", "s3:PutObject", f"{BACKUPS}/*", ""),
    ("DatabaseRole", "s3:GetObject", f"{BACKUPS}/*", ""),
    ("DatabaseRole", "s3:AbortMultipartUpload", f"{BACKUPS}/*", ""),
    ("DatabaseRole", "s3:ListBucket", BACKUPS, ""),
}


def test_permissions_of_each_role(resources: Resources) -> None:
    """Each role has exactly the permissions that its system needs."""
    granted = [
        (
            name.partition(".")[2],
            action,
            resource["Fn::Sub"],
            json.dumps(statement["Condition"]) if "Condition" in statement else "",
        )
        for name, statement in permissions(resources)
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
        if statement["Effect"] == "Allow"
    ]
    assert sorted(granted) == sorted(ALLOWED)


def test_every_role_has_its_own_profile(resources: Resources) -> None:
    """Every role has its own instance profile."""
    profiles = {name: profile["Roles"] for name, profile in resources("AWS::IAM::InstanceProfile").items()}
    roles = {name: [{"Ref": name.partition(".")[2]}] for name in resources("AWS::IAM::Role")}
    assert profiles == {name.replace("Role", "Profile"): role for name, role in roles.items()}


def test_aws_managed_policies_have_a_reason(resources: Resources) -> None:
    """No role has a policy managed by AWS without a listed reason."""
    attached = [
        (name, arn)
        for name, principal in resources(*PRINCIPALS).items()
        for arn in principal.get("ManagedPolicyArns", [])
    ]
    assert [(name, arn) for name, arn in attached if arn not in MANAGED] == []


def test_no_users_keys_or_groups(resources: Resources) -> None:
    """The templates create no IAM users, access keys or groups."""
    assert resources("AWS::IAM::User", "AWS::IAM::AccessKey", "AWS::IAM::Group") == {}
