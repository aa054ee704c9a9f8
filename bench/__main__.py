"""`python -m bench [SYSTEM …]`: measure, then print a table. Exit 0 valid, 1 a run was invalid, 2 cannot run here."""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import cpu, deploy, images, sensors
from bench import list as shared_list
from bench.core import machine, report
from bench.core.build import BUILD
from bench.core.compare import Scenario, Spread, measure_pairs, step_names
from bench.core.errors import CannotRunError, InvalidRunError
from bench.core.options import Options
from bench.core.progress import Progress

SYSTEMS: dict[str, Callable[[Options], Sequence[Scenario]]] = {
    "sensors": sensors.scenarios,
    "list": shared_list.scenarios,
    "images": images.scenarios,
    "cpu": cpu.scenarios,
    "deploy": deploy.scenarios,
}
SMOKES: dict[str, Callable[[Options], Scenario]] = {
    "sensors": sensors.smoke,
    "list": shared_list.smoke,
    "images": images.smoke,
    "cpu": cpu.smoke,
    "deploy": deploy.smoke,
}
# Takes a fleet that is up and minutes for each pair, so it is measured where it is asked for.
NAMED_ONLY = {"deploy"}

EPILOG = """\
example:
  python -m bench sensors --pairs 3 --json result.json

Each pair measures all sides one after the other, each in a fresh process with a
fresh state directory. A missed target is shown, not an error; a wrong or missing
answer, or a store that does not hold what was acknowledged, is one.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's choices. Raises SystemExit with a usage message where they make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure frota beside its peers, paired, in one run.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "systems", nargs="*", metavar="SYSTEM", help=f"{', '.join(SYSTEMS)}; default: all but {', '.join(NAMED_ONLY)}"
    )
    parser.add_argument("--pairs", type=positive_int, default=5, help="how often each side is measured (default 5)")
    parser.add_argument("--seconds", type=positive_float, default=1.5, help="length of a measurement (default 1.5)")
    parser.add_argument(
        "--quick", action="store_true", help="ours alone, one scenario a system, for 0.5 s: does it run?"
    )
    parser.add_argument(
        "--hosts", type=positive_int, default=0, metavar="N", help="deploy: no change, on N hosts for this run"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement to FILE, too")
    parser.add_argument("--state-root", type=Path, default=BUILD, metavar="DIR", help="a folder on the disk to measure")
    parser.add_argument(
        "--frota",
        type=Path,
        default=Path(sys.executable).with_name("frota"),
        metavar="COMMAND",
        help="the frota to measure (default: the one beside this Python)",
    )
    options = parser.parse_args(arguments)
    if complaint := impossible(options):
        parser.error(complaint)
    if options.quick:
        options.pairs, options.seconds = 1, 0.5
    return options


def impossible(options: argparse.Namespace) -> str | None:
    """Return what would only fail after minutes of measuring, or with a traceback."""
    if unknown := set(options.systems) - set(SYSTEMS):
        return f"no benchmark for {', '.join(sorted(unknown))}; there are: {', '.join(SYSTEMS)}"
    if options.hosts and (options.quick or options.systems != ["deploy"]):
        return "--hosts is for deploy alone, and not for --quick: python -m bench deploy --hosts 30"
    for folder in (options.state_root, *([options.json.parent] if options.json else [])):
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"{folder} is no folder to write to"
    return None


def positive_int(text: str) -> int:
    """Return a whole number of 1 or more."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def positive_float(text: str) -> float:
    """Return a number of seconds, more than 0 and at most 60."""
    if not 0 < (value := float(text)) <= 60:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 60 seconds")
    return value


def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure with state in `folder`; what lasts for the run ends with it."""
    machine.require_disk(folder)
    options = Options(arguments.frota, folder, arguments.seconds, arguments.hosts)
    with options.held:
        measure(arguments, options)


def measure(arguments: argparse.Namespace, options: Options) -> None:
    """Measure what was asked for, and print it."""
    names = arguments.systems or [name for name in SYSTEMS if name not in NAMED_ONLY]
    if arguments.quick:
        scenarios = [SMOKES[name](options) for name in names]
    else:
        scenarios = [scenario for name in names for scenario in SYSTEMS[name](options)]
    progress = Progress([step for scenario in scenarios for step in step_names(scenario, arguments.pairs)])
    results, fdatasyncs = [], []
    try:
        for scenario in scenarios:
            fdatasyncs.append(machine.fdatasync_rate(options.folder))
            results.append(report.Result(scenario, measure_pairs(scenario, arguments.pairs, progress.tell)))
    finally:
        progress.end()
    fdatasyncs.append(machine.fdatasync_rate(options.folder))
    present(arguments, results, Spread.of(fdatasyncs))


def present(arguments: argparse.Namespace, results: Sequence[report.Result], fdatasyncs: Spread) -> None:
    """Print the tables, and write the JSON file where one was asked for."""
    described = machine.describe(arguments.state_root)
    how = f"{arguments.pairs} pair(s) of {arguments.seconds:g} s a side; {machine.placement()}"
    print(report.heading(described, fdatasyncs, how))
    for result in results:
        print(report.table(result))
    if arguments.json:
        content = {
            "machine": described,
            "fdatasyncs_per_second": vars(fdatasyncs),
            "seconds": arguments.seconds,
            "placement": machine.placement(),
            "scenarios": report.as_json(results),
        }
        arguments.json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 all runs were valid, 1 one was not, 2 nothing can be measured here."""
    BUILD.mkdir(exist_ok=True)
    options = parse(arguments)
    # An orderly end, so that no server is left behind.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=options.state_root) as folder:
            run(options, Path(folder))
    except (InvalidRunError, CannotRunError) as error:
        print(f"bench: {'INVALID: ' if isinstance(error, InvalidRunError) else ''}{error}", file=sys.stderr)
        return 1 if isinstance(error, InvalidRunError) else 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
