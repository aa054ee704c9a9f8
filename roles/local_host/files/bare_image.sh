#!/bin/sh
# bare_image.sh [PACKAGE…]: build the archive of a bare Debian with these packages, with their units disabled, and print
# its path. All checkouts of this machine share it. Its name has two digests, of these scripts and packages, and of its
# content. A damaged archive, or one older than a month, is built again.
set -eu
umask 022
here=$(CDPATH= cd "$(dirname "$0")" && pwd)
kept_archives=6 # those that were used last; each has about 300 MB

is_writable() { mkdir -p "$1" 2>/dev/null && [ -w "$1" ]; }
cache=${XDG_CACHE_HOME:-${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}/.cache}/frota
is_writable "$cache" || cache=$here/../../../.local/cache
mkdir -p "$cache"
inputs_digest=$(printf '%s\n' "$@" | cat "$here"/*.sh - | sha256sum | cut -c 1-12)

is_valid() { # is_valid ARCHIVE: it is undamaged and not too old
  [ -n "$(find "$1" -mtime -30 2>/dev/null)" ] || return 1
  content=${1##*-}
  [ "$(sha256sum "$1" | cut -c 1-64)" = "${content%.tar}" ]
}

# Only one process builds an archive; a waiting one then uses it. Interrupted runs leave unfinished files.
exec 9>"$cache/lock"
flock 9
rm -f "$cache"/*.unfinished
for archive in "$cache/host-$inputs_digest"-*.tar; do
  if is_valid "$archive"; then
    touch -a "$archive"
    printf '%s\n' "$archive"
    exit
  fi
  rm -f "$archive"
done

temporary=$cache/host-$inputs_digest.unfinished
mmdebstrap --quiet --variant=minbase --format=tar \
  --include=systemd,systemd-sysv,dbus,python3,python3-apt,openssh-server,sudo,iproute2,nftables,ca-certificates,systemd-timesyncd,systemd-journal-remote \
  --customize-hook="$here/bare_host.sh" \
  ${1+--customize-hook="$here/packages.sh \"\$1\" $*"} \
  trixie "$temporary" >&2
archive=$cache/host-$inputs_digest-$(sha256sum "$temporary" | cut -c 1-64).tar
mv "$temporary" "$archive"
ls -tu "$cache"/host-*.tar | tail -n +$((kept_archives + 1)) | while read -r oldest; do rm -f "$oldest"; done
printf '%s\n' "$archive"
