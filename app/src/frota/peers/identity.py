"""The name of a server or worker that has none in its settings: a UUID that stays the same over restarts."""

import re
import uuid
from pathlib import Path

from frota.core.errors import StateError
from frota.storage import files

_VALID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


def identity(folder: Path, kind: str) -> str:
    """Return the UUID in the file KIND_id of a state folder, which is created if there is none. Raises StateError."""
    file = folder / f"{kind}_id"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if file.exists() and _VALID.fullmatch(known := file.read_text(encoding="ascii").strip()):
            return known
        new = str(uuid.uuid4())
        files.replace(file, [f"{new}\n".encode()])
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"{file}: {error}; choose another folder with --state-dir") from error
    return new
