#!/bin/sh
# examine_unit.sh UNIT EXPOSURE: print what is wrong with a unit of ours, a sentence a line; nothing when all is well.
set -u
unit=$1 exposure=$2

systemctl --quiet is-active "$unit" || echo "$unit is not active: $(systemctl show --property=SubState --value "$unit")"
systemctl --quiet is-enabled "$unit" || echo "$unit does not start at boot"
# It exits 0 on a misspelt key: any output is a fault.
systemd-analyze verify "$unit" 2>&1 | grep --fixed-strings "${unit%%[@.]*}"
case $unit in
*.service)
  level=$(systemd-analyze security --no-pager "$unit" | sed -n 's/.*exposure level[^:]*: \([0-9.]*\).*/\1/p')
  awk "BEGIN { exit !(${level:-99} <= $exposure) }" || echo "$unit is exposed: ${level:-unknown}, at most $exposure is allowed"
  ;;
esac
exit 0
