#!/bin/sh
# public_keys.sh FROTA FILE: print the public half of the key, and of the one that is to follow it, so far as they are there.
set -eu
frota=$1
# In a preview the release may not be there yet; the one in use reads a key as well.
[ -x "$frota" ] || frota=/usr/local/bin/frota
for file in "$2" "$2.next"; do
  [ ! -e "$file" ] || "$frota" list keygen --public "$file"
done
