#!/bin/bash
# Runs a command as the service account, with its login's environment.
set -euo pipefail

account=ml
uid=$(id -u "$account")
exec runuser -u "$account" -- env HOME="/home/$account" PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 \
    XDG_RUNTIME_DIR="/run/user/$uid" DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$uid/bus" "$@"
