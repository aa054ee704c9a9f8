"""Query a fleet's AWS resources; the module of the same name has the documentation."""

import json
from collections.abc import Iterator
from typing import Any

import boto3  # type: ignore[import-untyped]  # boto3 carries no types, nor does botocore
from ansible.errors import AnsibleActionFail  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]  # Ansible carries no types
from botocore.config import Config  # type: ignore[import-untyped]  # as above
from botocore.exceptions import (  # type: ignore[import-untyped]  # as above
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
)

INSTANCE_STATES = ["pending", "running", "stopping", "stopped"]
# Option of amazon.aws modules -> argument of boto3.
BOTO3_ARGUMENTS = {
    "region": "region_name",
    "endpoint_url": "endpoint_url",
    "access_key": "aws_access_key_id",
    "secret_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
}
CLIENT_CONFIG = Config(connect_timeout=3, read_timeout=60, retries={"total_max_attempts": 3})


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible carries no types
    """Query in Ansible's own process, which has boto3 loaded: starting a module takes longer than the requests."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return outputs, instances, and all resources as text; all empty if AWS may be absent and is."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = {
            "aws": {"type": "dict", "required": True},
            "fleet": {"type": "str", "required": True},
            "may_be_absent": {"type": "bool", "default": False},
        }
        _, arguments = self.validate_argument_spec(argument_spec=options)
        account = Account(arguments["aws"], arguments["fleet"])
        try:
            stacks = list(account.stacks())
            known = list(account.instances())
            instances = [instance for instance in known if instance["state"]["name"] in INSTANCE_STATES]
            resources = [*stacks, *account.keys(), *account.groups(), *instances]
        except (ConnectTimeoutError, EndpointConnectionError) as error:
            if not arguments["may_be_absent"] or "endpoint_url" not in arguments["aws"]:
                raise AnsibleActionFail(f"AWS is unreachable: {error}") from error
            return {**result, "resources": "", "outputs": {}, "instances": [], "known": []}
        except (BotoCoreError, ClientError) as error:
            raise AnsibleActionFail(f"AWS: {error}") from error
        outputs = {stack["stack"]: stack["outputs"] for stack in stacks}
        text = json.dumps(resources, sort_keys=True)
        names = [instance["instance_id"] for instance in known]
        return {**result, "resources": text, "outputs": outputs, "instances": instances, "known": names}


class Account:
    """The fleet's resources in an AWS account. Every method raises BotoCoreError or ClientError."""

    def __init__(self, aws: dict[str, str], fleet: str) -> None:
        arguments = {BOTO3_ARGUMENTS[key]: aws[key] for key in BOTO3_ARGUMENTS if key in aws}
        self._endpoint, self._fleet = arguments.pop("endpoint_url", None), fleet
        self._session = boto3.Session(**arguments)

    def stacks(self) -> Iterator[dict[str, Any]]:
        """Yield each stack with its status, the digest in its tag MadeOf, and its outputs."""
        for page in self._pages("cloudformation", "describe_stacks"):
            for stack in page["Stacks"]:
                tags = pairs(stack.get("Tags", ()), "Key", "Value")
                if tags.get("Fleet") == self._fleet:
                    outputs = pairs(stack.get("Outputs", ()), "OutputKey", "OutputValue")
                    state = {"status": stack["StackStatus"], "digest": tags.get("MadeOf", "")}
                    yield {"stack": stack["StackName"], **state, "outputs": outputs}

    def keys(self) -> Iterator[dict[str, Any]]:
        """Yield the fleet's key pair."""
        response = self._client("ec2").describe_key_pairs(Filters=[{"Name": "key-name", "Values": [self._fleet]}])
        yield from ({"key": key["KeyFingerprint"]} for key in response["KeyPairs"])

    def groups(self) -> Iterator[dict[str, Any]]:
        """Yield the fleet's Auto Scaling groups with their desired capacity."""
        for page in self._pages("autoscaling", "describe_auto_scaling_groups"):
            for group in page["AutoScalingGroups"]:
                if group["AutoScalingGroupName"].startswith(f"{self._fleet}-"):
                    yield {"group": group["AutoScalingGroupName"], "size": group["DesiredCapacity"]}

    def instances(self) -> Iterator[dict[str, Any]]:
        """Yield the instances in any state, in the format of amazon.aws.ec2_instance_info."""
        filters = [{"Name": "tag:Fleet", "Values": [self._fleet]}]
        for page in self._pages("ec2", "describe_instances", Filters=filters):
            for instance in (item for reservation in page["Reservations"] for item in reservation["Instances"]):
                yield {
                    "instance_id": instance["InstanceId"],
                    "state": {"name": instance["State"]["Name"]},
                    "private_ip_address": instance.get("PrivateIpAddress", ""),
                    "tags": pairs(instance.get("Tags", ()), "Key", "Value"),
                }

    def _client(self, service: str) -> Any:
        return self._session.client(service, endpoint_url=self._endpoint, config=CLIENT_CONFIG)

    def _pages(self, service: str, call: str, **arguments: Any) -> Iterator[Any]:
        yield from self._client(service).get_paginator(call).paginate(**arguments)


def pairs(items: Any, key: str, value: str) -> dict[str, str]:
    """Return AWS's list of key-value pairs as a dictionary."""
    return {item[key]: item[value] for item in items}
