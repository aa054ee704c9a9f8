#!/bin/sh
# releases.sh HOME: print the release in use, then all that are on the host, the last installed first.
set -eu
cd "$1/releases"
basename "$(readlink -f "$1/current")"
ls -dt -- */ready | cut -d/ -f1
