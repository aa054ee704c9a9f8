#!/bin/sh
# install_release.sh HOME RELEASE LIBRARIES: make HOME/releases/RELEASE from the wheel in HOME/wheels/RELEASE, offline, on
# top of HOME/libraries/LIBRARIES, which is made from HOME/wheels/LIBRARIES unless an earlier release has brought it.
set -eu
umask 022 # services, which are nobody, and people run what is installed here, whatever the login of root is set to
home=$1 release=$2
target=$home/releases/$release wheels=$home/wheels/$release
libraries=$home/libraries/$3 library_wheels=$home/wheels/$3

# The newest of its kind from now on, also where another was made while the clock was ahead.
make_newest() {
  newest=$(ls -t "$(dirname "$1")"/*/ready 2>/dev/null | head -n 1)
  touch "$1/ready"
  if [ "${newest:-$1/ready}" -nt "$1/ready" ]; then
    touch --reference="$newest" --date='1 second' "$1/ready"
  fi
}

# Ready means whole and on disk, whatever happens to the host next.
ready() {
  sync --file-system "$1"
  make_newest "$1"
}

# The release in use is the one that a rollback from the new one goes back to, whatever was installed between the two.
[ ! -e "$home/current/ready" ] || make_newest "$(readlink -f "$home/current")"

if [ ! -e "$libraries/ready" ]; then
  rm -rf "$libraries"
  python3 -m venv --without-pip "$libraries"
  # Debian's Python has no pip of its own; pip runs from its wheel.
  "$libraries/bin/python" "$(echo "$library_wheels"/pip-*.whl)/pip" install --quiet --no-index --no-cache-dir \
    --find-links "$library_wheels" --require-hashes --requirement "$library_wheels/requirements.txt"
  ready "$libraries"
fi
chmod --recursive a+rX "$libraries" # an earlier installation may have made them for root alone

rm -rf "$target"
python3 -m venv --without-pip "$target"
packages=$("$target/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# site(7) of Python: a folder named in such a file is searched as well.
echo "$libraries/${packages#"$target/"}" >"$packages/libraries.pth"
"$target/bin/python" -m pip install --quiet --no-index --no-cache-dir --no-deps "$wheels"/*.whl
ready "$target"
rm -rf "$wheels" "$library_wheels"

# The last three stay, and the one in use.
ls -dt "$home"/releases/*/ready | tail -n +4 | while read -r one; do
  old=$(dirname "$one")
  [ "$old" = "$(readlink -f "$home/current")" ] || [ "$old" = "$target" ] || rm -rf "$old"
done

# So do their libraries.
for one in "$home"/libraries/*; do
  cat "$home"/releases/*/lib/python3*/site-packages/libraries.pth | grep --quiet --fixed-strings "$one/" || rm -rf "$one"
done
