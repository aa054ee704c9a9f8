#!/usr/bin/python3
"""A private range of addresses that nothing else on this machine uses, claimed for good."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    Fault,
    content,
    ours,
    shown,
    write,
)

DOCUMENTATION = """
module: address_range
short_description: A private range of addresses, claimed on this machine for good
description:
  - Claims the range that the file names, or at first C(cidr), or else the first one that no route uses, and writes it
    there.
  - The claim is a route of the lowest priority that leads nowhere. Nothing meant for a host leaves this machine while
    the host is down, and of two who want the same range at the same moment the kernel lets one have it.
  - Check mode reports the same changes and the same C(diff) without making them, as long as nobody else claims a range.
options:
  file: {type: path, required: true, description: File that the range is remembered in.}
  cidr: {type: str, default: "", description: "Range to claim, such as C(10.42.0.0/16); empty: the first free one."}
  state: {type: str, choices: [present, absent], default: present, description: Whether the range is claimed.}
author: frota
"""

EXAMPLES = """
- address_range:
    file: .local/fleet.cidr
  register: range
"""

RETURN = """
cidr: {type: str, returned: success, description: The range; empty where there was none to be given up.}
"""

CANDIDATES = tuple(f"10.{second}.0.0/16" for second in range(42, 250))
METRIC = "4294967295"  # the lowest priority
MODE = 0o644
SEE = "See: ip route show table all"


class Range:
    """The range of a file, and the routes of this machine."""

    def __init__(self, module: AnsibleModule, params: Mapping[str, Any]) -> None:
        self._module, self._file, self._cidr = module, Path(params["file"]), params["cidr"]
        self.remembered = (content(self._file) or "").strip()

    def claim(self, check_mode: bool) -> str:
        """Return the range, claimed. Raises Fault where it is not to be had."""
        if self.remembered:
            if not self._is_claimed(self.remembered) and not check_mode and not self._claim(self.remembered):
                raise Fault(f"{self.remembered}, the range that {self._file} names, is in use by now. {SEE}")
            return self.remembered
        candidates = [self._cidr] if self._cidr else CANDIDATES
        found = next((cidr for cidr in self._free(candidates) if check_mode or self._claim(cidr)), None)
        if found is None:
            wanted = self._cidr or f"Every range from {CANDIDATES[0]} to {CANDIDATES[-1]}"
            raise Fault(f"{wanted} is in use on this machine. {SEE}")
        if not check_mode:
            write(self._file, f"{found}\n", ours(MODE))
        return found

    def give_up(self) -> None:
        """Let others have the range, and forget it."""
        if self.remembered and self._is_claimed(self.remembered):
            self._ip("route", "del", "unreachable", self.remembered)
        self._file.unlink(missing_ok=True)

    def diff(self, cidr: str, claimed: bool) -> list[dict[str, str]]:
        """Return what differs from a range that is, or is not, to be claimed, as Ansible's --diff shows it."""
        before, after = (f"{self.remembered}\n" if self.remembered else ""), (f"{cidr}\n" if claimed else "")
        route = f"unreachable {cidr}\n" if cidr else ""
        has, wants = (route if cidr and self._is_claimed(cidr) else ""), (route if claimed else "")
        found = [shown(self._file, before, after), shown(Path("routes"), has, wants)]
        return [difference for difference in found if difference["before"] != difference["after"]]

    def _free(self, candidates: Iterable[str]) -> Iterator[str]:
        return (cidr for cidr in candidates if not self._routes(cidr))

    def _claim(self, cidr: str) -> bool:
        code: int = self._module.run_command(["ip", "route", "add", "unreachable", cidr, "metric", METRIC])[0]
        return code == 0

    def _is_claimed(self, cidr: str) -> bool:
        return self._ip("route", "show", "type", "unreachable", cidr) != ""

    def _routes(self, cidr: str) -> list[str]:
        """Return the routes into a range, and wider ones that hold it, such as a VPN's 10.0.0.0/8."""
        listed = [self._ip("route", "show", which, cidr, "table", "all") for which in ("root", "match")]
        return [line for text in listed for line in text.splitlines() if "default" not in line.split()[:2]]

    def _ip(self, *words: str) -> str:
        code, out, err = self._module.run_command(["ip", *words])
        if code:
            raise Fault(f"ip {' '.join(words)}: {err.strip()}")
        return str(out).strip()


def main() -> None:
    """Run as a module of Ansible's."""
    spec = {
        "file": {"type": "path", "required": True},
        "cidr": {"type": "str", "default": ""},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    found, wanted = Range(module, module.params), module.params["state"] == "present"
    try:
        cidr = found.claim(check_mode=True) if wanted else found.remembered
        diff = found.diff(cidr, wanted)
        if wanted and not module.check_mode:
            cidr = found.claim(check_mode=False)
        elif not wanted and diff and not module.check_mode:
            found.give_up()
    except Fault as fault:
        module.fail_json(msg=str(fault))
    module.exit_json(changed=diff != [], cidr=cidr, diff=diff)


if __name__ == "__main__":
    main()
