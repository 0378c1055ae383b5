#!/bin/bash
# The account's part of servers.sh: the fleet's authority, the first front, and its users.
set -euo pipefail

ml-fleet init --redis record --rabbitmq broker --front front-1 --port 8443 \
    --san front-1 --san front-2 --san localhost --san 10.77.0.4 --san 10.77.0.5 > /dev/null
mkdir -p ~/.config/ml-job
for user in alice bob; do
    [ -e ~/.config/ml-job/$user.crt ] || ml-agent issue "$user" --output ~/.config/ml-job > /dev/null
done
[ -e ~/.config/ml-job/oscar.crt ] || ml-agent issue oscar --operator --output ~/.config/ml-job > /dev/null
printf 'server = "https://localhost:8443"\nidentity = "alice"\n' > ~/.config/ml-job/config.toml
