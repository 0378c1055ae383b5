#!/bin/bash
# As root on the node of the servers: lets another Redis load a copy of the record's files and write them anew, as a
# snapshot (RDB) and as a rewritten file of appends. The record's own Redis gives nobody the right to ask for these.
#
#     snapshot.sh DIRECTORY
set -euo pipefail

copy=$1
rm -rf "$copy"
cp --archive /var/lib/redis "$copy"
redis-server --dir "$copy" --port 0 --unixsocket "$copy/socket" --appendonly yes --daemonize yes > /dev/null
ask() { redis-cli -s "$copy/socket" "$@"; }
until [ "$(ask ping 2> /dev/null)" = PONG ]; do sleep 0.1; done
[ "$(ask dbsize)" -gt 0 ]
ask save > /dev/null
ask bgrewriteaof > /dev/null
until ask info persistence | grep -q '^aof_rewrite_in_progress:0' &&
    ask info persistence | grep -q '^aof_rewrite_scheduled:0'; do sleep 0.1; done
ask shutdown nosave
[ -s "$copy/dump.rdb" ]
