#!/usr/bin/python3
"""What each host has of which system: documentation of the action of the same name, which runs on the control node."""

DOCUMENTATION = """
module: fleet_systems
short_description: What each host has of which system, and a digest of all that describes it
description:
  - A system is a role with C(meta/host_state.yml), which names its hosts (C(groups), or C(localhost)), what it has on
    them (as the module C(host_state) takes it), other systems on which it depends (C(needs)), roles that are no system
    and that it takes in (C(uses)), and files outside of the role that describe it (C(sources)).
  - The digest is of the role's files and those of the roles that it uses, of the playbooks and plugins, and of the
    variables of its hosts, those whose names begin with the name of one of these roles, without what tasks of the run
    have set or registered.
  - C(whole) tells whether the run plays everything everywhere, without C(--limit), C(--tags) and the like.
options:
  root: {type: path, required: true, description: Folder of the checkout.}
  systems: {type: list, elements: str, default: [], description: Which systems; all of them if empty.}
author: frota
"""

EXAMPLES = """
- fleet_systems:
    root: "{{ fleet_root }}"
    systems: [sensors]
"""

RETURN = """
hosts: {type: dict, returned: success, description: Host -> system -> what C(host_state) takes.}
members: {type: dict, returned: success, description: System -> its hosts.}
needs: {type: dict, returned: success, description: System -> systems that it depends on.}
changes: {type: bool, returned: success, description: "Whether the run may change a host: C(--tags verify) may not."}
whole: {type: bool, returned: success, description: Whether the run plays everything everywhere.}
"""
