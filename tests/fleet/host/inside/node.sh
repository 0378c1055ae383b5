#!/bin/bash
# As root in a node, in the copied checkout, without any network but the bed's: what the node is for. The agent of this
# checkout is installed, and /etc/ml-fleet has the node's certificates. May be run again.
#
#     node.sh NODE
set -euo pipefail

node=$1 account=ml
here=$PWD/tests/fleet/host/inside
uid=$(id -u "$account")

[ "$node" != servers ] || "$here/servers.sh"
chown -R "$account:" /etc/ml-fleet
exec runuser -u "$account" -- env \
    HOME="/home/$account" XDG_RUNTIME_DIR="/run/user/$uid" DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$uid/bus" \
    bash "$here/account.sh" "$node"
