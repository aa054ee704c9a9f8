"""Commands that are forked, not started, because most of a start is the import of libraries.

A process beside each worker of the tests has imported them, and forks when a test starts a command. The result equals
a process of `python -m frota`: a child of the tests with its own pid, descriptors, folder and environment, which ends
like any other. Only its memory is larger from the start: tests of memory, imports and starts use `fresh=True`.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import re
import resource
import runpy
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple, TextIO

_PR_SET_CHILD_SUBREAPER = 36
_MAX_REQUEST_BYTES = 1 << 17
_STARTUP_VARIABLES = re.compile("PYTHON|L[CD]_|LANG|GLIBC_|MALLOC_|GRPC_|TZ")  # read before `main`
_UNSUPPORTED_OPTIONS = ("preexec_fn", "pass_fds", "process_group", "user", "group", "extra_groups", "executable")
_FORKING = threading.Lock()


class _Request(NamedTuple):
    """A command to fork; its standard input, output and error are sent beside it."""

    words: list[str]
    environ: dict[str, str]
    folder: str
    session: bool
    open_files: tuple[int, int]


class _Server(NamedTuple):
    """The process that forks, and the environment that it was started in."""

    process: "subprocess.Popen[bytes]"
    connection: socket.socket
    environ: frozenset[tuple[str, str]]


class Forked(subprocess.Popen[bytes]):
    """`frota WORDS…` in a fork, with the options that `can_be_forked` takes."""

    # Popen creates the pipes, and calls this method to start the child.
    def _execute_child(self, args: Any, _executable: Any, _preexec: Any, _close: Any, _pass: Any, *more: Any) -> None:
        folder, environ, _info, _flags, _shell, *pipes = more[:11]
        session = more[-2]
        standard = [number if end == -1 else end for number, end in enumerate((pipes[0], pipes[3], pipes[5]))]
        words, variables = [*map(os.fsdecode, args)], dict(os.environ if environ is None else environ)
        open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        request = _Request(words, variables, os.fspath(folder or Path.cwd()), session, open_files)
        self.pid = _fork(request, standard)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]  # as Popen does after its own fork


def can_be_forked(options: dict[str, Any]) -> bool:
    """Return whether a fork can apply these options of Popen."""
    environ = options.get("env") or os.environ
    differing = _server().environ.symmetric_difference(environ.items())
    if sys.getfilesystemencoding() == "utf-8":
        differing -= {("LC_ALL", "C.UTF-8")}
    unsupported = [name for name in _UNSUPPORTED_OPTIONS if options.get(name) is not None]
    return not unsupported and not any(_STARTUP_VARIABLES.match(name) for name, _ in differing)


@cache
def _server() -> _Server:
    """Start the process that forks; it exits when this process does, and closes the connection."""
    parent_end, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with child_end:
        command = [sys.executable, "-P", __file__, str(child_end.fileno())]
        process = subprocess.Popen(command, pass_fds=[child_end.fileno()], stdin=subprocess.DEVNULL)
    return _Server(process, parent_end, frozenset(os.environ.items()))


def _fork(request: _Request, standard: list[int]) -> int:
    """Return the pid of a new child of this process.

    The server's own child exits at once, so that the kernel makes the command a child of this process, its subreaper.
    """
    import ctypes

    with _FORKING:
        connection, prctl = _server().connection, ctypes.CDLL(None).prctl
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        try:
            socket.send_fds(connection, [json.dumps(request).encode()], standard)
            return int(connection.recv(_MAX_REQUEST_BYTES))
        finally:
            prctl(_PR_SET_CHILD_SUBREAPER, 0)


@cache
def _import_all(system: str) -> None:
    """Import all modules of a system."""
    from frota.cli import SYSTEMS

    if system in SYSTEMS:
        package = importlib.import_module(f"frota.{SYSTEMS[system].package}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations." not in module.name:  # which only Alembic can execute
                importlib.import_module(module.name)
    gc.freeze()  # otherwise the first collection in each child would copy all memory


def _serve(connection: socket.socket) -> _Request | None:
    """Fork for each request; return it in the new process, and None in this one, at the end of the tests."""
    while True:
        data, standard, *_ = socket.recv_fds(connection, _MAX_REQUEST_BYTES, 3)
        if not data:
            return None
        request = _Request(*json.loads(data))
        _import_all(request.words[0] if request.words else "")
        pid_reader, pid_writer = os.pipe()
        if not (parent := os.fork()):
            if not (pid := os.fork()):
                _become(request, standard)
                return request
            os.write(pid_writer, str(pid).encode())
            os._exit(0)
        os.waitpid(parent, 0)
        connection.send(os.read(pid_reader, 32))
        for number in (*standard, pid_reader, pid_writer):
            os.close(number)


def _become(request: _Request, standard: list[int]) -> None:
    """Turn this fork into the process of the command."""
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    resource.setrlimit(resource.RLIMIT_NOFILE, request.open_files)
    if request.session:
        os.setsid()
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environ)
    sys.stdin, sys.stdout, sys.stderr = _stream(0, sys.stdin), _stream(1, sys.stdout), _stream(2, sys.stderr)
    sys.path.insert(0, request.folder)
    sys.argv[1:] = request.words


def _stream(number: int, like: TextIO) -> TextIO:
    """Open a standard stream as the interpreter does: its buffering depends on the new descriptor."""
    unbuffered = bool(number and os.environ.get("PYTHONUNBUFFERED"))
    raw = open(number, "wb" if number else "rb", 0 if unbuffered else -1, closefd=False)  # noqa: SIM115 -- it stays open
    by_line = number == 2 or os.isatty(number)
    return TextIOWrapper(raw, like.encoding, like.errors, line_buffering=by_line, write_through=unbuffered)


def _end(status: object) -> None:
    """End as the interpreter does, but without freeing its memory, which takes longer than most commands."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # the reader is gone, which the interpreter reports
        sys.stdout.flush()
        sys.stderr.flush()
        if isinstance(status, int):
            os._exit(status)


if __name__ == "__main__" and _serve(socket.socket(fileno=int(sys.argv[1]))):
    try:
        runpy.run_module("frota", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        _end(end.code)
        raise
