#!/usr/bin/python3
"""Check that units are active, enabled, valid and sandboxed, and that they say that they are healthy."""

import re
from collections.abc import Iterator, Mapping
from http.client import HTTPException

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.systemd_units import journal, properties  # type: ignore[import-untyped]  # found by Ansible
from ansible.module_utils.urls import open_url  # type: ignore[import-untyped]  # Ansible carries no types

DOCUMENTATION = """
module: unit_health
short_description: Check that units are active, enabled, valid, sandboxed and healthy
description:
  - Fails with all faults and the end of the faulty units' journals. Changes nothing.
options:
  units: {type: list, elements: str, required: true, description: Full names of the units.}
  exposure:
    {type: float, required: true, description: "Maximum exposure level of C(systemd-analyze security), 0 to 10."}
  health:
    type: list
    elements: str
    default: []
    description: Addresses (ADDRESS:PORT) at which C(GET /healthz) and C(GET /metrics) must be answered with 200.
author: frota
"""

EXAMPLES = """
- unit_health:
    units: [frota-sensor-server.socket, frota-sensor-server.service]
    exposure: 1.4
    health: ["127.0.0.1:9401"]
"""

RETURN = "{}"

LEVEL = re.compile(r"exposure level[^:]*: ([0-9.]+)")
JOURNAL_LINES = 10
HEALTH_TIMEOUT = 30  # seconds


def state_faults(unit: str, state: Mapping[str, str]) -> Iterator[str]:
    """Yield a message for each fault of a unit's state."""
    if state["ActiveState"] not in ("active", "reloading"):
        yield f"{unit} is not active: {state['SubState']}"
    if state["UnitFileState"] != "enabled":
        yield f"{unit} is not enabled"


def verify_faults(unit: str, output: str) -> list[str]:
    """Return the lines of `systemd-analyze verify` about a unit; each is a fault, although the exit status is 0."""
    name = re.split(r"[@.]", unit)[0]
    return [line for line in output.splitlines() if name in line]


def exposure_fault(unit: str, output: str, limit: float) -> str:
    """Return a message if the exposure level of `systemd-analyze security` exceeds the limit, else an empty text."""
    level = LEVEL.search(output)
    if level and float(level[1]) <= limit:
        return ""
    return f"{unit} has the exposure level {level[1] if level else 'unknown'}: expected at most {limit:g}"


def health_faults(address: str) -> list[str]:
    """Return a message for each of GET /healthz and GET /metrics that is not answered with 200 and a whole body."""
    messages = []
    for url in (f"http://{address}/healthz", f"http://{address}/metrics"):
        try:
            open_url(url, timeout=HEALTH_TIMEOUT, use_proxy=False).read()
        except (OSError, HTTPException) as error:  # HTTPError and URLError, too
            messages.append(f"GET {url}: {error}")
    return messages


def faults(module: AnsibleModule, unit: str, state: Mapping[str, str]) -> list[str]:
    """Return a message for each fault of a unit."""
    _, out, err = module.run_command(["systemd-analyze", "verify", unit])
    messages = [*state_faults(unit, state), *verify_faults(unit, out + err)]
    if unit.endswith(".service"):
        _, out, _ = module.run_command(["systemd-analyze", "security", "--no-pager", unit])
        messages.append(exposure_fault(unit, out, module.params["exposure"]))
    return [message for message in messages if message]


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "units": {"type": "list", "elements": "str", "required": True},
        "exposure": {"type": "float", "required": True},
        "health": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    units = module.params["units"]
    states = properties(module, units, ["ActiveState", "SubState", "UnitFileState"])
    messages = {unit: faults(module, unit, states[unit]) for unit in units}
    unhealthy = [message for address in module.params["health"] for message in health_faults(address)]
    faulty = [unit for unit in units if messages[unit]]
    if faulty or unhealthy:
        text = "; ".join([*(message for unit in faulty for message in messages[unit]), *unhealthy])
        shown = faulty or [unit for unit in units if unit.endswith(".service")]
        journals = "\n".join(journal(module, unit, JOURNAL_LINES) for unit in shown)
        module.fail_json(msg=f"{text}. End of the journal:\n{journals}")
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
