#!/bin/bash
# As root on the node of the servers: answers the requests in a directory, NAME.request each, with NAME.answer.
#
#     admit.sh DIRECTORY
set -euo pipefail

here=$PWD/tests/fleet/host/inside
shopt -s nullglob
for request in "$1"/*.request; do
    "$here/as-account.sh" ml-fleet admit < "$request" > "${request%.request}.answer"
done
# RabbitMQ learns its new users.
sh /home/ml/.local/state/ml-fleet/servers/rabbitmq-broker/install
