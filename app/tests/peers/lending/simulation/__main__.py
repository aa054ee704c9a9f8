"""Run the simulator and print what it has shown."""

import argparse
import sys

from peers.lending.simulation.chaos import Chaos, Figures
from peers.lending.simulation.invariants import InvariantViolation
from peers.lending.simulation.scenarios import burst, competition
from peers.lending.simulation.world import ALL_FAULTS, NO_FAULTS

EXAMPLE = "example: PYTHONPATH=app/src:app/tests python -m peers.lending.simulation --seed 7 --steps 1000000 --runs 10"


def main() -> int:
    """Run as the command line says; return 1 after a violation."""
    parser = argparse.ArgumentParser("python -m peers.lending.simulation", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--seed", type=int, default=1, help="of the first run (default: 1)")
    parser.add_argument("--runs", type=int, default=1, help="runs with consecutive seeds (default: 1)")
    parser.add_argument(
        "--steps", type=int, default=200_000, help="of a run: messages, timers, faults (default: 200000)"
    )
    parser.add_argument("--servers", type=int, default=20, help="(default: 20)")
    parser.add_argument("--workers", type=int, default=1000, help="of all servers (default: 1000)")
    parser.add_argument("--no-faults", action="store_true", help="no crash, no partition, every message arrives once")
    parser.add_argument("--burst", action="store_true", help="10,000 tasks on one of two servers with 4 workers each")
    options = parser.parse_args()
    if options.burst:
        show_bursts(options.seed)
        return 0
    faults = NO_FAULTS if options.no_faults else ALL_FAULTS
    for seed in range(options.seed, options.seed + options.runs):
        try:
            show(Chaos(seed, options.servers, options.workers, faults).run(options.steps))
        except InvariantViolation as violation:
            print(violation, file=sys.stderr)
            return 1
    return 0


def show(figures: Figures) -> None:
    """Print what a run has shown."""
    rate = figures.steps / figures.wall_s
    median, p99 = figures.time_to_borrow_s
    fairness, samples = figures.fairness
    stranded = ", ".join(f"{role.lower()} {seconds:.0f} s" for role, seconds in figures.longest_stranded_s.items())
    print(f"seed {figures.seed}: {figures.steps} steps, {figures.virtual_s:.0f} virtual s, {rate:.0f} steps/s")
    print(f"  invariants looked at: {figures.checks}")
    print(f"  tasks: {figures.tasks} in {figures.bursts} bursts, {figures.dead} dead; all others have one result")
    print(f"  time to borrow where a peer can lend: median {median:.3f} s, p99 {p99:.2f} s, {figures.borrowed} times")
    print(f"  fairness: Jain's index {fairness:.3f}, {samples} samples")
    print(f"  longest without a server after the loss of: {stranded}")
    print(f"  longest work after the end of a loan: {figures.longest_overtime_s:.1f} s")
    print(f"  tasks sent into half-open connections: {figures.handed_to_absent}")
    print(f"  most at once: {figures.totals}", flush=True)


def show_bursts(seed: int) -> None:
    """Print how fast lending makes bursts of several service times, and how fair it is."""
    for service_s in (0.0005, 0.001, 0.002, 0.004, 0.02, 0.1):
        result = burst(seed, 10_000, service_s)
        print(
            f"service {service_s * 1e3:g} ms: alone {result.alone_s:.1f} s, lending {result.total_s:.1f} s "
            f"({result.total_s / result.alone_s:.2f}), all work after {result.all_work_s:.3f} s, "
            f"all home {result.all_home_s:.2f} s after the end"
        )
    for borrowers in (2, 3, 5):
        print(f"{borrowers} borrowers share 8 workers: Jain's index {competition(seed, borrowers):.3f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
