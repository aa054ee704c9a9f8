"""What the application can be told, its role tells it: each setting, by the entry point of its service, no other."""

import dataclasses
import importlib
import re
from collections import Counter
from typing import Any, NamedTuple

import jinja2
import pytest

from frota.cli import SYSTEMS
from frota.core import settings as core
from frota.list.client_settings import FLEET_FILE, ClientSettings
from frota.list.settings import PREFIX

from .checkout import ROOT, defaults, entry_points, load, mappings
from .test_peer_workers import MODULE as WORKERS

# What systemd gives instead: StateDirectory=, LoadCredential=, and the sockets that it listens on, whose ports are to
# be known to a service that has several.
_BY_STATE_DIRECTORY = {"state_dir"}
_BY_CREDENTIAL = {"list": {"key_file"}, "images": set[str](), "peers": set[str](), "observer": {"users_file"}}
_BY_SOCKET = {
    "sensors": {"host", "backlog"},
    "list": {"host", "backlog"},
    "cpu": {"host", "port"},
    "peers": {"host", "backlog"},
}
# What each worker of a host has for itself.
_BY_NUMBER = {
    "peers": {"name", "host", "cert_file", "key_file", "database_cert_file", "database_key_file", "metrics_port"}
}
# Broker and database know the fleet's services by their certificates.
_BY_CERTIFICATE = {"user", "password_file", "database_password_file"}
# A count is for people; a service never ends.
_FOR_PEOPLE = {"count"}
# The fleet's sensor server is ours: its sensors need not find out how it speaks, and number their readings from the
# first on. Its list is never without a key, and has the port for who watches where the security groups expect it.
_OF_THE_FLEET = {"sensors client protocol", "list server security", "list server watch_port"}
# Its images' services have certificates, their keys handed over by systemd; the queues are the broker's own.
_OF_THE_FLEET |= {
    f"images producer {name}" for name in ("security", "cert_file", "key_file", "ca_file", "vhost", "declare")
}
_OF_THE_FLEET |= {f"images worker {name}" for name in ("cert_file", "key_file", "ca_file", "vhost", "declare")}
_OF_THE_FLEET |= {
    f"peers {entry} {name}"
    for entry in ("server", "worker")
    for name in ("security", *(f"{of}{file}_file" for of in ("", "database_") for file in ("cert", "key", "ca")))
} | {"peers worker name"}


class Service(NamedTuple):
    """A service of the application, and the variables that its role hands to python_service."""

    system: str
    entry: str
    settings: type[Any]
    module: Any
    deployed: dict[str, Any]

    @property
    def inputs(self) -> set[str]:
        """The inputs of the entry point that are settings by their names alone."""
        derives = "python_service_entry_point" in self.deployed
        return set(entry_points(self.system)[self.entry]) - set(self._no_settings) if derives else set()

    @property
    def _no_settings(self) -> list[str]:
        names: list[str] = self.deployed.get("python_service_no_settings", [])
        return names

    @property
    def written(self) -> dict[str, str]:
        """The settings of the env file, as templates."""
        derived = {name.removeprefix(f"{self.system}_"): f"{{{{ {name} }}}}" for name in self.inputs}
        own: dict[str, str] = self.deployed.get("python_service_settings", {})
        return derived | own


def _services() -> list[Service]:
    services = []
    for system in (definition.package for definition in SYSTEMS.values()):
        module = importlib.import_module(f"frota.{system}.settings")
        for name, settings in vars(module).items():
            if name.endswith("Settings") and isinstance(settings, type) and dataclasses.is_dataclass(settings):
                entry = name.removesuffix("Settings").lower()
                services.append(Service(system, entry, settings, module, _deployed(system, entry)))
    return services


def _deployed(role: str, entry: str) -> dict[str, Any]:
    tasks = load(ROOT / "roles" / role / "tasks" / f"{entry}.yml")
    return next((mapping for mapping in mappings(tasks) if "python_service_name" in mapping), {})


SERVICES = _services()
each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda service: f"{service.system}-{service.entry}")


def _kinds_own(service: Service) -> set[str]:
    """Return the settings that belong to an instance."""
    if "python_service_instances" not in service.deployed:
        return set()
    return _BY_NUMBER.get(service.system) or {name for kind in _kinds(service).values() for name in kind}


def _kinds(service: Service) -> dict[str, dict[str, Any]]:
    """Return the settings of the instances that are built in, by their kind; of workers there are none."""
    kinds: dict[str, dict[str, Any]] = getattr(service.module, "KINDS", {"1": {}})
    return kinds


def _first(service: Service) -> dict[str, str]:
    """Return what the first worker of a host has for itself."""
    if service.system not in _BY_NUMBER or "python_service_instances" not in service.deployed:
        return {}
    first: dict[str, str] = WORKERS.peer_workers(["127.0.0.1"], 1, "", 0)["1"]
    assert set(first) == _BY_NUMBER[service.system]
    return first


def _names(settings: type) -> set[str]:
    return {field.name for field in dataclasses.fields(settings)}


def _by_default(service: Service) -> dict[str, str]:
    """Return the env file's settings that the role's defaults alone decide, as text."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    values = {}
    for name, value in service.written.items():
        try:
            values[name] = environment.from_string(str(value)).render(defaults(service.system))
        except (jinja2.UndefinedError, jinja2.TemplateAssertionError):
            continue  # required, so there is no default; or made by a filter, of what is required
    return values


@each_service
def test_source_of_each_setting(
    service: Service,
) -> None:
    """Every setting comes from the role, from systemd or from an instance, and there is no other key."""
    elsewhere = _BY_STATE_DIRECTORY | _FOR_PEOPLE | _kinds_own(service)
    if "python_service_listen" in service.deployed:
        elsewhere |= _BY_SOCKET[service.system]
    if "python_service_credentials" in service.deployed:
        elsewhere |= _BY_CREDENTIAL[service.system]
    if "cert_file" in service.written or "cert_file" in elsewhere:
        elsewhere |= _BY_CERTIFICATE
    assert set(service.written) == _names(service.settings) - elsewhere


@each_service
def test_defaults_of_role_and_code(service: Service) -> None:
    """A setting has the same default in the role and in the code."""
    prefix = service.module.PREFIX
    some_kind = next(iter(_kinds(service).values())) if _kinds_own(service) else {}
    environ = {prefix + name.upper(): text for name, text in {**_by_default(service), **_first(service)}.items()}
    deployed = core.read(service.settings, prefix, environ, some_kind)
    own = core.read(service.settings, prefix, {}, some_kind)
    different = {name for name in _names(service.settings) if getattr(deployed, name) != getattr(own, name)}
    assert environ
    assert {f"{service.system} {service.entry} {name}" for name in different} - _OF_THE_FLEET == set()


@each_service
def test_prefix_and_unit(service: Service) -> None:
    """The role writes the prefix and the unit name that the code has."""
    assert service.deployed["python_service_settings_prefix"] == service.module.PREFIX
    assert service.deployed["python_service_name"] == getattr(service.module, f"{service.entry.upper()}_UNIT")


@each_service
def test_settings_are_inputs(service: Service) -> None:
    """Every setting of the role is an input of its own entry point."""
    inputs = entry_points(service.system)[service.entry]
    files = [ROOT / "roles" / service.system / name for name in (f"tasks/{service.entry}.yml", "vars/main.yml")]
    source = "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
    words = Counter(re.findall(r"\w+", source))
    for name in service.deployed.get("python_service_no_settings", []):
        words[name] -= 1  # there it is only left out
    assert [name for name in set(inputs) - service.inputs if not words[name]] == []


@each_service
def test_entry_points_and_inputs(service: Service) -> None:
    """The role names its own entry point, and its inputs that are not settings."""
    assert service.deployed.get("python_service_entry_point", service.entry) == service.entry
    inputs = entry_points(service.system)[service.entry]
    assert [name for name in service.deployed.get("python_service_no_settings", []) if name not in inputs] == []


@each_service
def test_lists_are_joined(service: Service) -> None:
    """The role writes a list as the text that the code parses."""
    inputs = entry_points(service.system)[service.entry]
    own = set(service.deployed.get("python_service_settings", {}))
    derived = {name for name in service.inputs if name.removeprefix(f"{service.system}_") not in own}
    assert [name for name in derived if inputs[name]["type"] in ("list", "dict")] == []


def test_instances_have_known_settings() -> None:
    """The settings of an instance are settings of its service."""
    kinds = load(ROOT / "inventory" / "group_vars" / "sensor_client.yml")["sensors_kinds"]
    client = next(service for service in SERVICES if (service.system, service.entry) == ("sensors", "client"))
    assert kinds
    assert {name for kind in kinds.values() for name in kind} - _kinds_own(client) == set()


def test_list_client_settings() -> None:
    """The client settings that the list role writes are settings of its commands."""
    template = (ROOT / "roles" / "list" / "templates" / "client.env.j2").read_text(encoding="utf-8")
    written = set(re.findall(r"^(\w+)=", template, re.MULTILINE))
    assert written == {PREFIX + name.upper() for name in ("host", "port", "key_file", "server_key")}
    assert written <= set(core.keys(ClientSettings, PREFIX))


def test_list_client_file() -> None:
    """The list's commands read the file that the role writes."""
    tasks = load(ROOT / "roles" / "list" / "tasks" / "client.yml")
    assert str(FLEET_FILE) in [mapping.get("dest") for mapping in mappings(tasks)]


@pytest.mark.parametrize(
    ("unit", "names"),
    [
        (("sensors", "server"), {"port"}),
        (("sensors", "client"), {"host", "port"}),
        (("cpu", "agent"), {"host", "port"}),
    ],
)
def test_env_files_name_the_server(unit: tuple[str, str], names: set[str]) -> None:
    """`frota sensors tail` and `frota cpu top` find their server on a fleet host in these units' env files."""
    (service,) = [candidate for candidate in SERVICES if (candidate.system, candidate.entry) == unit]
    assert {"host", "port"} & set(service.written) == names
