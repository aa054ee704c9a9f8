#!/bin/sh
# examine_node.sh: print what is wrong with the broker's node, and the end of its journal; nothing when all is well.
set -u
unit=rabbitmq-server.service
wrong=$(
  systemctl --quiet is-enabled "$unit" || echo "$unit does not start at boot"
  if systemctl --quiet is-active "$unit"; then
    for check in check_running check_local_alarms; do
      rabbitmq-diagnostics --quiet "$check" 2>&1 | grep -i error
    done
  else
    echo "$unit is not active: $(systemctl show --property=SubState --value "$unit")"
  fi
)
[ -z "$wrong" ] && exit 0
echo "$wrong. The journal ends:"
journalctl --no-pager --output=cat --lines=20 --unit="$unit"
