"""The Python of the .proto files is what their compiler makes of them."""

import subprocess
from pathlib import Path

from .checkout import ROOT


def test_generated_protos(tmp_path: Path) -> None:
    """The checked-in modules are what the compiler generates from the proto files."""
    subprocess.run([ROOT / "tools" / "protos", tmp_path], check=True)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*_pb2.py*"))
    source = ROOT / "app" / "src"
    assert made == sorted(path.relative_to(source) for path in source.rglob("*_pb2.py*") if path.suffix != ".pyc")
    assert [path for path in made if (tmp_path / path).read_bytes() != (source / path).read_bytes()] == []
