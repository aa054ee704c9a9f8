#!/bin/sh
# request.sh preview|request NAME GROUP COMMON_NAME DAYS [ADDRESS,…]: print `digest SHA256` when NAME has the key and the
# certificate that it is to have, for DAYS at least. Else print what is wrong, and, unless this is a preview, make the
# key if there is none, and print a request for a certificate. The key itself is never printed.
set -eu
umask 077
mode=$1 name=$2 group=$3 common_name=$4 days=$5 addresses=${6:-}
key=/etc/frota/credentials/$name.key
certificate=/etc/frota/certificates/$name.crt
authority=/etc/frota/certificates/ca.crt

ask() { openssl x509 -in "$certificate" -noout "$@" 2>/dev/null; }
named() { ask -ext subjectAltName | sed -n '2{s/ //g;s/IPAddress:/IP:/g;p}' | tr , '\n' | sort | paste -sd, -; }
access() { [ "$group" = root ] && echo '600 root root' || echo "640 root $group"; }

wrong() {
  [ -s "$key" ] || { echo "there is no key" && return; }
  [ "$(stat --format='%a %U %G' "$key")" = "$(access)" ] || { echo "the key is for others" && return; }
  [ -s "$certificate" ] || { echo "there is no certificate" && return; }
  [ "$(ask -pubkey)" = "$(openssl pkey -in "$key" -pubout)" ] || { echo "the certificate is of another key" && return; }
  [ "$(ask -subject -nameopt RFC2253)" = "subject=CN=$common_name" ] || { echo "it names another" && return; }
  [ "$(named)" = "$addresses" ] || { echo "it is for other addresses: $(named)" && return; }
  ask -checkend $((days * 86400)) >&2 || { echo "it ends within $days days" && return; }
  openssl verify -CAfile "$authority" "$certificate" >/dev/null 2>&1 || echo "the authority is another"
}

wrong=$(wrong)
if [ -z "$wrong" ]; then
  echo "digest $(sha256sum "$certificate" | cut -d' ' -f1)"
  exit 0
fi
echo "$name: $wrong"
[ "$mode" = request ] || exit 0

if [ ! -s "$key" ]; then
  # Whole and on disk before it has its name.
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$key.unfinished" 2>/dev/null
  mv "$key.unfinished" "$key"
  sync --file-system "$key"
fi
access=$(access)
chown "root:${access##* }" "$key"
chmod "${access%% *}" "$key"

set -- -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature \
  -addext extendedKeyUsage=serverAuth,clientAuth
[ -z "$addresses" ] || set -- "$@" -addext "subjectAltName=$addresses"
openssl req -new -key "$key" -subj "/CN=$common_name" "$@"
