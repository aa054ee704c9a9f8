"""What Prometheus is told agrees with the services: names of metrics, ports, units; its rules do what they are for."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import pytest

from .checkout import ROOT, defaults, load
from .test_settings import SERVICES

_ROLE = ROOT / "roles" / "observer"
_RULES = _ROLE / "files" / "frota.rules.yml"
_DASHBOARD = _ROLE / "files" / "frota.grafana.json"
_GROUP_VARS = ROOT / "inventory" / "group_vars"
# Prometheus's own, and those of RabbitMQ's plugin.
_OTHERS = {"up", "ALERTS", "rabbitmq_queue_messages_ready", "rabbitmq_queue_consumers"}
_METRIC = re.compile(r"\b(?:frota|process|rabbitmq|system|unit)[_:][a-z0-9_:]+|\bup\b|\bALERTS\b")
needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed: see tools/promtool"
)


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_TARGETS = _loaded(_ROLE / "filter_plugins" / "metrics_targets.py")


def _rules() -> list[dict[str, Any]]:
    return [rule for group in load(_RULES)["groups"] for rule in group["rules"]]


def _expressions() -> list[str]:
    panels = json.loads(_DASHBOARD.read_text(encoding="utf-8"))["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    return [*shown, *(rule["expr"] for rule in _rules())]


def _exported() -> set[str]:
    """Return the names of the metrics of our services, as their source has them."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app/src/frota").rglob("*.py"))
    return set(re.findall(r'"((?:frota|process)_[a-z0-9_]+)"', source))


def test_metrics_of_rules_and_dashboard_exist() -> None:
    """Rules and the dashboard use only metrics that some service exports, or that a rule records."""
    used = {name for text in _expressions() for name in _METRIC.findall(re.sub(r'"[^"]*"', "", text))}
    recorded = {rule["record"] for rule in _rules() if "record" in rule}
    assert len(used) > 30
    assert used - _exported() - recorded - _OTHERS == set()


def test_alerts_say_what_to_do() -> None:
    """An alert has a severity, says what is wrong, and what to do."""
    alerts = [rule for rule in _rules() if "alert" in rule]
    assert {rule["labels"]["severity"] for rule in alerts} == {"page", "ticket"}
    assert [rule["alert"] for rule in alerts if set(rule["annotations"]) != {"summary", "action"}] == []


def test_every_alert_is_tested() -> None:
    """The rules' tests make every alert fire."""
    tests = load(_ROLE / "files" / "frota.rules.test.yml")["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in _rules() if "alert" in rule}


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    """The rules are valid, and fire when they should."""
    for words in (["check", "rules", "frota.rules.yml"], ["test", "rules", "frota.rules.test.yml"]):
        done = subprocess.run(
            ["promtool", *words], cwd=_RULES.parent, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    """The configuration that the role writes is valid, with its rules and targets."""
    (tmp_path / "frota.rules.yml").write_text(_RULES.read_text(encoding="utf-8"))
    (tmp_path / "frota.targets.json").write_text(json.dumps(_targets()))
    template = jinja2.Template(
        (_ROLE / "templates" / "prometheus.yml.j2").read_text(), undefined=jinja2.StrictUndefined
    )
    text = template.render({**defaults("observer"), "ansible_managed": "", "inventory_hostname": "observer-1"})
    (tmp_path / "frota.yml").write_text(text.replace("/etc/prometheus", str(tmp_path)))
    done = subprocess.run(
        ["promtool", "check", "config", "frota.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _described() -> dict[str, dict[str, Any]]:
    """Return what the inventory scrapes of each group's hosts, unit to system and port, with ports as numbers."""
    variables = load(_GROUP_VARS / "all.yml")
    kinds = load(_GROUP_VARS / "sensor_client.yml")["sensors_kinds"]
    groups = {path.stem: load(path).get(f"metrics_of_{path.stem}", {}) for path in _GROUP_VARS.glob("*.yml")}
    context = {**variables, "groups": {"observer": ["observer-1"]}}

    def value(text: Any) -> Any:
        if text == "{{ sensors_kinds }}":
            return kinds
        while isinstance(text, str) and "{{" in text:
            text = jinja2.Template(text).render(context)
        return text

    return {
        group: {unit: {key: value(each) for key, each in service.items()} for unit, service in services.items()}
        for group, services in groups.items()
        if services
    }


def _targets() -> list[dict[str, Any]]:
    """Return the targets of a fleet with one host in each group."""
    hosts = {group: {"address": "10.0.0.1", "services": services} for group, services in _described().items()}
    targets: list[dict[str, Any]] = _TARGETS.metrics_targets(hosts)
    return targets


def test_every_service_is_a_target() -> None:
    """Every service with metrics is a target under its unit's name and its system's, with the port that it has."""
    found = {
        (target["labels"]["system"], target["labels"]["unit"].partition("@")[0]): target["targets"][0]
        for target in reversed(_targets())
    }
    expected = {
        (service.system, getattr(service.module, f"{service.entry.upper()}_UNIT")): service.settings.metrics_port
        for service in SERVICES
        if hasattr(service.settings, "metrics_port")
    }
    assert found.keys() == {*expected, ("rabbitmq", "rabbitmq")}
    for key, port in expected.items():
        assert found[key] == f"10.0.0.1:{port}" or port == 0 or key[1] == "frota-sensor-client", key


def test_ports_of_the_inventory_are_the_roles_defaults() -> None:
    """The inventory has the metrics ports that the roles have by default, save those that are off by default."""
    everywhere = load(_GROUP_VARS / "all.yml")
    for name in (name for name in everywhere if re.search(r"_(metrics|prometheus)_port$", name)):
        role = name.partition("_")[0]
        assert defaults(role)[name] in (everywhere[name], 0), name
    assert everywhere["peers_workers_per_host"] == defaults("peers")["peers_workers_per_host"]


def test_ports_are_within_the_security_groups_rules() -> None:
    """The observer may reach the port of every target, and no two services of a host have the same one."""
    template = load(ROOT / "cloudformation" / "security-observer.yml")["Resources"]
    ranges = [
        range(rule["Properties"]["FromPort"], rule["Properties"]["ToPort"] + 1)
        for rule in template.values()
        if isinstance(rule["Properties"].get("FromPort"), int)
    ]
    ports = [int(target["targets"][0].rpartition(":")[2]) for target in _targets()]
    assert [port for port in ports if not any(port in allowed for allowed in ranges)] == []
    assert len(ports) == len(set(ports))


def test_services_without_a_port_are_no_targets() -> None:
    """Port 0 is no target; instances have ports of their own, and a number of workers consecutive ones."""
    services = {
        "off": {"system": "cpu", "port": "0"},
        "workers-off": {"system": "peers", "port": 0, "count": 2},
        "worker": {"system": "peers", "port": "9411", "count": "2"},
        "sensor": {"system": "sensors", "instances": {"a": {"metrics_port": 1}, "b": {}}},
    }
    targets = _TARGETS.metrics_targets({"h": {"address": "10.0.0.9", "services": services}})
    assert {target["labels"]["unit"]: target["targets"] for target in targets} == {
        "worker@1": ["10.0.0.9:9411"],
        "worker@2": ["10.0.0.9:9412"],
        "sensor@a": ["10.0.0.9:1"],
    }


def test_without_an_observer_metrics_stay_on_loopback() -> None:
    """A fleet without an observer serves metrics on loopback only."""
    text = load(_GROUP_VARS / "all.yml")["metrics_host"]
    assert jinja2.Template(text).render(groups={"observer": []}) == "127.0.0.1"
    assert jinja2.Template(text).render(groups={"observer": ["observer-1"]}) == "0.0.0.0"
    fleet = load(_GROUP_VARS / "fleet.yml")
    systems = {service.system for service in SERVICES}
    assert {fleet[f"{system}_metrics_host"] for system in systems} == {"{{ metrics_host }}"}
    assert {fleet[f"{system}_metrics_networks"] for system in systems} == {"{{ metrics_networks }}"}
