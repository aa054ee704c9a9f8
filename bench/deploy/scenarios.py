"""What is measured: nothing to change, one setting, and a new release."""

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

FROTA, ANEW, PYINFRA = "frota", "frota, connecting anew", "pyinfra"
COLUMNS = (Column("wall_s", "s", ".1f"), Column("cpu_s", "CPU s", ".1f"))
DISCONNECT = Path(__file__).with_name("disconnect.yml")
SETTING, VARIABLE = "sensors_max_connections", "SENSORS_MAX_CONNECTIONS"
SETTING_HOST, SETTING_FILE = "sensor-server", "/etc/frota/frota-sensor-server.env"
# What the module `release` does on a host, in a shell.
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
    """Return the scenarios. Raises CannotRunError where no fleet is up, or pyinfra is missing.

    With `options.hosts` the fleet has so many for as long as the run lasts, and all that is measured is the run that
    changes nothing.
    """
    fleet.require()
    sides.require_pyinfra()
    if options.hosts:
        options.held.callback(up_to_date, 0)
    up_to_date(max(0, options.hosts - len(further_hosts.own())))
    looks = unchanged(options.folder)
    return [looks] if options.hosts else [looks, setting(options.folder), upgrade(options.folder)]


def smoke(options: Options) -> Scenario:
    """Return what shows that the benchmark runs: nothing to change, without pyinfra. Raises CannotRunError as above."""
    fleet.require()
    up_to_date(0)
    return unchanged(options.folder).first_alone()


def up_to_date(further: int) -> None:
    """Bring the fleet up to date, with so many further hosts; else the first run would have something to change."""
    further_hosts.resize(further)
    whole = f"made one of {further} further hosts" if further else "brought up to date"
    print(f"bench: the fleet is {whole}, which is not measured", file=sys.stderr, flush=True)
    sides.playbook("site.yml")


def compared(title: str, measured: Mapping[str, Callable[[], Figures]], aim: float | None = None) -> Scenario:
    """Return a scenario; the last side is whom the others are compared with, `aim` is for the ratio of the times."""
    *ours, theirs = measured
    claims = [Claim(f"time ÷ pyinfra{note(side)}", "wall_s", side, theirs, at_most=aim) for side in ours]
    claims += [Claim(f"CPU ÷ pyinfra{note(side)}", "cpu_s", side, theirs) for side in ours]
    return Scenario(title, measured, COLUMNS, [*claims, Claim("seconds", "wall_s", FROTA, shape=".1f")])


def note(side: str) -> str:
    """Return what a claim says of a side that is not simply ours."""
    return side.removeprefix(FROTA)


def unchanged(folder: Path) -> Scenario:
    """Return the scenario of runs that look at all hosts and change nothing."""

    def ours() -> Figures:
        figures, printed = sides.playbook("site.yml")
        sides.require_unchanged(printed)
        return figures

    def anew() -> Figures:
        sides.playbook(str(DISCONNECT))
        return ours()

    def theirs() -> Figures:
        figures, printed = sides.pyinfra(folder, fleet.states())
        sides.require_unchanged(printed)
        return figures

    title = f"no change, {len(fleet.hosts())} hosts"
    return compared(title, {FROTA: ours, ANEW: anew, PYINFRA: theirs}, aim=1.5)


def setting(folder: Path) -> Scenario:
    """Return the scenario of one setting of one unit that changes, and changes back: the mean of both."""

    def ours() -> Figures:
        there, _ = sides.playbook("site.yml", "-e", f"{SETTING}=1001")
        require_setting("1001")
        back, _ = sides.playbook("site.yml")
        return mean(there, back)

    def theirs() -> Figures:
        before = fleet.states()
        there, _ = sides.pyinfra(folder, replaced(before, current_setting(), f'{VARIABLE}="1001"'))
        require_setting("1001")
        back, _ = sides.pyinfra(folder, before)
        sides.playbook("site.yml")  # which sees that files were written, and would else go through them when measured
        return mean(there, back)

    return compared("one setting", {FROTA: ours, PYINFRA: theirs})


def mean(there: Figures, back: Figures) -> Figures:
    """Return the mean of two runs, figure by figure."""
    return {name: (there[name] + back[name]) / 2 for name in there}


def replaced(states: Mapping[str, Any], old: str, new: str) -> Any:
    """Return states in which a text stands for another one, in paths, targets and contents."""
    if isinstance(states, Mapping):
        return {key: replaced(value, old, new) for key, value in states.items()}
    if isinstance(states, list):
        return [replaced(value, old, new) for value in states]
    return states.replace(old, new) if isinstance(states, str) else states


def current_setting() -> str:
    """Return the line of the setting, as it is on its host now."""
    return fleet.on(SETTING_HOST, f"grep ^{VARIABLE}= {SETTING_FILE}")


def require_setting(value: str) -> None:
    """Raise InvalidRunError where the unit does not run with a value of the setting."""
    unit = Path(SETTING_FILE).stem
    fleet.on(
        SETTING_HOST, f"grep -qzx {VARIABLE}={value} /proc/$(systemctl show --value --property=MainPID {unit})/environ"
    )


def upgrade(folder: Path) -> Scenario:
    """Return the scenario of a release that restarts every unit; going back is not measured."""
    numbers = itertools.count(1)

    def ours() -> Figures:
        before = fleet.releases()
        with tempfile.TemporaryDirectory(dir=folder) as application:
            project = changed_application(Path(application) / "app")
            figures, _ = sides.playbook("site.yml", "-e", f"fleet_application={project}")
        if len(after := fleet.releases()) != 1 or after == before:
            raise InvalidRunError(f"the hosts run {', '.join(sorted(after))} after an upgrade from {', '.join(before)}")
        sides.playbook("site.yml")
        return figures

    def theirs() -> Figures:
        before, (old,) = fleet.states(), fleet.releases()
        release = renamed_release(folder, old, f"{old.rpartition('-')[0]}-bench{next(numbers)}")
        figures, _ = sides.pyinfra(folder, replaced(before, old, release["name"]), release)
        if fleet.releases() != {release["name"]}:
            raise InvalidRunError(f"not every host runs {release['name']}")
        sides.pyinfra(folder, before)
        sides.playbook("site.yml")
        fleet.on_all(list(before), f"rm -rf /opt/frota/releases/{release['name']} /opt/frota/{release['name']}.tar.gz")
        return figures

    return compared("a new release", {FROTA: ours, PYINFRA: theirs})


def changed_application(folder: Path) -> Path:
    """Make a copy of the application that differs in a comment."""
    shutil.copytree(fleet.ROOT / "app", folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    with (folder / "src/frota/__init__.py").open("a", encoding="utf-8") as source:
        source.write(f"\n# A release of its own: {folder}.\n")
    return folder


def renamed_release(folder: Path, old: str, new: str) -> dict[str, str]:
    """Make an archive of a release under another name, and return what pyinfra needs to install it."""
    shutil.unpack_archive(fleet.ROOT / ".local/wheelhouse" / f"{old}.tar.gz", folder)
    (folder / old).rename(folder / new)
    archive = shutil.make_archive(str(folder / new), "gztar", folder, new)
    install = INSTALL.format(name=new, old=old, libraries=old.split("-")[-2])
    return {"name": new, "archive": archive, "install": install}
