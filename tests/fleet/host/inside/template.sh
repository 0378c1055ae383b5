#!/bin/bash
# As root in the template, in the copied checkout, with the machine's network: everything that a node needs and that
# is the same on each. The agent that this installs is replaced in each bed.
set -euo pipefail

account=ml
step() { printf 'template: %s\n' "$*" >&2; }

tests/host/install.sh "$account"

step 'the programs of a fleet, and pytest'
/opt/ml-agent/bin/pip --quiet --quiet install --require-hashes --requirement requirements-fleet.txt
python3 -m venv /opt/ml-tests
wanted='^(pytest|pytest-aiohttp|pytest-asyncio|pytest-timeout|iniconfig|pluggy|packaging|pygments)=='
awk -v wanted="$wanted" '/^[a-z]/ { on = $0 ~ wanted } on' requirements-dev.txt |
    /opt/ml-tests/bin/pip --quiet --quiet install --require-hashes --no-deps --requirement /dev/stdin
packages=$(/opt/ml-agent/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$packages" > "$(/opt/ml-tests/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/agent.pth"

step 'Redis and RabbitMQ'
# Masked, because only the node of the servers runs them.
systemctl mask --quiet redis-server.service rabbitmq-server.service epmd.service epmd.socket
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends redis-server rabbitmq-server > /dev/null

uid=$(id -u "$account")
exec runuser -u "$account" -- env \
    HOME="/home/$account" XDG_RUNTIME_DIR="/run/user/$uid" DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$uid/bus" \
    bash tests/fleet/host/inside/template-account.sh
