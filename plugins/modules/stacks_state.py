#!/usr/bin/python3
"""The AWS resources of a fleet: documentation of the action of the same name, which runs on the control node."""

DOCUMENTATION = """
module: stacks_state
short_description: The AWS resources of a fleet, in a few requests
description:
  - Queries stacks, key pair, Auto Scaling groups and instances in Ansible's own process, which has boto3 loaded.
  - An unreachable AWS with C(endpoint_url) (the embedded AWS) has no resources. This is not an error, because the same
    run may create it later.
options:
  aws: {type: dict, required: true, description: "Region, endpoint and credentials, named as in amazon.aws."}
  fleet: {type: str, required: true, description: Name of the fleet.}
author: frota
"""

EXAMPLES = """
- stacks_state:
    aws: {region: eu-west-1}
    fleet: frota
"""

RETURN = """
outputs: {type: dict, returned: success, description: "Stack -> outputs, name to value."}
resources: {type: str, returned: success, description: "All resources as text, to compare between runs."}
"""
