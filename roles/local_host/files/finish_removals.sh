#!/bin/sh
# finish_removals.sh PODMAN: remove the containers whose removal was broken off; print them.
set -eu
halves=$("$1" ps --all --quiet --filter status=removing)
[ -z "$halves" ] || "$1" rm --force --volumes $halves
