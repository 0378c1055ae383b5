#!/bin/bash
# The service account's part of install.sh.
#
#     install-account.sh PORT
set -euo pipefail

port=$1
identities=~/.config/ml-job
# Hosts share the machine's network, so each has ports of its own.
export WAREHOUSE_PORT=$((8085 + port - 8443))
step() { printf 'install: %s\n' "$*" >&2; }

step 'configuration and certificates'
ml-agent init --scripts "$PWD" --san localhost --port "$port"
# Tests run commits of their own, from branches below test/.
grep -q '^refs' ~/.config/ml-agent/config.toml ||
    sed -i '/^\[scripts\]/a refs = ["HEAD", "test/**"]' ~/.config/ml-agent/config.toml
mkdir -p "$identities"
for user in alice bob; do
    [ -e "$identities/$user.crt" ] || ml-agent issue "$user" --output "$identities"
done
printf 'server = "https://localhost:%s"\nidentity = "alice"\n' "$port" > "$identities/config.toml"

grep -q '^\[networks\]' ~/.config/ml-agent/config.toml || tests/demo/networks >> ~/.config/ml-agent/config.toml

step 'units and images'
base=localhost/ml-base:latest
ml-agent install --base "$base"
tests/demo/warehouse quadlets "$base"
tests/demo/images "$base"
tests/demo/warehouse up

step 'the first request, which starts the agent'
ml-job scripts > /dev/null
