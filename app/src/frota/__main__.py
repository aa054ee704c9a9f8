"""Let `python -m frota` do what the `frota` command does."""

import sys

from frota.cli import main

sys.exit(main())
