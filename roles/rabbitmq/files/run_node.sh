#!/bin/sh
# run_node.sh start|restart: run the node with the settings that are there, and come back when it serves clients. Before a
# restart, wait until every queue has a majority without this node, and hand over what it leads.
set -eu
umask 022
if [ "$1" = restart ] && rabbitmqctl --quiet await_startup --timeout 60; then
  if ! rabbitmq-upgrade --quiet await_online_quorum_plus_one --timeout 120; then
    echo "A queue would have no majority without this node, so it was not restarted: see rabbitmqctl cluster_status" >&2
    exit 1
  fi
  rabbitmq-upgrade --quiet drain
fi
systemctl daemon-reload
systemctl stop rabbitmq-server.service epmd.service epmd.socket
epmd -kill >/dev/null 2>&1 || true # one that a command has started, before the settings were there
systemctl start epmd.socket
systemctl enable --quiet rabbitmq-server.service epmd.socket
if ! systemctl start rabbitmq-server.service; then
  echo "The broker does not start. Its journal ends:" >&2
  journalctl --no-pager --output=cat --lines=30 --unit=rabbitmq-server.service >&2
  exit 1
fi
