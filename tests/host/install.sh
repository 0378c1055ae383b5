#!/bin/bash
# Inside a test host, as root, in the copied checkout: the README's steps for an administrator, then what the demo
# and the tests need besides: a base image made of Debian packages (there is no registry), identities for alice and
# bob, and the demo's warehouse. May be run again. Without a port, the administrator's steps alone.
#
#     install.sh ACCOUNT [PORT]
set -euo pipefail

account=$1 port=${2-}
checkout=$PWD
step() { printf 'install: %s\n' "$*" >&2; }

step 'the programs, in /opt/ml-agent'
[ -d /opt/ml-agent ] || python3 -m venv /opt/ml-agent
pip() { /opt/ml-agent/bin/pip --quiet --quiet "$@"; }
pip install --no-warn-script-location --require-hashes --requirement requirements.txt
# The same version may have other contents here, which pip takes for installed.
pip install --no-deps --no-build-isolation --force-reinstall "$checkout"
ln -sf /opt/ml-agent/bin/{ml-agent,ml-fleet,ml-job} /usr/local/bin/

step 'the host: journald, delegation, lingering'
ml-agent install --system --account "$account"
# A host that is a container has no cgroup controllers, and jobs run there without limits.
grep -qw memory /sys/fs/cgroup/cgroup.controllers || {
    mkdir -p /etc/ml-agent
    printf '[jobs]\nunenforced_limits = "run"\n' > /etc/ml-agent/config.toml
}
[ "$port" ] || exit 0

uid=$(id -u "$account")
# As after the reboot that an administrator is told to make: the manager is in its account's groups as of its start.
group=$(getent group systemd-journal | cut -d: -f3)
grep -qE "^Groups:.*\\b$group\\b" "/proc/$(systemctl show "user@$uid" -P MainPID)/status" ||
    systemctl restart "user@$uid.service"
exec runuser -u "$account" -- env \
    HOME="/home/$account" XDG_RUNTIME_DIR="/run/user/$uid" DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$uid/bus" \
    bash "$checkout/tests/host/install-account.sh" "$port"
