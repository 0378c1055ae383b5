#!/bin/bash
# The account's part of node.sh.
set -euo pipefail

node=$1
files=/etc/ml-fleet
config=~/.config/ml-agent/config.toml
here=tests/fleet/host/inside

[ "$node" != servers ] || exit 0
"$here/repository.sh" ~/scripts
mkdir -p "${config%/*}" ~/.config/ml-job ~/.local/state/ml-agent/pki/fleet
cat > "$config" <<END
[scripts]
repository = "$HOME/scripts"
refs = ["HEAD", "test/**"]

[jobs]
max_running = 3

[http]
port = 8443
# One user follows hundreds of logs when the overhead is measured.
max_followers_per_user = 1000

[fleet]
host = "$node"
END
for kind in crt key; do
    install -m 0600 "$files/host.$kind" ~/.local/state/ml-agent/pki/fleet/server.$kind
done
install -m 0644 "$files/ca.crt" ~/.local/state/ml-agent/pki/fleet/ca.crt
ml-agent init --san "$node" --san localhost > /dev/null
for user in alice bob; do
    [ -e ~/.config/ml-job/$user.crt ] || ml-agent issue "$user" --output ~/.config/ml-job > /dev/null
done
ml-agent install --base localhost/ml-base:latest > /dev/null
# An agent that runs already has read the earlier configuration.
systemctl --user try-restart ml-agent.service
