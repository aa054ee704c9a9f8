#!/bin/sh
# outdated_units.sh UNIT…: print the units that were started before their files last changed, and those that do not run.
# Looks at what is, not at what this run changed: a restart that an interrupted run owed is still owed.
set -eu
for unit in "$@"; do
  started=$(systemctl show --property=InactiveExitTimestamp --timestamp=us --value "$unit")
  template=$(echo "$unit" | sed 's/@.*\./@./')
  settings=/etc/frota/${unit%.service}.env
  if ! systemctl --quiet is-active "$unit" ||
    find "/etc/systemd/system/$template" "$settings" -newermt "$started" 2>/dev/null | grep --quiet .; then
    echo "$unit"
  fi
done
