#!/bin/sh
# former_release.sh HOME [RELEASE]: print the release in use and, on the last line, RELEASE or else the one that was
# installed before it; fail with a sentence when it is not on the host.
set -eu
cd "$1/releases"
current=$(basename "$(readlink -f "$1/current")")
releases=$(ls -dt -- */ready | cut -d/ -f1)
former=${2:-$(echo "$releases" | sed -n "/^$current\$/{n;p}")}
if ! echo "$releases" | grep --quiet --line-regexp --fixed-strings -- "${former:-none}"; then
  echo "There is no release ${2:-before $current} on this host. Newest first, there are:" $releases >&2
  exit 1
fi
echo "$current"
echo "$former"
