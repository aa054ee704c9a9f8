#!/usr/bin/python3
"""Hosts that start: documentation of the action of the same name, which runs on the control node."""

DOCUMENTATION = """
module: wait_for_ssh
short_description: Wait until a host runs commands over its connection
description:
  - Runs C(true) on the host until that succeeds. Needs no Python on the host, unlike
    C(ansible.builtin.wait_for_connection), which sends and starts a module.
options:
  timeout: {type: int, default: 120, description: Seconds until the host counts as unreachable.}
author: frota
"""

EXAMPLES = """
- wait_for_ssh:
    timeout: 300
"""

RETURN = """
attempts: {type: int, returned: success, description: How many times a connection was tried.}
"""
