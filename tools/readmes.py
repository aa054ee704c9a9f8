"""Write the README of every role from its declarations: tools/run python tools/readmes.py."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).parents[1] / "roles"
HEAD = """# {name}

{description}.

Made by `tools/readmes.py` from `meta/` and `defaults/main.yml`: change those. Entry points are taken with `tasks_from`.
"""


def plain(text: str) -> str:
    """Return a text of Ansible's documentation as Markdown: C(code) as `code`."""
    return re.sub(r"\bC\(([^)]*)\)", r"`\1`", text)


def cell(value: Any) -> str:
    """Return a value as YAML on one line, escaped for a cell of a table."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return "`" + " ".join(text.split()).replace("|", "\\|") + "`"


def row(name: str, option: dict[str, Any], defaults: dict[str, Any]) -> str:
    """Return an input as a row of the table."""
    kind = f"{option['type']} of {option['elements']}" if "elements" in option else option["type"]
    default = "required" if option.get("required") else cell(defaults[name])
    meaning = plain(option["description"])
    if "choices" in option:
        meaning += f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}."
    return f"| `{name}` | {kind} | {default} | {meaning} |"


def section(entry: str, spec: dict[str, Any], defaults: dict[str, Any], same: str) -> str:
    """Return the section of an entry point; `same` is an earlier one with the same inputs, or empty."""
    description = spec.get("description", [])
    paragraphs = [f"{spec['short_description']}.", *([description] if isinstance(description, str) else description)]
    text = f"\n## {entry}\n\n" + "\n\n".join(map(plain, paragraphs)) + "\n"
    if same:
        return f"{text}\nInputs: those of `{same}`.\n"
    rows = [row(name, option, defaults) for name, option in spec.get("options", {}).items()]
    table = ["", "| input | type | default | |", "|---|---|---|---|", *rows]
    return text + ("\n".join(table) + "\n" if rows else "")


def sections(specs: dict[str, Any], defaults: dict[str, Any]) -> str:
    """Return the section of every entry point, each table once."""
    text = ""
    earlier: dict[str, str] = {}
    for entry, spec in specs.items():
        inputs = json.dumps(spec.get("options", {}))
        text += section(entry, spec, defaults, earlier.get(inputs, ""))
        if spec.get("options"):
            earlier.setdefault(inputs, entry)
    return text


def readme(role: Path) -> str:
    """Return the README of a role."""
    specs, meta, defaults = (
        yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
        for file in (role / "meta/argument_specs.yml", role / "meta/main.yml", role / "defaults/main.yml")
    )
    head = HEAD.format(name=role.name, description=meta["galaxy_info"]["description"])
    return head + sections(specs["argument_specs"], defaults or {})


if __name__ == "__main__":
    for role in sorted(ROLES.iterdir()):
        (role / "README.md").write_text(readme(role), encoding="utf-8")
