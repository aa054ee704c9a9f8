#!/usr/bin/python3
"""What AWS has of a fleet: documentation of the action of the same name, which runs on the control node."""

DOCUMENTATION = """
module: stacks_state
short_description: What AWS has of a fleet, in a few quick questions
description:
  - Asks for stacks, key pair, groups and instances in the run's own process, which has boto3 loaded for the inventory.
  - An AWS of our own (with C(endpoint_url)) that does not answer has nothing; that is no error, for the run that asks
    may be the one that makes it.
options:
  aws: {type: dict, required: true, description: "Region, endpoint and credentials, as amazon.aws takes them."}
  fleet: {type: str, required: true, description: Name of the fleet.}
author: frota
"""

EXAMPLES = """
- stacks_state:
    aws: {region: eu-west-1}
    fleet: frota
"""

RETURN = """
outputs: {type: dict, returned: success, description: "Stack -> its outputs, name to value."}
found: {type: str, returned: success, description: "All that was found, as text; another text means a difference."}
"""
