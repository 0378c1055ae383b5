#!/bin/bash
# The account's part of template.sh: the image of jobs, and its copy for the jobs' user namespace.
set -euo pipefail

base=localhost/ml-base:latest
image=localhost/ml-runner:latest
printf 'template: a base image made of Debian packages, and the image of jobs\n' >&2
images/base/build | podman import --quiet --change CMD=/usr/bin/python3 - "$base" > /dev/null
podman build --quiet --network none --tag "$image" --file tests/fleet/host/inside/image/Containerfile images/ml-runner \
    > /dev/null
podman run --rm --network none --userns keep-id:uid=1000,gid=1000 --entrypoint /usr/bin/python3 "$image" -c ''
podman image prune --force > /dev/null
