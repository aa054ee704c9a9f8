"""Where the records of traces are: the collected journals, the journals of all hosts over SSH, or this host's own."""

import shlex
from pathlib import Path
from typing import NamedTuple

from frota.core.errors import StateError
from frota.observer import hosts, journal, processes
from frota.observer.journal import Record

COLLECTED = Path("/var/log/journal/remote")  # of the observer, by systemd-journal-remote
MAX_RECORDS = 10_000  # of one journal
_TIMEOUT_S, _PARALLEL = 30.0, 16


class Found(NamedTuple):
    """The records of each journal in its order, why journals are missing by their names, and the origin in words."""

    journals: list[list[Record]]
    failures: dict[str, str]
    origin: str


class Source(NamedTuple):
    """Journals: in a directory, of the hosts in an SSH configuration, or this host's if both are None."""

    directory: Path | None = None
    ssh_config: Path | None = None

    def find(self, *matches: str, lines: int = MAX_RECORDS, newest_first: bool = False) -> Found:
        """Read the last records that have these fields; at most `lines` of each journal. Raises StateError."""
        command = journal.journalctl(matches, lines, self.directory, newest_first=newest_first)
        outcomes = processes.run(self._commands(command), _TIMEOUT_S, _PARALLEL)
        over_ssh = self.ssh_config is not None
        records = {name: list(journal.parse(done.output, name if over_ssh else "")) for name, done in outcomes.items()}
        failures = {name: done.error for name, done in outcomes.items() if done.error}
        return Found(list(records.values()), failures, self._origin(len(outcomes)))

    def _commands(self, command: list[str]) -> dict[str, list[str]]:
        if self.ssh_config is None:
            return {f"journalctl --directory={self.directory}" if self.directory else "journalctl": command}
        return hosts.ssh_commands(self.ssh_config, hosts.names_in(self.ssh_config), shlex.join(command))

    def _origin(self, count: int) -> str:
        if self.ssh_config:
            return f"the journals of {count} {'host' if count == 1 else 'hosts'} over SSH"
        return f"the journals in {self.directory}" if self.directory else "this host's journal"


def choose(directory: Path | None, ssh_config: Path | None) -> Source:
    """Return what the user chose; else the collected journals, the hosts of this checkout, or this host's journal.

    Raises StateError.
    """
    if directory and not directory.is_dir():
        raise StateError(f"{directory}: no such folder; --journal-dir is a folder with files of systemd's journal")
    if directory or ssh_config:
        return Source(directory, ssh_config)
    if COLLECTED.is_dir():
        return Source(COLLECTED)
    return Source(ssh_config=hosts.find_ssh_config(Path.cwd()))
