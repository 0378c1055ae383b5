#!/bin/bash
# As the service account of a node: takes the answer to a host's request, and starts what the node has of a fleet.
#
#     start.sh NODE
set -euo pipefail

config=~/.config/ml-agent/config.toml
state=~/.local/state/ml-fleet
bounds='max_followers_per_user = 1000'  # one user follows hundreds of logs when the overhead is measured

if [ -e ~/join.answer ]; then
    ml-fleet join --answer ~/join.answer > /dev/null
    rm ~/join.answer ~/join.request
    sed -i 's#^fronts = .*#fronts = ["https://front-1:8443", "https://front-2:9443"]#' "$config"
fi
if [ "$1" = servers ] && ! grep -q "^$bounds" "$config"; then
    sed -i "/^\[fleet.front.http\]/a $bounds" "$config"
fi
# The second front has a copy of the first one's state, and so its certificates and its users. Neither program of this
# host may read the other one's state, so the authority that both know is in neither.
if [ "$1" = h1 ] && ! grep -q '^\[fleet.front\]' "$config"; then
    cp "$state/authority/ca.crt" ~/.config/ml-agent/fleet.crt
    sed -i "s#^authority = .*#authority = \"$HOME/.config/ml-agent/fleet.crt\"#" "$config"
    cat >> "$config" <<END

[fleet.record]
url = "rediss://front@record:6379"
password_file = "$state/redis.password"

[fleet.front]
name = "front-2"
certificate = "$state/front.crt"
key = "$state/front.key"

[fleet.front.http]
port = 9443
$bounds
END
fi
ml-fleet install > /dev/null
