"""The scenarios: no change, one setting, and a new release."""

import itertools
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.compare import Claim, Column, Figures, Scenario
from bench.core.errors import InvalidRunError
from bench.core.options import Options
from bench.deploy import fleet, further_hosts, sides

FROTA, NEW_CONNECTIONS, PYINFRA = "frota", "frota, new connections", "pyinfra"
COLUMNS = (Column("wall_s", "s", ".1f"), Column("cpu_s", "CPU s", ".1f"))
DISCONNECT = Path(__file__).with_name("disconnect.yml")
SETTING, VARIABLE = "sensors_max_connections", "SENSORS_MAX_CONNECTIONS"
SETTING_HOST, SETTING_FILE = "sensor-server", "/etc/frota/frota-sensor-server.env"
# The steps of the module `release` on a host, as a shell script.
INSTALL = """cd /opt/frota/releases
tar --extract --gzip --no-same-owner --file ../{name}.tar.gz
python3 -m venv --without-pip {name}
for packages in {name}/lib/python3*/site-packages; do
  echo /opt/frota/libraries/{libraries}/${{packages#*/}} >$packages/libraries.pth
done
sed s/{old}/{name}/ {old}/bin/frota >{name}/bin/frota
chmod 755 {name}/bin/frota
sync --file-system {name}
touch {name}/ready"""


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return the scenarios. Raises CannotRunError if no fleet is running or pyinfra is missing.

    With `options.hosts`, the fleet has that number of hosts during the run, and the only scenario is "no change".
    """
    fleet.require()
    sides.require_pyinfra()
    if options.hosts:
        options.resources.callback(update_fleet, 0)
    update_fleet(max(0, options.hosts - len(further_hosts.stack_hosts())))
    no_change = unchanged(options.folder)
    return [no_change] if options.hosts else [no_change, setting(options.folder), upgrade(options.folder)]


def smoke(options: Options) -> Scenario:
    """Return the scenario of --quick: no change, without pyinfra. Raises CannotRunError if no fleet is running."""
    fleet.require()
    update_fleet(0)
    return unchanged(options.folder).only_first_side()


def update_fleet(further: int) -> None:
    """Update the fleet, with `further` additional hosts, so that the first measured run changes nothing."""
    further_hosts.resize(further)
    hosts = f", with {further} additional hosts" if further else ""
    print(f"bench: updating the fleet{hosts}, which is not measured", file=sys.stderr, flush=True)
    sides.playbook("site.yml")


def make_scenario(title: str, measured: Mapping[str, Callable[[], Figures]], at_most: float | None = None) -> Scenario:
    """Return a scenario that compares all sides with the last one; `at_most` is the target for the ratio of times."""
    *sides, baseline = measured
    claims = [Claim(f"time ÷ pyinfra{claim_suffix(side)}", "wall_s", side, baseline, at_most=at_most) for side in sides]
    claims += [Claim(f"CPU ÷ pyinfra{claim_suffix(side)}", "cpu_s", side, baseline) for side in sides]
    return Scenario(title, measured, COLUMNS, [*claims, Claim("seconds", "wall_s", FROTA, format_spec=".1f")])


def claim_suffix(side: str) -> str:
    """Return the suffix for a claim about a variant of frota, such as ", new connections"."""
    return side.removeprefix(FROTA)


def unchanged(folder: Path) -> Scenario:
    """Return the scenario of runs that change nothing."""

    def run_frota() -> Figures:
        figures, output = sides.playbook("site.yml")
        sides.require_unchanged(output)
        return figures

    def run_with_new_connections() -> Figures:
        sides.playbook(str(DISCONNECT))
        return run_frota()

    def run_pyinfra() -> Figures:
        figures, output = sides.pyinfra(folder, fleet.states())
        sides.require_unchanged(output)
        return figures

    measured = {FROTA: run_frota, NEW_CONNECTIONS: run_with_new_connections, PYINFRA: run_pyinfra}
    return make_scenario(f"no change, {len(fleet.hosts())} hosts", measured, at_most=1.5)


def setting(folder: Path) -> Scenario:
    """Return the scenario that changes a setting of a unit, and changes it back: the mean of both runs."""

    def run_frota() -> Figures:
        change, _ = sides.playbook("site.yml", "-e", f"{SETTING}=1001")
        require_setting("1001")
        revert, _ = sides.playbook("site.yml")
        return mean(change, revert)

    def run_pyinfra() -> Figures:
        before = fleet.states()
        change, _ = sides.pyinfra(folder, replace_text(before, current_setting(), f'{VARIABLE}="1001"'))
        require_setting("1001")
        revert, _ = sides.pyinfra(folder, before)
        sides.playbook("site.yml")  # checks the files that pyinfra has written, so that the next measured run need not
        return mean(change, revert)

    return make_scenario("one setting", {FROTA: run_frota, PYINFRA: run_pyinfra})


def mean(first: Figures, second: Figures) -> Figures:
    """Return the mean of each figure of two runs."""
    return {name: (first[name] + second[name]) / 2 for name in first}


def replace_text(states: Mapping[str, Any], old: str, new: str) -> Any:
    """Return states with `old` replaced by `new` in all paths, targets and contents."""
    if isinstance(states, Mapping):
        return {key: replace_text(value, old, new) for key, value in states.items()}
    if isinstance(states, list):
        return [replace_text(value, old, new) for value in states]
    return states.replace(old, new) if isinstance(states, str) else states


def current_setting() -> str:
    """Return the current line of the setting on its host."""
    return fleet.run_on(SETTING_HOST, f"grep ^{VARIABLE}= {SETTING_FILE}")


def require_setting(value: str) -> None:
    """Raise InvalidRunError unless the unit runs with a value of the setting."""
    unit = Path(SETTING_FILE).stem
    fleet.run_on(
        SETTING_HOST, f"grep -qzx {VARIABLE}={value} /proc/$(systemctl show --value --property=MainPID {unit})/environ"
    )


def upgrade(folder: Path) -> Scenario:
    """Return the scenario of a new release, which restarts every unit. The way back is not measured."""
    numbers = itertools.count(1)

    def run_frota() -> Figures:
        before = fleet.releases()
        with tempfile.TemporaryDirectory(dir=folder) as application:
            project = changed_application(Path(application) / "app")
            figures, _ = sides.playbook("site.yml", "-e", f"fleet_application={project}")
        if len(after := fleet.releases()) != 1 or after == before:
            raise InvalidRunError(f"the hosts run {', '.join(sorted(after))} after an upgrade from {', '.join(before)}")
        sides.playbook("site.yml")
        return figures

    def run_pyinfra() -> Figures:
        before, (old,) = fleet.states(), fleet.releases()
        release = renamed_release(folder, old, f"{old.rpartition('-')[0]}-bench{next(numbers)}")
        figures, _ = sides.pyinfra(folder, replace_text(before, old, release["name"]), release)
        if fleet.releases() != {release["name"]}:
            raise InvalidRunError(f"not every host runs {release['name']}")
        sides.pyinfra(folder, before)
        sides.playbook("site.yml")
        name = release["name"]
        fleet.run_on_all(list(before), f"rm -rf /opt/frota/releases/{name} /opt/frota/{name}.tar.gz")
        return figures

    return make_scenario("a new release", {FROTA: run_frota, PYINFRA: run_pyinfra})


def changed_application(folder: Path) -> Path:
    """Create a copy of the application that differs in a comment."""
    shutil.copytree(fleet.ROOT / "app", folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    with (folder / "src/frota/__init__.py").open("a", encoding="utf-8") as source:
        source.write(f"\n# Another release: {folder}.\n")
    return folder


def renamed_release(folder: Path, old: str, new: str) -> dict[str, str]:
    """Create an archive of a release under another name; return its name, its path and the script to install it."""
    shutil.unpack_archive(fleet.ROOT / ".local/wheelhouse" / f"{old}.tar.gz", folder)
    (folder / old).rename(folder / new)
    archive = shutil.make_archive(str(folder / new), "gztar", folder, new)
    install = INSTALL.format(name=new, old=old, libraries=old.split("-")[-2])
    return {"name": new, "archive": archive, "install": install}
