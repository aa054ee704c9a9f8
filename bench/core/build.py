"""Compiles programs in C with the system's compiler."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import CannotRunError

BUILD = Path(__file__).parents[1] / "build"
BASELINES = BUILD / "baselines"  # packages that tools/baselines fetches
INCLUDES = Path(__file__).parent
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-I", str(INCLUDES))


def compile_c(source: Path) -> Path:
    """Return the program compiled from `source` with `$CC`, by default `cc`. `#include "load.h"` finds core/load.h.

    Compiles in every run, which takes a fraction of a second, so that a program never is older than a header.
    Raises CannotRunError if there is no compiler, or if it rejects the source.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise CannotRunError(
            "there is no C compiler, which the load generators require: "
            "install one (Debian: apt-get install gcc libc6-dev), or set $CC"
        )
    BUILD.mkdir(exist_ok=True)
    # Several systems have a source of the same name.
    program = BUILD / f"{source.parent.name}-{source.stem}"
    command = [compiler, *FLAGS, "-o", str(program), str(source)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise CannotRunError(f"{compiler} cannot compile {source}:\n{result.stderr.strip()}")
    return program


def with_baselines(command: Sequence[str]) -> list[str]:
    """Return a command that runs a program in Python with the packages of tools/baselines.

    It may write bytecode, because compiling would dominate its start.
    """
    path = os.pathsep.join(filter(None, [str(BASELINES), os.environ.get("PYTHONPATH")]))
    return ["env", "-u", "PYTHONDONTWRITEBYTECODE", f"PYTHONPATH={path}", *command]
