"""Faults that tests inject: a restart of a unit, a kill of its process, a reboot of its host."""

from .hosts import Host, until


def restart(host: Host, unit: str) -> None:
    """Restart the unit."""
    host.run(f"systemctl restart {unit}")


def kill(host: Host, unit: str) -> None:
    """Kill the unit's process with SIGKILL, and wait until systemd has started another one."""
    before = host.show("InvocationID", units=unit)
    host.run(f"systemctl kill --signal=KILL {unit}")
    until(lambda: host.show("InvocationID", units=unit) != before, "a new process after the killed one")


def reboot(host: Host, _unit: str) -> None:
    """Restart the whole host."""
    start_time = "cut --delimiter=' ' --fields=22 /proc/1/stat"  # of process 1: containers share the kernel's boot id
    before = host.run(start_time)
    host.try_to_run("systemctl --no-block reboot")
    until(lambda: host.try_to_run(start_time) not in ("", before), "the host after its reboot")
