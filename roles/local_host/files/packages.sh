#!/bin/sh
# packages.sh TREE PACKAGE…: install packages with their units disabled, like in an AMI; roles start them with settings.
set -eu
umask 022
root=$1
shift
preset=$root/etc/systemd/system-preset/00-packages.preset
mkdir -p "${preset%/*}"
echo 'disable *' >"$preset"
DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -o DPkg::Lock::Timeout=600 --yes --quiet --no-install-recommends "$@"
rm "$preset"
