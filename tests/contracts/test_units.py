"""Every unit that a role deploys is one that it verifies, on hosts of the group that it is deployed to."""

from typing import Any

from ansible.parsing.dataloader import DataLoader  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.template import Templar, trust_as_template  # type: ignore[import-untyped]

from .checkout import ROOT, load

# Entry point -> the group whose hosts get it.
_GROUPS = {
    "sensors": {"server": "sensor_server", "client": "sensor_client"},
    "cpu": {"server": "cpu_server", "agent": "fleet"},
    "images": {"producer": "image_producer", "worker": "image_worker"},
}
_KINDS: dict[str, dict[str, str]] = {"temperature": {}, "air pressure": {}}


def _verified(role: str, group: str) -> set[str]:
    """Return the units that a role verifies on a host of one group, as Ansible makes them of the template."""
    units = load(ROOT / "roles" / role / "vars" / "main.yml")[f"_{role}_units"]
    variables = {"group_names": ["fleet", group], "sensors_kinds": _KINDS}
    return set(Templar(loader=DataLoader(), variables=variables).template(trust_as_template(units)))


def _deployed(task: dict[str, Any]) -> set[str]:
    """Return the units that a call of python_service makes."""
    name = task["python_service_name"]
    services = [f"{name}@{kind}" for kind in _KINDS] if "python_service_instances" in task else [name]
    sockets = [f"{name}.socket"] if "python_service_listen" in task else []
    return {*sockets, *(f"{service}.service" for service in services)}


def test_every_unit_of_a_host_is_verified_and_no_other() -> None:
    for role, groups in _GROUPS.items():
        for entry, group in groups.items():
            tasks = load(ROOT / "roles" / role / "tasks" / f"{entry}.yml")
            deployed = set().union(
                *(_deployed(task["vars"]) for task in tasks if "python_service_name" in task.get("vars", {}))
            )
            everywhere = {"frota-cpu-agent.service"} if role == "cpu" else set()
            assert _verified(role, group) == deployed | everywhere, f"{role} {entry}"
