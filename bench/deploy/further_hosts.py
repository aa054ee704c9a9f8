"""Hosts for the time of a run, beside those of the stacks: with what every host has, and a file of one system."""

from typing import Any

import boto3  # type: ignore[import-untyped]  # boto3 carries no types

from bench.deploy import fleet

NAME = "further-"
TAG = "FrotaBench"  # theirs alone
ROLE = "image_client"
LIKE = ("ImageId", "InstanceType", "KeyName", "SubnetId")
ALIVE = {"Name": "instance-state-name", "Values": ["pending", "running"]}


def resize(wanted: int) -> None:
    """Launch or terminate instances until so many are there; what a run that was killed has left counts.

    The next site.yml makes hosts of them, or takes their hosts away.
    """
    ec2 = client()
    there = instances(ec2, {"Name": "tag-key", "Values": [TAG]})
    numbers = {int(tags(one)["Name"].removeprefix(NAME)): one["InstanceId"] for one in there}
    if gone := [instance for number, instance in numbers.items() if number > wanted]:
        ec2.terminate_instances(InstanceIds=gone)
    for number in sorted(set(range(1, wanted + 1)) - numbers.keys()):
        launch(ec2, f"{NAME}{number}")


def launch(ec2: Any, name: str) -> None:
    """Launch an instance that is like the fleet's, save for its name and role."""
    like = instances(ec2, {"Name": "tag:FrotaRole", "Values": ["sensor_server"]})[0]
    given = {"Name": name, "Fleet": tags(like)["Fleet"], "FrotaRole": ROLE, TAG: "yes"}
    ec2.run_instances(
        MinCount=1,
        MaxCount=1,
        **{key: like[key] for key in LIKE},
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in given.items()]}
        ],
    )


def own() -> list[str]:
    """Return the names of the hosts that the fleet has by itself."""
    return [name for name in fleet.hosts() if not name.startswith(NAME)]


def client() -> Any:
    """Return the EC2 API of the embedded AWS, which takes any credentials."""
    return boto3.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=f"http://{fleet.embedded_aws_address()}:4566",
        aws_access_key_id="embedded",
        aws_secret_access_key="embedded",  # noqa: S106 -- none: any will do
    )


def instances(ec2: Any, *filters: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the instances that run and that filters let through."""
    pages = ec2.get_paginator("describe_instances").paginate(Filters=[ALIVE, *filters])
    return [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]


def tags(instance: dict[str, Any]) -> dict[str, str]:
    """Return the tags of an instance."""
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
