"""Compiles the parts written in C with the system's compiler."""

import os
import shutil
import subprocess
from pathlib import Path

from bench.core.errors import CannotRunError

BUILD = Path(__file__).parents[1] / "build"
INCLUDES = Path(__file__).parent
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-I", str(INCLUDES))


def compile_c(source: Path) -> Path:
    """Return the program made from `source`; `$CC` is used before `cc`.

    Always compiles anew: it takes a fraction of a second and is never stale.
    Raises CannotRunError where there is no compiler or it refuses the source.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise CannotRunError(
            "there is no C compiler here, and load and peer are written in C: "
            "install one (Debian: apt-get install gcc libc6-dev) or name it in $CC"
        )
    BUILD.mkdir(exist_ok=True)
    # Two systems may have a source of the same name.
    program = BUILD / f"{source.parent.name}-{source.stem}"
    command = [compiler, *FLAGS, "-o", str(program), str(source)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise CannotRunError(f"{compiler} cannot compile {source}:\n{done.stderr.strip()}")
    return program
