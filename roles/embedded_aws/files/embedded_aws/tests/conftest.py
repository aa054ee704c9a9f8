"""Adds the sources to the path, because the package is not installed in a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
