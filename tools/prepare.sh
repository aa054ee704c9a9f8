#!/bin/sh
# prepare.sh TARGET: what a target of the Makefile needs of this machine. Packages that are missing are installed where
# we may, otherwise named. `venv`, `check` and `bench` need no root.
set -eu
target=${1:-up}
python=${PYTHON:-python3}

refuse() {
  printf 'frota: %s\n' "$1" >&2
  exit 1
}
missing=
need() { # need PACKAGE TEST…: the package is missing when the test fails
  package=$1
  shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}
command_of() { PATH=$PATH:/usr/sbin:/sbin command -v "$1"; }

case $PWD in
*[[:space:]]*) refuse "Ansible cannot work in a folder with a space in its path. Move this one: $PWD" ;;
esac
case $target in
venv | check | bench) ;;
*) [ "$(id -u)" = 0 ] || refuse "hosts with addresses of their own take root. Run: sudo make $target" ;;
esac

need python3-venv "$python" -c 'import ensurepip, venv'
case $target in
up | test | molecule)
  need podman command_of podman
  need crun command_of crun
  need netavark test -x /usr/lib/podman/netavark -o -x /usr/libexec/podman/netavark
  need aardvark-dns test -x /usr/lib/podman/aardvark-dns -o -x /usr/libexec/podman/aardvark-dns
  need iptables command_of iptables
  need iproute2 command_of ip
  need openssh-client command_of ssh
  ;;
esac
case $target in
up | test | molecule | pipeline)
  need mmdebstrap command_of mmdebstrap
  # Where the machine is not Debian, mmdebstrap has to be told whom to trust.
  need debian-archive-keyring test -e /usr/share/keyrings/debian-archive-keyring.gpg -o -e /usr/share/keyrings/debian-archive-keyring.pgp
  ;;
esac
case $target in
check | test | pipeline | bench)
  need libturbojpeg0 "$python" -c 'import ctypes; ctypes.CDLL("libturbojpeg.so.0")'
  ;;
esac
case $target in
test | bench)
  need gcc command_of cc
  need libc6-dev test -e /usr/include/stdio.h
  need redis-tools command_of redis-benchmark
  # Images are published to, and worked on from, a broker in a tree of its own, which takes root to make and to run.
  [ "$(id -u)" != 0 ] || need mmdebstrap command_of mmdebstrap
  ;;
esac

if [ -n "$missing" ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    refuse "please install these packages (by their Debian names), then run this again:$missing"
  fi
  echo "Installing$missing"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  # shellcheck disable=SC2086 # a list of packages
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    refuse "the packages$missing could not be installed; see above, then run this again."
  fi
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  refuse "this takes Python 3.11 or newer, and $python is $("$python" --version). Name another: make $target PYTHON=/path/to/python3"
