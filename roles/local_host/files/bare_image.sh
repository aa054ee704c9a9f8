#!/bin/sh
# bare_image.sh [PACKAGE…]: make the archive of a bare Debian, on which these packages are installed and none of their
# units enabled, and say where it is. All checkouts of this machine share it. Its name has two digests: of all that it is
# made of, and of its content. What does not have that content, or is older than a month, is made anew.
set -eu
umask 022
here=$(CDPATH= cd "$(dirname "$0")" && pwd)
kept=6 # archives, those that were asked for last; of some 300 MB each

usable() { mkdir -p "$1" 2>/dev/null && [ -w "$1" ]; }
cache=${XDG_CACHE_HOME:-${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}/.cache}/frota
usable "$cache" || cache=$here/../../../.local/cache
mkdir -p "$cache"
recipe=$(printf '%s\n' "$@" | cat "$here"/*.sh - | sha256sum | cut -c 1-12)

fresh() { # fresh ARCHIVE: it is what was made, not long ago
  [ -n "$(find "$1" -mtime -30 2>/dev/null)" ] || return 1
  content=${1##*-}
  [ "$(sha256sum "$1" | cut -c 1-64)" = "${content%.tar}" ]
}

# One at a time: who waits finds what the other made. What an interrupted run left is nobody's.
exec 9>"$cache/lock"
flock 9
rm -f "$cache"/*.unfinished
for archive in "$cache/host-$recipe"-*.tar; do
  if fresh "$archive"; then
    touch -a "$archive"
    printf '%s\n' "$archive"
    exit
  fi
  rm -f "$archive"
done

unfinished=$cache/host-$recipe.unfinished
mmdebstrap --quiet --variant=minbase --format=tar \
  --include=systemd,systemd-sysv,dbus,python3,python3-apt,openssh-server,sudo,iproute2,nftables,ca-certificates,systemd-timesyncd \
  --customize-hook="$here/bare_host.sh" \
  ${1+--customize-hook="$here/packages.sh \"\$1\" $*"} \
  trixie "$unfinished" >&2
archive=$cache/host-$recipe-$(sha256sum "$unfinished" | cut -c 1-64).tar
mv "$unfinished" "$archive"
ls -tu "$cache"/host-*.tar | tail -n +$((kept + 1)) | while read -r former; do rm -f "$former"; done
printf '%s\n' "$archive"
