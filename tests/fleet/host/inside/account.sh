#!/bin/bash
# The account's part of node.sh.
set -euo pipefail

node=$1
config=~/.config/ml-agent/config.toml
[ "$node" = servers ] && exit 0

ml-agent init --scripts "$PWD" --san "$node" --san localhost --port 8443 > /dev/null
grep -q '^refs' "$config" || sed -i '/^\[scripts\]/a refs = ["HEAD", "test/**"]' "$config"
grep -q '^\[fleet\]' "$config" || printf '\n[fleet]\nhost = "%s"\n' "$node" >> "$config"
mkdir -p ~/.config/ml-job
for user in alice bob; do
    [ -e ~/.config/ml-job/$user.crt ] || ml-agent issue "$user" --output ~/.config/ml-job > /dev/null
done
ml-agent install --base localhost/ml-base:latest > /dev/null
