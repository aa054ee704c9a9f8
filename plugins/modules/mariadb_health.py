#!/usr/bin/python3
"""Check that a MariaDB server is running and enabled, requires TLS, and has its database."""

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.mariadb_client import (  # type: ignore[import-untyped]  # found by Ansible
    Client,
    SqlFault,
)
from ansible.module_utils.systemd_units import journal, properties  # type: ignore[import-untyped]  # found by Ansible

DOCUMENTATION = """
module: mariadb_health
short_description: Check that a MariaDB server is running and enabled, requires TLS, and has its database
description:
  - Fails with all faults and the end of the server's journal. Changes nothing.
options:
  database: {type: str, required: true, description: Database that has to exist.}
author: frota
"""

EXAMPLES = """
- mariadb_health: {database: frota_peers}
"""

RETURN = "{}"

UNIT = "mariadb.service"
JOURNAL_LINES = 20


def unit_faults(state: Mapping[str, str]) -> Iterator[str]:
    """Yield a message for each fault of the server's unit."""
    if state["UnitFileState"] != "enabled":
        yield f"{UNIT} is not enabled"
    if state["ActiveState"] not in ("active", "reloading"):
        yield f"{UNIT} is not active: {state['SubState']}"


def server_faults(database: str, variables: Mapping[str, str], *, exists: bool) -> Iterator[str]:
    """Yield a message for each fault of the running server."""
    if variables.get("require_secure_transport") != "ON" or variables.get("have_ssl") != "YES":
        yield f"it accepts connections without TLS: {dict(sorted(variables.items()))}"
    if not exists:
        yield f"there is no database {database}. site.yml creates it"


def faults(params: Mapping[str, Any], state: Mapping[str, str], client: Client) -> Iterator[str]:
    """Yield a message for each fault."""
    yield from unit_faults(state)
    if state["ActiveState"] not in ("active", "reloading"):
        return
    name = params["database"]
    try:
        rows = client.rows("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('require_secure_transport', 'have_ssl')")
        yield from server_faults(name, dict(map(tuple, rows)), exists=client.has_database(name))
    except SqlFault as fault:
        yield str(fault)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec={"database": {"type": "str", "required": True}}, supports_check_mode=True)
    state = properties(module, [UNIT], ["ActiveState", "SubState", "UnitFileState"])[UNIT]
    if messages := list(faults(module.params, state, Client(module))):
        module.fail_json(msg=f"{'; '.join(messages)}. End of the journal:\n{journal(module, UNIT, JOURNAL_LINES)}")
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
