"""Templates, the role that deploys them, inventory and application agree on names, ports and groups."""

import re
from itertools import accumulate
from typing import Any

import jinja2
import pytest

from frota.cpu.settings import AgentSettings
from frota.cpu.settings import ServerSettings as CpuServerSettings
from frota.list.client_settings import ClientSettings as ListClientSettings
from frota.list.settings import ServerSettings as ListServerSettings
from frota.peers.settings import ServerSettings as PeerServerSettings
from frota.peers.settings import WorkerSettings as PeerWorkerSettings
from frota.sensors.settings import ClientSettings, ServerSettings

from .checkout import PLAYBOOKS, ROLES, ROOT, defaults, load, mappings

VARIABLES = load(ROOT / "roles" / "stacks" / "vars" / "main.yml")
_DESCRIBED = {stack["name"]: stack for stack in VARIABLES["_stacks_in_order"]}
STACKS = {name: stack["parameters"] for name, stack in _DESCRIBED.items()}
# Several stacks may have one template.
_FILES = {name: stack.get("template", name) for name, stack in _DESCRIBED.items()}
TEMPLATES = {name: load(ROOT / "cloudformation" / f"{file}.yml") for name, file in _FILES.items()}
GROUP_VARS = ROOT / "inventory" / "group_vars"

# Groups that the inventory files define beside those that come from the instances' tags.
_OWN_GROUPS = {"all", "fleet", "local", "localhost", "embedded_aws", "remote"}


def _roles_of_instances() -> set[str]:
    return {
        role
        for name, template in TEMPLATES.items()
        for mapping in mappings(template)
        for tag in mapping.get("Tags", [])
        if tag.get("Key") == "FrotaRole"
        for role in _value(name, tag["Value"]).split()
    }


def _value(stack: str, text: str) -> str:
    """Return what the role passes to a stack for a parameter, or a text that is none."""
    source = _DESCRIBED[stack].get("given_as", {}).get(text, text)
    return str(VARIABLES["_stacks_values"].get(source, source))


@pytest.mark.parametrize("stack", STACKS)
def test_stack_parameters(stack: str) -> None:
    """The role passes to a stack exactly the parameters of its template."""
    assert STACKS[stack] == list(TEMPLATES[stack]["Parameters"])


def test_every_template_is_deployed() -> None:
    """The role deploys every CloudFormation template."""
    assert set(_FILES.values()) == {path.stem for path in (ROOT / "cloudformation").glob("*.yml")}


@pytest.mark.parametrize("stack", STACKS)
def test_source_of_each_parameter(stack: str) -> None:
    """Every parameter is a value of the role or an output of an earlier stack."""
    outputs: list[set[str]] = [set(template.get("Outputs", {})) for template in TEMPLATES.values()]
    values = {*VARIABLES["_stacks_values"], "ImageId"}  # the image is chosen, by tasks/image.yml
    earlier = list(accumulate(outputs, set.union, initial=values))
    assert _sources(stack) - earlier[list(STACKS).index(stack)] == set()


def _sources(stack: str) -> set[str]:
    """Return the values and outputs that a stack's parameters come from."""
    return {_DESCRIBED[stack].get("given_as", {}).get(name, name) for name in STACKS[stack]}


@pytest.mark.parametrize("stack", STACKS)
def test_renamed_parameters_exist(stack: str) -> None:
    """What a stack gets under another name is a parameter of its template."""
    assert set(_DESCRIBED[stack].get("given_as", {})) <= set(STACKS[stack])


def test_every_value_has_a_parameter() -> None:
    """Every value that the role passes is a parameter of a template."""
    assert set(VARIABLES["_stacks_values"]) - set().union(*map(_sources, STACKS)) == set()


def _ports() -> dict[str, Any]:
    """Return the templates' ports by the name of the variable that means the same: SensorsPort is sensors_port."""
    parameters = {name: value for template in TEMPLATES.values() for name, value in template["Parameters"].items()}
    ports = {name: value["Default"] for name, value in parameters.items() if name.endswith("Port")}
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): port for name, port in ports.items()}


@pytest.mark.parametrize("name", _ports())
def test_ports_are_the_same(name: str) -> None:
    """A port is the same in templates, inventory and roles."""
    inventory = load(GROUP_VARS / "all.yml")
    system = next(role for role in ROLES if name.startswith(f"{role}_"))
    assert str(_ports()[name]) == str(inventory[name]) == str(defaults(system)[name])
    assert str(_ports()[name]) == str(defaults("stacks")[f"stacks_{name}"])
    assert inventory[f"stacks_{name}"] == f"{{{{ {name} }}}}"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sensors_port", (ServerSettings, ClientSettings)),
        ("list_port", (ListServerSettings, ListClientSettings)),
        ("cpu_port", (CpuServerSettings, AgentSettings)),
        ("peers_port", (PeerServerSettings, PeerWorkerSettings)),
    ],
)
def test_default_ports(name: str, settings: tuple[type[Any], ...]) -> None:
    """The port of a system is the application's default."""
    assert {setting.port for setting in settings} == {int(_ports()[name])}


@pytest.mark.parametrize(
    ("system", "group"), [("list", "list_server"), ("images", "image_producer"), ("peers", "peer_server")]
)
def test_clear_text_is_local(system: str, group: str) -> None:
    """Only the local inventory enables clear-text ports."""
    everywhere = {**defaults(system), **load(GROUP_VARS / "all.yml"), **load(GROUP_VARS / f"{group}.yml")}
    aws, local = (load(ROOT / "inventory" / name / "hosts.yml")["all"]["vars"] for name in ("aws", "local"))
    assert {**everywhere, **aws}[f"{system}_clear_port"] == 0
    assert local[f"{system}_clear_port"] not in (0, *map(int, _ports().values()))


def test_rights_in_the_database() -> None:
    """Only migrations may do everything, and nobody else can change the history of a balance."""
    users = load(GROUP_VARS / "database.yml")["mariadb_users"]
    writes = re.compile(r"INSERT|UPDATE|DELETE|DROP|ALTER|CREATE")
    by_user = {
        user: {f"{table}: {text}" for table, text in described["rights"].items() if writes.search(text)}
        for user, described in users.items()
    }
    accounts = {"contas: SELECT, UPDATE (saldo, updated_at)", "balance_history: SELECT, INSERT"}
    assert by_user.pop("peer_migration")
    assert by_user == {
        "peer_server": {
            *accounts,
            "tasks: SELECT, INSERT, UPDATE, DELETE",
            "servers: SELECT, INSERT, UPDATE",
        },
        "peer_worker": accounts,
        "backup": set(),
    }
    assert [user for user, described in users.items() if "networks" not in described] == ["backup"]


def _hosts_of(play: dict[str, Any]) -> str:
    """Return whom a play is for; where a playbook that imports it may say so, whom it is for by itself."""
    # Less the hosts of systems of which nothing differs.
    return re.sub(r":!(unchanged_\w+|settled)", "", str(jinja2.Template(play["hosts"]).render()))


def test_groups_have_instances() -> None:
    """Every group of a play is the role of some instance."""
    plays = [play for path in PLAYBOOKS for play in load(path) or [] if "hosts" in play]
    groups = {group for play in plays for group in re.findall(r"\w+", _hosts_of(play))}
    assert groups
    assert groups - _roles_of_instances() - _OWN_GROUPS == set()


def test_instance_roles_have_plays() -> None:
    """Every role of an instance has a play."""
    plays = [play for path in PLAYBOOKS for play in load(path) or [] if "hosts" in play]
    assert _roles_of_instances()
    assert _roles_of_instances() - {_hosts_of(play) for play in plays} == set()


def test_group_vars_have_groups() -> None:
    """Every file in group_vars has a group."""
    assert {path.stem for path in GROUP_VARS.glob("*.yml")} - _roles_of_instances() - _OWN_GROUPS == set()


def test_inventories_share_groups() -> None:
    """Both inventories share the groups and their variables."""
    local, aws = (load(ROOT / "inventory" / name / "hosts.yml") for name in ("local", "aws"))
    assert set(local) == set(aws) | {"local"}
    assert local["remote"] == aws["remote"]
    assert [(ROOT / "inventory" / name / "group_vars").resolve() for name in ("local", "aws")] == [GROUP_VARS] * 2


def test_inventories_read_instances_alike() -> None:
    """Both inventories read instances with the same options."""
    differing = {"endpoint_url", "access_key", "secret_key", "regions", "compose"}
    local, aws = (load(ROOT / "inventory" / name / "frota.aws_ec2.yml") for name in ("local", "aws"))
    same = [{key: value for key, value in plugin.items() if key not in differing} for plugin in (local, aws)]
    assert same[0] == same[1]
