"""Consistency of the stacks: outputs, parameters, tags, the README's tables."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

Template = dict[str, Any]


def parameters_of(template: Template) -> dict[str, Any]:
    return dict(template.get("Parameters", {}))


def outputs_of(template: Template) -> dict[str, Any]:
    return dict(template.get("Outputs", {}))


# Read by the role that deploys the stacks.
READ_BY_THE_ROLE = {"hosts-peers.DatabaseAddress"}


def external_parameters(templates: dict[str, Template]) -> set[tuple[str, str, str]]:
    """Return the parameters that no earlier template outputs: name, default (may be empty), templates or `all`."""
    outputs: set[str] = set()
    missing: dict[tuple[str, str], list[str]] = {}
    for file, template in templates.items():
        for name, parameter in parameters_of(template).items():
            if name not in outputs:
                missing.setdefault((name, str(parameter.get("Default", ""))), []).append(f"`{file}.yml`")
        outputs |= set(outputs_of(template))
    return {
        (name, default, "all" if len(where) == len(templates) else ", ".join(where))
        for (name, default), where in missing.items()
    }


def test_readme_lists_the_templates_in_order(folder: Path, templates: dict[str, Template]) -> None:
    """The README lists the templates of the folder in the order of their stacks' creation."""
    listed = re.findall(r"^\| `([\w-]+)\.yml` \|", (folder / "README.md").read_text(), re.MULTILINE)
    assert listed == list(templates)
    assert {path.stem for path in folder.glob("*.yml")} == set(templates)


def test_template_length(folder: Path) -> None:
    """No template has more than 250 lines."""
    long = {path.name: len(path.read_text().splitlines()) for path in folder.glob("*.yml")}
    assert {name: lines for name, lines in long.items() if lines > 250} == {}


def test_readme_lists_the_parameters(folder: Path, templates: dict[str, Template]) -> None:
    """Every parameter is the output of an earlier template, or the README lists it with its default."""
    row = re.compile(r"^\| `(\w+)` \| ([^|]+) \| (?:`(\S+)` )?\|", re.MULTILINE)
    rows = row.findall((folder / "README.md").read_text())
    assert {(name, default, stack) for name, stack, default in rows} == external_parameters(templates)


def test_outputs_are_used(stacks: dict[str, Template]) -> None:
    """Every output is the parameter of a later stack, or read by the role."""
    names = list(stacks)
    unused = [
        f"{stack}.{output}"
        for position, stack in enumerate(names)
        for output in outputs_of(stacks[stack])
        if not any(output in parameters_of(stacks[later]) for later in names[position + 1 :])
    ]
    assert set(unused) == READ_BY_THE_ROLE


def test_parameters_are_declared_alike(templates: dict[str, Template]) -> None:
    """A parameter of several templates has the same declaration in each."""
    declared: dict[str, list[Any]] = {}
    for template in templates.values():
        for name, parameter in parameters_of(template).items():
            declared.setdefault(name, []).append(parameter)
    assert [name for name, copies in declared.items() if any(copy != copies[0] for copy in copies)] == []


def test_parameters_are_strings(stacks: dict[str, Template]) -> None:
    """Every parameter is a string, so that an update without changes is detected."""
    text = re.compile(r"String|AWS::EC2::\w+::(Id|KeyName)")
    other = [
        f"{stack}.{name}: {parameter['Type']}"
        for stack, template in stacks.items()
        for name, parameter in parameters_of(template).items()
        if not text.fullmatch(parameter["Type"])
    ]
    assert other == []


def test_secret_parameters_are_hidden(stacks: dict[str, Template]) -> None:
    """A parameter with a secret has NoEcho and no default."""
    secret = re.compile("password|secret|token|credential|private", re.IGNORECASE)
    exposed = [
        f"{stack}.{name}"
        for stack, template in stacks.items()
        for name, parameter in parameters_of(template).items()
        if secret.search(name) and (str(parameter.get("NoEcho")).lower() != "true" or "Default" in parameter)
    ]
    assert exposed == []


def test_resources_have_the_tag_fleet(stacks: dict[str, Template]) -> None:
    """Every resource that supports tags has the tag Fleet."""
    untagged = [
        f"{stack}.{name}"
        for stack, template in stacks.items()
        for name, resource in template["Resources"].items()
        if takes_tags(resource["Type"]) and {"Key": "Fleet", "Value": {"Ref": "FleetName"}} not in tags_of(resource)
    ]
    assert untagged == []


def takes_tags(resource_type: str) -> bool:
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER  # type: ignore[import-untyped]

    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", resource_type).schema
    return not {"Tags", "TagSpecifications"}.isdisjoint(schema["properties"])


def tags_of(resource: dict[str, Any]) -> list[Any]:
    properties = resource.get("Properties", {})
    specified = [tag for part in properties.get("TagSpecifications", []) for tag in part["Tags"]]
    tags = [*properties.get("Tags", []), *specified]
    # The tags of an Auto Scaling group are propagated to its hosts, which would otherwise belong to no fleet.
    return [{key: value for key, value in tag.items() if (key, value) != ("PropagateAtLaunch", True)} for tag in tags]


@pytest.mark.parametrize(
    ("action", "resource_type", "allowed"),
    [
        ("Update:Replace", "AWS::EC2::Instance", False),
        ("Update:Replace", "AWS::RDS::DBInstance", False),
        ("Update:Modify", "AWS::EC2::Instance", True),
        ("Update:Delete", "AWS::EC2::Instance", True),
        ("Update:Replace", "AWS::EC2::LaunchTemplate", True),
    ],
)
def test_stack_policy(folder: Path, action: str, resource_type: str, allowed: bool) -> None:
    """The stack policy denies the replacement of instances and of the database, and nothing else."""
    policy = json.loads((folder / "stack_policy.json").read_text())
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if statement["Action"] in ("Update:*", action)
        and resource_type in statement.get("Condition", {}).get("StringEquals", {}).get("ResourceType", [resource_type])
    }
    assert (effects == {"Allow"}) is allowed
