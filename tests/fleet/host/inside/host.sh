#!/bin/bash
# As the service account of a host: its agent, and its request to join the fleet. May be run again.
#
#     host.sh NAME ADDRESS
set -euo pipefail

name=$1 address=$2
config=~/.config/ml-agent/config.toml

tests/fleet/host/inside/repository.sh ~/scripts
mkdir -p "${config%/*}" ~/.config/ml-job
[ -e "$config" ] || cat > "$config" <<END
[scripts]
repository = "$HOME/scripts"
refs = ["HEAD", "test/**"]

[jobs]
max_running = 3

[http]
port = 8443
# One user follows hundreds of logs when the overhead is measured.
max_followers_per_user = 1000
END
ml-agent init --san "$name" --san "$address" --san localhost > /dev/null
for user in alice bob; do
    [ -e ~/.config/ml-job/$user.crt ] || ml-agent issue "$user" --output ~/.config/ml-job > /dev/null
done
ml-agent install --base localhost/ml-base:latest > /dev/null
grep -q '^\[fleet\]' "$config" || ml-fleet join "$name" --url "https://$name:8443" > ~/join.request
