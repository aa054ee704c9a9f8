#!/bin/sh
# outdated_units.sh HOME UNIT…: print the units that were started before their files or the current release last changed,
# and those that do not run. Looks at what is, not at what this run changed: a restart that an interrupted run owed is
# still owed.
set -eu
current=$1/current
shift
soon=$(($(date +%s) + 60))
# A clock may have been ahead: what was started then is started anew, once; a file that was written then says nothing.
ahead() { [ "$(date --date="$1" +%s)" -gt "$soon" ]; }
for unit in "$@"; do
  started=$(systemctl show --property=InactiveExitTimestamp --timestamp=us --value "$unit")
  file=/etc/systemd/system/$(echo "$unit" | sed 's/@.*\./@./')
  settings=/etc/frota/${unit%.service}.env
  [ "${unit%.socket}" = "$unit" ] || current= settings=
  if ! systemctl --quiet is-active "$unit" || ahead "$started" ||
    find "$file" $settings $current -newermt "$started" ! -newermt "@$soon" 2>/dev/null | grep --quiet .; then
    echo "$unit"
  fi
done
