"""Every unit that a role deploys is one that it verifies, on hosts of the group that it is deployed to."""

import re
from typing import Any

from ansible.parsing.dataloader import DataLoader  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.template import Templar, trust_as_template  # type: ignore[import-untyped]

from .checkout import ROOT, defaults, load
from .test_settings import SERVICES

# Entry point -> the group whose hosts get it.
_GROUPS = {
    "sensors": {"server": "sensor_server", "client": "sensor_client"},
    "cpu": {"server": "cpu_server", "agent": "fleet"},
    "images": {"producer": "image_producer", "worker": "image_worker"},
    "peers": {"server": "peer_server", "worker": "peer_worker"},
}
_KINDS: dict[str, dict[str, str]] = {"temperature": {}, "air pressure": {}}
_WORKERS = 3


def _verified(role: str, group: str) -> set[str]:
    """Return the units that a role verifies on a host of one group, as Ansible makes them of the template."""
    units = load(ROOT / "roles" / role / "vars" / "main.yml")[f"_{role}_units"]
    variables = {"group_names": ["fleet", group], "sensors_kinds": _KINDS, "peers_workers_per_host": _WORKERS}
    return set(Templar(loader=DataLoader(), variables=variables).template(trust_as_template(units)))


def _deployed(role: str, task: dict[str, Any]) -> set[str]:
    """Return the units that a call of python_service makes."""
    name = task["python_service_name"]
    instances = [str(number) for number in range(1, _WORKERS + 1)] if role == "peers" else list(_KINDS)
    services = [f"{name}@{instance}" for instance in instances] if "python_service_instances" in task else [name]
    sockets = [f"{name}.socket"] if "python_service_listen" in task else []
    return {*sockets, *(f"{service}.service" for service in services)}


def test_verified_units() -> None:
    """Exactly the units of a host are verified."""
    for role, groups in _GROUPS.items():
        for entry, group in groups.items():
            tasks = load(ROOT / "roles" / role / "tasks" / f"{entry}.yml")
            deployed = set().union(
                *(_deployed(role, task["vars"]) for task in tasks if "python_service_name" in task.get("vars", {}))
            )
            everywhere = {"frota-cpu-agent.service"} if role == "cpu" else set()
            assert _verified(role, group) == deployed | everywhere, f"{role} {entry}"


def _health(role: str, groups: list[str], **changes: object) -> list[str]:
    """Return where a role expects a host's services to answer GET /healthz, as Ansible makes it of the template."""
    variables = {**defaults(role), **load(ROOT / "roles" / role / "vars" / "main.yml"), "group_names": groups}
    trusted = {name: trust_as_template(value) if isinstance(value, str) else value for name, value in variables.items()}
    templar = Templar(loader=DataLoader(), variables={**trusted, **changes})
    return list(templar.template(trust_as_template(f"{{{{ _{role}_health }}}}")))


def test_health_is_asked_at_the_port_of_each_service_of_a_host() -> None:
    """`verify` asks at the ports that the code has by default, on the hosts of each service and on no others."""
    ports = {(service.system, service.entry): service.settings.metrics_port for service in SERVICES}
    kinds = next(service.module.KINDS for service in SERVICES if service.system == "sensors")
    for role, entries in {**_GROUPS, "list": {"server": "list_server"}}.items():
        for entry, group in entries.items():
            expected = [ports[role, entry]] if ports[role, entry] else []
            if (role, entry) == ("sensors", "client"):
                expected = [kind["metrics_port"] for kind in kinds.values()]
            assert _health(role, ["fleet", group])[: len(expected)] == [f"127.0.0.1:{port}" for port in expected]
    assert _health("images", ["fleet"]) == _health("sensors", ["fleet"]) == []


def test_health_address() -> None:
    """A wildcard address includes loopback, an IPv6 address has brackets, and a disabled port is not asked."""
    group = ["image_worker"]
    assert _health("images", group, images_metrics_host="0.0.0.0") == ["127.0.0.1:9404"]
    assert _health("images", group, images_metrics_host="10.0.0.7") == ["10.0.0.7:9404"]
    assert _health("images", group, images_metrics_host="fd00::7") == ["[fd00::7]:9404"]
    assert _health("images", group, images_worker_metrics_port="0") == []
    assert _health("cpu", ["fleet"], cpu_agent_metrics_port=9406) == ["127.0.0.1:9406"]


def test_ports_of_metrics_are_documented() -> None:
    """docs/operating/README.md names each unit with the port that the code and the role give it."""
    text = (ROOT / "docs" / "operating" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(frota-[a-z-]+)[^|]* \| ([^|]+) \| `(\w+)`", text, re.MULTILINE)
    documented = {unit: (ports, variable) for unit, ports, variable in rows}
    for service in SERVICES:
        ports, variable = documented.pop(getattr(service.module, f"{service.entry.upper()}_UNIT"))
        port = str(service.settings.metrics_port)
        if (service.system, service.entry) == ("sensors", "client"):
            port = ", ".join(str(kind["metrics_port"]) for kind in service.module.KINDS.values())
        else:
            assert str(defaults(service.system)[variable]) == port
        assert ports == port or (ports.endswith(", off") and port == "0")
    assert documented == {}
