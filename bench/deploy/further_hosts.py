"""Additional hosts during a run: with the base of every host, and the settings of one system."""

from typing import Any

import boto3  # type: ignore[import-untyped]  # boto3 has no types

from bench.deploy import fleet

NAME_PREFIX = "further-"
TAG = "FrotaBench"  # of these hosts only
ROLE = "image_client"
COPIED_KEYS = ("ImageId", "InstanceType", "KeyName", "SubnetId")
RUNNING = {"Name": "instance-state-name", "Values": ["pending", "running"]}


def resize(count: int) -> None:
    """Launch or terminate instances until there are `count`, including those that a killed run has left.

    The next site.yml creates or removes their hosts.
    """
    ec2 = client()
    existing = instances(ec2, {"Name": "tag-key", "Values": [TAG]})
    numbers = {int(tags(instance)["Name"].removeprefix(NAME_PREFIX)): instance["InstanceId"] for instance in existing}
    if surplus := [instance for number, instance in numbers.items() if number > count]:
        ec2.terminate_instances(InstanceIds=surplus)
    for number in sorted(set(range(1, count + 1)) - numbers.keys()):
        launch(ec2, f"{NAME_PREFIX}{number}")


def launch(ec2: Any, name: str) -> None:
    """Launch an instance with the properties of the fleet's, except its name and role."""
    template = instances(ec2, {"Name": "tag:FrotaRole", "Values": ["sensor_server"]})[0]
    tag_values = {"Name": name, "Fleet": tags(template)["Fleet"], "FrotaRole": ROLE, TAG: "yes"}
    ec2.run_instances(
        MinCount=1,
        MaxCount=1,
        **{key: template[key] for key in COPIED_KEYS},
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tag_values.items()]}
        ],
    )


def stack_hosts() -> list[str]:
    """Return the names of the hosts of the stacks."""
    return [name for name in fleet.hosts() if not name.startswith(NAME_PREFIX)]


def client() -> Any:
    """Return a client of the EC2 API of the embedded AWS, which accepts any credentials."""
    return boto3.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=f"http://{fleet.embedded_aws_address()}:4566",
        aws_access_key_id="embedded",
        aws_secret_access_key="embedded",  # noqa: S106 -- not a secret: any value will do
    )


def instances(ec2: Any, *filters: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the running instances that match the filters."""
    pages = ec2.get_paginator("describe_instances").paginate(Filters=[RUNNING, *filters])
    return [instance for page in pages for reservation in page["Reservations"] for instance in reservation["Instances"]]


def tags(instance: dict[str, Any]) -> dict[str, str]:
    """Return the tags of an instance."""
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
