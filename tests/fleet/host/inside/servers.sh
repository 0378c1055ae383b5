#!/bin/bash
# As root on the node of the servers: the fleet's front, Redis and RabbitMQ, as docs/fleet.md says. May be run again.
set -euo pipefail

account=ml
state=/home/$account/.local/state/ml-fleet
here=$PWD/tests/fleet/host/inside

"$here/as-account.sh" bash "$here/front.sh"
for server in redis-record rabbitmq-broker; do
    sh "$state/servers/$server/install"
done
"$here/as-account.sh" ml-fleet init > /dev/null
