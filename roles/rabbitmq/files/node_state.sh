#!/bin/sh
# node_state.sh NAME: print what the node is: bare (not installed), blank (has stored nothing yet), stopped, running, or
# outdated (was started before its settings last changed). Looks at what is, so that a restart that an interrupted run
# owed is still owed.
set -eu
unit=rabbitmq-server.service
if [ ! -e "/usr/lib/systemd/system/$unit" ]; then
  echo bare
elif [ ! -e "/var/lib/rabbitmq/mnesia/rabbit@$1" ]; then
  echo blank
elif ! systemctl --quiet is-active "$unit"; then
  echo stopped
else
  started=$(systemctl show --property=InactiveExitTimestamp --timestamp=us --value "$unit")
  # A clock may have been ahead: what was started then is outdated, once; a file that was written then says nothing.
  soon=$(($(date +%s) + 60))
  newer=$([ "$(date --date="$started" +%s)" -le "$soon" ] || echo "started at $started"
    find /etc/rabbitmq "/etc/systemd/system/$unit.d" /etc/systemd/system/epmd.socket.d \
    /etc/frota/credentials/rabbitmq.key -type f ! -name definitions.json -newermt "$started" ! -newermt "@$soon")
  [ -n "$newer" ] && echo outdated || echo running
  echo "$newer"
fi
