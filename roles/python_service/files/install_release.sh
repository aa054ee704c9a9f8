#!/bin/sh
# install_release.sh HOME RELEASE: make HOME/releases/RELEASE from the wheels in HOME/wheels/RELEASE, offline.
set -eu
home=$1 release=$2
wheels=$home/wheels/$release
target=$home/releases/$release

# The release in use is the one that a rollback from the new one goes back to, whatever was installed between the two.
[ ! -e "$home/current/ready" ] || touch "$home/current/ready"

rm -rf "$target"
python3 -m venv --without-pip "$target"
install() {
  # Debian's Python has no pip of its own; pip runs from its wheel.
  "$target/bin/python" "$(echo "$wheels"/pip-*.whl)/pip" install --quiet --no-index --no-cache-dir "$@"
}
install --find-links "$wheels" --require-hashes --requirement "$wheels/requirements.txt"
if [ -d "$wheels/project" ]; then
  install --no-deps "$wheels"/project/*.whl
fi
rm -rf "$wheels"

# Ready means whole and on disk, whatever happens to the host next.
sync --file-system "$target"
touch "$target/ready"

# The last three stay, and the one in use.
ls -dt "$home"/releases/*/ready | tail -n +4 | while read -r ready; do
  old=$(dirname "$ready")
  [ "$old" = "$(readlink -f "$home/current")" ] || rm -rf "$old"
done
