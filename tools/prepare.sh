#!/bin/sh
# prepare.sh TARGET: check the prerequisites of a target of the Makefile on this machine. Installs missing packages as
# root, and otherwise lists them. `venv`, `check` and `bench` need no root.
set -eu
CDPATH= cd "$(dirname "$0")/.."
. tools/environment
target=${1:-up}
python=$(tools/python)

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
# Updates of the first boot may hold apt's locks for minutes. apt itself waits only for one of them.
locked() { # locked apt-get WORD…: run it when the locks are free; its output is in $log
  program=$1
  shift
  tries=300
  until DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$program" -o DPkg::Lock::Timeout=600 "$@" >"$log" 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] && grep -q 'Could not get lock' "$log" || return 1
    sleep 2
  done
}
command_of() { PATH=$PATH:/usr/sbin:/sbin command -v "$1"; }

here=$(pwd -P)
case $here in
*[[:space:]:%\"\'\`\$\&\;\|\*\?\<\>\(\)\\]*)
  refuse "Ansible and ssh cannot work in a folder with a space, a colon, a % or a sign of the shell in its path. Move this one: $here"
  ;;
esac
if [ -n "$(find . -prune -perm -o=w)" ]; then
  refuse "anybody may write to this folder, so Ansible would not read its ansible.cfg. Run: chmod o-w $here"
fi

# Reject another checkout's .venv or hosts: every command would change that checkout.
if [ -L .venv ]; then
  refuse ".venv is a link to $(readlink .venv), which would be made to run this checkout. Remove the link: rm $here/.venv"
elif [ -e .venv/pyvenv.cfg ]; then
  made_for=$(sed -n 's/^command = .* //p' .venv/pyvenv.cfg)
  runs=$(cat .venv/lib/python3*/site-packages/_frota.pth 2>/dev/null || echo "$here/app/src")
  if [ "${made_for:-$here/.venv}" != "$here/.venv" ] || [ "$runs" != "$here/app/src" ]; then
    refuse ".venv belongs to another checkout (made for $made_for, runs $runs). Remove it: rm -r $here/.venv"
  fi
  # A .venv of another Python, or whose Python was deleted, is rebuilt.
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)
  if [ ! -d ".venv/lib/python$version" ] || ! .venv/bin/python -c 'import ansible, frota' 2>/dev/null; then
    rm -f .venv/ready
  fi
fi
if [ -e .local/bin/podman ] && ! grep -qF -e "--root $here/.local/podman/storage" .local/bin/podman; then
  owner=$(sed -n 's/.*--root \(.*\)\/.local\/podman\/storage .*/\1/p' .local/bin/podman)
  refuse "the hosts described in .local are those of $owner. If this folder is a copy, remove .local from it: rm -r $here/.local
If it was moved, move it back, and type make down there first."
fi
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
up | test | molecule | pipeline | database)
  need mmdebstrap command_of mmdebstrap
  # On other systems than Debian, mmdebstrap requires Debian's keys.
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
  [ "$target" = bench ] || need chromium command_of chromium # for the tests of the dashboard's page
  # The benchmarks of the images and the peers use a broker and a database in a chroot, which requires root.
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
  if ! { locked apt-get update && locked apt-get install --yes --no-install-recommends $missing; }; then
    tail -n 20 "$log" >&2
    refuse "the packages$missing could not be installed; see above, then run this again."
  fi
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  refuse "this takes Python 3.11 or newer, and $python is $("$python" --version). Name another: make $target PYTHON=/path/to/python3"
