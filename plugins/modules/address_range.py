#!/usr/bin/python3
"""Reserve a private address range that nothing else on this machine uses."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    Fault,
    content,
    diff_item,
    own_access,
    write,
)

DOCUMENTATION = """
module: address_range
short_description: Reserve a private address range on this machine
description:
  - Reserves the range in the file; if there is none, C(cidr), or else the first range without a route, and writes it to
    the file.
  - The reservation is an C(unreachable) route of the lowest priority. It keeps packets to a stopped host on
    this machine, and it is atomic, so two concurrent runs cannot reserve the same range.
  - Check mode reports the same changes and the same C(diff) without making them, unless another process reserves a
    range meanwhile.
options:
  file: {type: path, required: true, description: File that stores the range.}
  cidr: {type: str, default: "", description: "Range to reserve, such as C(10.42.0.0/16); empty: the first free one."}
  state: {type: str, choices: [present, absent], default: present, description: Whether the range is reserved.}
author: frota
"""

EXAMPLES = """
- address_range:
    file: .local/fleet.cidr
  register: range
"""

RETURN = """
cidr: {type: str, returned: success, description: The range; empty if there was none to release.}
"""

CANDIDATES = tuple(f"10.{second}.0.0/16" for second in range(42, 250))
ROUTE_METRIC = "4294967295"  # the lowest priority
FILE_MODE = 0o644
HINT = "See: ip route show table all"


class Range:
    """The range in a file, and the routes of this machine."""

    def __init__(self, module: AnsibleModule, params: Mapping[str, Any]) -> None:
        self._module, self._file, self._cidr = module, Path(params["file"]), params["cidr"]
        self.stored = (content(self._file) or "").strip()

    def reserve(self, check_mode: bool) -> str:
        """Reserve the range and return it. Raises Fault if it is in use."""
        if self.stored:
            if not self._is_reserved(self.stored) and not check_mode and not self._add_route(self.stored):
                raise Fault(f"{self.stored}, the range in {self._file}, is in use by another process. {HINT}")
            return self.stored
        candidates = [self._cidr] if self._cidr else CANDIDATES
        reserved = next((cidr for cidr in self._free(candidates) if check_mode or self._add_route(cidr)), None)
        if reserved is None:
            ranges = self._cidr or f"Every range from {CANDIDATES[0]} to {CANDIDATES[-1]}"
            raise Fault(f"{ranges} is in use on this machine. {HINT}")
        if not check_mode:
            write(self._file, f"{reserved}\n", own_access(FILE_MODE))
        return reserved

    def release(self) -> None:
        """Release the range and delete the file."""
        if self.stored and self._is_reserved(self.stored):
            self._ip("route", "del", "unreachable", self.stored)
        self._file.unlink(missing_ok=True)

    def diff(self, cidr: str, reserved: bool) -> list[dict[str, str]]:
        """Return the differences from the desired state of a range in the format of Ansible's --diff."""
        before, after = (f"{self.stored}\n" if self.stored else ""), (f"{cidr}\n" if reserved else "")
        route = f"unreachable {cidr}\n" if cidr else ""
        route_before, route_after = (route if cidr and self._is_reserved(cidr) else ""), (route if reserved else "")
        items = [diff_item(self._file, before, after), diff_item(Path("routes"), route_before, route_after)]
        return [item for item in items if item["before"] != item["after"]]

    def _free(self, candidates: Iterable[str]) -> Iterator[str]:
        return (cidr for cidr in candidates if not self._routes(cidr))

    def _add_route(self, cidr: str) -> bool:
        code: int = self._module.run_command(["ip", "route", "add", "unreachable", cidr, "metric", ROUTE_METRIC])[0]
        return code == 0

    def _is_reserved(self, cidr: str) -> bool:
        return self._ip("route", "show", "type", "unreachable", cidr) != ""

    def _routes(self, cidr: str) -> list[str]:
        """Return the routes to a range or parts of it, and wider ones that contain it, such as a VPN's 10.0.0.0/8."""
        outputs = [self._ip("route", "show", which, cidr, "table", "all") for which in ("root", "match")]
        return [line for output in outputs for line in output.splitlines() if "default" not in line.split()[:2]]

    def _ip(self, *arguments: str) -> str:
        code, out, err = self._module.run_command(["ip", *arguments])
        if code:
            raise Fault(f"ip {' '.join(arguments)}: {err.strip()}")
        return str(out).strip()


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "file": {"type": "path", "required": True},
        "cidr": {"type": "str", "default": ""},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    address_range, present = Range(module, module.params), module.params["state"] == "present"
    try:
        cidr = address_range.reserve(check_mode=True) if present else address_range.stored
        diff = address_range.diff(cidr, present)
        if present and not module.check_mode:
            cidr = address_range.reserve(check_mode=False)
        elif not present and diff and not module.check_mode:
            address_range.release()
    except Fault as fault:
        module.fail_json(msg=str(fault))
    module.exit_json(changed=diff != [], cidr=cidr, diff=diff)


if __name__ == "__main__":
    main()
