"""`python -m bench [SYSTEM …]`: measure, then print a table. Exit status: see `main`."""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import cpu, deploy, images, peers, sensors
from bench import list as shared_list
from bench.core import machine, report
from bench.core.build import BUILD
from bench.core.compare import Scenario, Spread, list_steps, measure_pairs
from bench.core.errors import CannotRunError, InvalidRunError
from bench.core.options import Options
from bench.core.progress import Progress

SYSTEMS: dict[str, Callable[[Options], Sequence[Scenario]]] = {
    "sensors": sensors.scenarios,
    "list": shared_list.scenarios,
    "images": images.scenarios,
    "cpu": cpu.scenarios,
    "peers": peers.scenarios,
    "deploy": deploy.scenarios,
}
SMOKES: dict[str, Callable[[Options], Scenario]] = {
    "sensors": sensors.smoke,
    "list": shared_list.smoke,
    "images": images.smoke,
    "cpu": cpu.smoke,
    "peers": peers.smoke,
    "deploy": deploy.smoke,
}
# Requires a running fleet and takes minutes per pair, so it runs only if it is named.
OPTIONAL = {"deploy"}

EPILOG = """\
example:
  python -m bench sensors --pairs 3 --json result.json

Each pair measures all sides one after the other, each in a new process with a
new state folder. A missed target is not an error. A wrong or missing response,
or a store that does not contain what was acknowledged, is an error.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options. Raises SystemExit, with a usage message, if they are invalid."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure frota and its baselines in pairs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "systems",
        nargs="*",
        metavar="SYSTEM",
        help=f"{', '.join(SYSTEMS)}; default: all except {', '.join(OPTIONAL)}",
    )
    parser.add_argument("--pairs", type=positive_int, default=5, help="measurements of each side (default 5)")
    parser.add_argument("--seconds", type=positive_float, default=1.5, help="length of a measurement (default 1.5)")
    parser.add_argument(
        "--quick", action="store_true", help="only frota, one scenario per system, for 0.5 s: does it run?"
    )
    parser.add_argument(
        "--hosts",
        type=positive_int,
        default=0,
        metavar="N",
        help="deploy: only a run without a change, on N hosts",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to FILE")
    parser.add_argument("--state-root", type=Path, default=BUILD, metavar="DIR", help="a folder on the disk to measure")
    parser.add_argument(
        "--frota",
        type=Path,
        default=Path(sys.executable).with_name("frota"),
        metavar="COMMAND",
        help="the frota to measure (default: the one of this Python)",
    )
    options = parser.parse_args(arguments)
    if error := find_error(options):
        parser.error(error)
    if options.quick:
        options.pairs, options.seconds = 1, 0.5
    return options


def find_error(options: argparse.Namespace) -> str | None:
    """Return an error that would otherwise show only at the end of the run, or as a traceback."""
    if unknown := set(options.systems) - set(SYSTEMS):
        return f"no benchmark of {', '.join(sorted(unknown))}; choose from: {', '.join(SYSTEMS)}"
    if options.hosts and (options.quick or options.systems != ["deploy"]):
        return "--hosts requires deploy alone, without --quick: python -m bench deploy --hosts 30"
    for folder in (options.state_root, *([options.json.parent] if options.json else [])):
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"{folder} is not a writable folder"
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
    """Measure with state in `folder`, and close the resources of the run at its end."""
    machine.require_disk(folder)
    options = Options(arguments.frota, folder, arguments.seconds, arguments.hosts)
    with options.resources:
        measure(arguments, options)


def measure(arguments: argparse.Namespace, options: Options) -> None:
    """Measure the chosen systems, and print the results: if a run is invalid, those of the scenarios before it."""
    names = arguments.systems or [name for name in SYSTEMS if name not in OPTIONAL]
    if arguments.quick:
        scenarios = [SMOKES[name](options) for name in names]
    else:
        scenarios = [scenario for name in names for scenario in SYSTEMS[name](options)]
    progress = Progress([step for scenario in scenarios for step in list_steps(scenario, arguments.pairs)])
    results, fdatasyncs = [], []
    try:
        for scenario in scenarios:
            fdatasyncs.append(machine.fdatasync_rate(options.folder))
            results.append(report.Result(scenario, measure_pairs(scenario, arguments.pairs, progress.begin)))
    finally:
        progress.end()
        if results:
            fdatasyncs.append(machine.fdatasync_rate(options.folder))
            print_results(arguments, results, Spread.of(fdatasyncs))


def print_results(arguments: argparse.Namespace, results: Sequence[report.Result], fdatasyncs: Spread) -> None:
    """Print the tables, and write the JSON file of --json."""
    machine_info = machine.describe(arguments.state_root)
    method = f"{arguments.pairs} pair(s) of {arguments.seconds:g} s per side; {machine.placement()}"
    print(report.heading(machine_info, fdatasyncs, method))
    for result in results:
        print(report.table(result))
    if arguments.json:
        content = {
            "machine": machine_info,
            "fdatasyncs_per_second": vars(fdatasyncs),
            "seconds": arguments.seconds,
            "placement": machine.placement(),
            "scenarios": report.as_json(results),
        }
        arguments.json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 if all runs were valid, 1 if one was invalid, 2 if this machine lacks something."""
    BUILD.mkdir(exist_ok=True)
    options = parse(arguments)
    # An exception on SIGTERM, so that all servers are killed.
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
