#!/bin/sh
# claim_range.sh FILE [CIDR]: claim the range named in FILE, or at first CIDR or else the first free 10.x.0.0/16, and
# write it there; print it when something was done. The claim is a route of the lowest priority that sends nothing
# anywhere: nothing meant for a host leaves this machine while the host is down, and of two who want the same range at
# the same moment the kernel lets one have it.
set -eu
umask 022
file=$1
claim() { ip route add unreachable "$1" metric 4294967295 2>/dev/null; }
# Routes into the range, and wider ones that hold it, such as a VPN's 10.0.0.0/8.
routes() { { ip route show root "$1" table all; ip route show match "$1" table all; } | grep --invert-match '^default'; }

if [ -e "$file" ]; then
  range=$(cat "$file")
  [ -z "$(ip route show type unreachable "$range")" ] || exit 0
  if ! claim "$range"; then
    echo "$range, the range of this checkout's hosts, is in use by now: see ip route show table all" >&2
    exit 1
  fi
  echo "$range"
  exit 0
fi

for range in ${2:-$(seq --format '10.%g.0.0/16' 42 249)}; do
  if [ -z "$(routes "$range")" ] && claim "$range"; then
    echo "$range" >"$file"
    echo "$range"
    exit 0
  fi
done
echo "${2:-Every range from 10.42.0.0/16 to 10.249.0.0/16} is in use on this machine: see ip route show table all" >&2
exit 1
