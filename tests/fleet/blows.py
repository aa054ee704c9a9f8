"""What may happen to a unit or to its host."""

from .hosts import Host, until


def restart(host: Host, unit: str) -> None:
    """Restart the unit."""
    host.run(f"systemctl restart {unit}")


def kill(host: Host, unit: str) -> None:
    """Kill it, and wait for systemd to start another."""
    before = host.show("InvocationID", units=unit)
    host.run(f"systemctl kill --signal=KILL {unit}")
    until(lambda: host.show("InvocationID", units=unit) != before, "a new process after the killed one")


def reboot(host: Host, _unit: str) -> None:
    """Restart the whole host."""
    began = "cut --delimiter=' ' --fields=22 /proc/1/stat"  # of its first process: the kernel is not its own
    before = host.run(began)
    host.try_to_run("systemctl --no-block reboot")
    until(lambda: host.try_to_run(began) not in ("", before), "the host after its reboot")
