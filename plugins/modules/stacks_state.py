#!/usr/bin/python3
"""The AWS resources of a fleet: documentation of the action of the same name, which runs on the control node."""

DOCUMENTATION = """
module: stacks_state
short_description: The AWS resources of a fleet, in a few requests
description:
  - Queries stacks, key pair, Auto Scaling groups and instances in Ansible's own process, which has boto3 loaded.
options:
  aws: {type: dict, required: true, description: "Region, endpoint and credentials, named as in amazon.aws."}
  fleet: {type: str, required: true, description: Name of the fleet.}
  may_be_absent:
    type: bool
    default: false
    description:
      - Whether an unreachable AWS with C(endpoint_url) (the embedded AWS) has no resources instead of being an error,
        because the same run may create it later.
author: frota
"""

EXAMPLES = """
- stacks_state:
    aws: {region: eu-west-1}
    fleet: frota
"""

RETURN = """
outputs: {type: dict, returned: success, description: "Stack -> outputs, name to value."}
instances:
  type: list
  elements: dict
  returned: success
  description: Instances that are not terminated, with id, state, address and tags as in amazon.aws.ec2_instance_info.
known:
  type: list
  elements: str
  returned: success
  description: Ids of the instances in any state; AWS lists terminated ones for about an hour.
resources: {type: str, returned: success, description: "All resources as text, to compare between runs."}
"""
