#!/bin/sh
# make_key.sh FROTA FILE GROUP: make a secret key that GROUP may read too, if it is not root. FILE is there when all of
# it is right. Prints nothing: what leaves the host is asked for by public_keys.sh.
set -eu
umask 077
frota=$1 file=$2 group=$3
rm -f "$file.unfinished"
"$frota" list keygen "$file.unfinished" >/dev/null
if [ "$group" != root ]; then
  chgrp "$group" "$file.unfinished"
  chmod g+r "$file.unfinished"
fi
mv "$file.unfinished" "$file"
sync --file-system "$file"
