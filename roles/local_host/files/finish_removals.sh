#!/bin/sh
# finish_removals.sh PODMAN NETWORK: remove the network's containers whose removal was broken off; print them. Those of
# other networks may be on their way out at this moment.
set -eu
halves=$("$1" ps --all --quiet --filter status=removing --filter "label=frota_network=$2")
[ -z "$halves" ] || "$1" rm --force --volumes $halves
