#!/usr/bin/python3
"""The systems of every host: documentation of the action of the same name, which runs on the control node."""

DOCUMENTATION = """
module: fleet_systems
short_description: The systems of every host, their state there, and a digest of their description
description:
  - A system is a role with C(meta/host_state.yml). This file lists its hosts (C(groups), or C(localhost)), its state on
    them (in the format of the module C(host_state)), the systems that it depends on (C(needs)), the roles that it uses
    and that are not systems (C(uses)), and files outside of the role that belong to it (C(sources)).
  - The digest covers the files of these roles, the playbooks and plugins, and the variables of the system's hosts whose
    names have one of these roles as prefix, except facts and registered results of the run.
  - C(whole) tells whether the run executes every task on every host, without C(--limit), C(--tags) and the like.
options:
  root: {type: path, required: true, description: Folder of the checkout.}
  systems: {type: list, elements: str, default: [], description: Systems to read; empty for all.}
author: frota
"""

EXAMPLES = """
- fleet_systems:
    root: "{{ fleet_root }}"
    systems: [sensors]
"""

RETURN = """
hosts: {type: dict, returned: success, description: Host -> system -> options of C(host_state).}
members: {type: dict, returned: success, description: System -> its hosts.}
needs: {type: dict, returned: success, description: System -> systems that it depends on.}
changes: {type: bool, returned: success, description: "Whether the run may change hosts; C(--tags verify) does not."}
whole: {type: bool, returned: success, description: Whether the run executes every task on every host.}
"""
