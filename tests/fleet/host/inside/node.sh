#!/bin/bash
# As root in a node, in the copied checkout, without any network but the bed's: installs the agent of this checkout and
# what the node is for. May be run again.
#
#     node.sh NODE
set -euo pipefail

node=$1 account=ml
here=$PWD/tests/fleet/host/inside
uid=$(id -u "$account")

tests/host/install.sh "$account"
case $node in
servers) "$here/servers.sh" ;;
*) ;;
esac
exec runuser -u "$account" -- env \
    HOME="/home/$account" XDG_RUNTIME_DIR="/run/user/$uid" DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$uid/bus" \
    bash "$here/account.sh" "$node"
