#!/bin/bash
# Makes the repository of scripts: the project's and the bed's. Its commit is the same on every host, as that of a
# repository would be that all hosts fetch from.
#
#     repository.sh DIRECTORY
set -euo pipefail

target=$1
rm -rf "$target"
mkdir -p "$target/scripts"
cp scripts/*.py "$target/scripts/"
cp tests/fleet/host/inside/scripts/*.py "$target/scripts/"  # one takes the place of one of the project's
cd "$target"
git init --quiet --initial-branch main
git add .
export GIT_{AUTHOR,COMMITTER}_NAME=bed GIT_{AUTHOR,COMMITTER}_EMAIL=bed@example.org
export GIT_{AUTHOR,COMMITTER}_DATE='2026-01-01T00:00:00Z'
git commit --quiet --message 'Scripts'
