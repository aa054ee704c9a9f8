#!/bin/sh
# Install the system packages that a control node with local hosts needs, where they are missing and we may;
# otherwise say what to install. `prepare.sh venv` asks only for what the virtual environment needs.
set -eu

missing=
need() { # need PACKAGE TEST…: the package is missing when the test fails
  package=$1
  shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}
command_of() { PATH=$PATH:/usr/sbin:/sbin command -v "$1"; }

need python3-venv "${PYTHON:-python3}" -c 'import ensurepip, venv'
if [ "${1-}" != venv ]; then
  need podman command_of podman
  need crun command_of crun
  need netavark test -x /usr/lib/podman/netavark -o -x /usr/libexec/podman/netavark
  need aardvark-dns test -x /usr/lib/podman/aardvark-dns -o -x /usr/libexec/podman/aardvark-dns
  need iptables command_of iptables
  need mmdebstrap command_of mmdebstrap
  need iproute2 command_of ip
  need openssh-client command_of ssh
  need gcc command_of cc
  need libc6-dev test -e /usr/include/stdio.h
  if [ "$(id -u)" != 0 ]; then
    echo "frota: hosts with addresses of their own take root. Run: sudo make ${1:-up}" >&2
    exit 1
  fi
fi

[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing$missing"
  log=$(mktemp)
  # shellcheck disable=SC2086 # a list of packages
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "frota: the packages$missing could not be installed; see above, then run this again." >&2
    exit 1
  fi
  rm "$log"
else
  echo "frota: please install these packages (by their Debian names), then run this again:$missing" >&2
  exit 1
fi
