#!/bin/bash
# As root on the node of the servers: Redis and RabbitMQ as Debian services, as docs/fleet.md says, each with its own
# address and the certificates in /etc/ml-fleet.
set -euo pipefail

files=/etc/ml-fleet
password=$(cat "$files/record.password")

install -d /etc/redis /etc/rabbitmq
for server in record:redis broker:rabbitmq; do
    for kind in crt key; do
        install -m 0640 -g "${server#*:}" "$files/${server%:*}.$kind" "/etc/${server#*:}/server.$kind"
    done
    install -m 0644 "$files/ca.crt" "/etc/${server#*:}/ca.crt"
done

cat > /etc/redis/redis.conf <<END
bind 10.77.0.2
port 0
tls-port 6379
tls-cert-file /etc/redis/server.crt
tls-key-file /etc/redis/server.key
tls-ca-cert-file /etc/redis/ca.crt
tls-auth-clients yes
tls-protocols "TLSv1.3"
unixsocket /run/redis/redis.sock
unixsocketperm 700
dir /var/lib/redis
logfile /var/log/redis/redis-server.log
appendonly yes
appendfsync always
maxmemory-policy noeviction
# For whoever looks after it, on the socket; over the network, a certificate and a password.
user default on nopass ~* &* +@all
user front on >$password ~fleet:* &fleet:* +@all -@admin -@dangerous +function +info +wait
END
chmod 0640 /etc/redis/redis.conf
chgrp redis /etc/redis/redis.conf

cat > /etc/rabbitmq/rabbitmq.conf <<'END'
listeners.tcp = none
listeners.ssl.1 = 10.77.0.3:5671
ssl_options.cacertfile = /etc/rabbitmq/ca.crt
ssl_options.certfile = /etc/rabbitmq/server.crt
ssl_options.keyfile = /etc/rabbitmq/server.key
ssl_options.versions.1 = tlsv1.3
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
auth_mechanisms.1 = EXTERNAL
ssl_cert_login_from = common_name
# Without a name of its own, the node resolves the host's at each connection.
cluster_name = fleet
load_definitions = /etc/rabbitmq/definitions.json
END
# Each program is the user that its certificate names, and has no password; there is no guest.
python3 - "$files/broker.users" > /etc/rabbitmq/definitions.json <<'END'
import json, sys

users = open(sys.argv[1]).read().split()
empty = {"password_hash": "", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": []}
may = {"vhost": "/", "configure": "^fleet\\.", "write": "^(amq\\.default|fleet\\..*)$", "read": "^fleet\\."}
print(json.dumps({
    "vhosts": [{"name": "/"}],
    "users": [{"name": user, **empty} for user in users],
    "permissions": [{"user": user, **may} for user in users],
}))
END
echo '[rabbitmq_auth_mechanism_ssl].' > /etc/rabbitmq/enabled_plugins
# No node of a cluster: Erlang's own ports are the loopback's. And no scheduler spins while it waits for work.
cat > /etc/rabbitmq/rabbitmq-env.conf <<'END'
NODENAME=rabbit@localhost
SERVER_ADDITIONAL_ERL_ARGS="+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
END
# epmd listens on every address unless it is told otherwise.
install -d /etc/systemd/system/epmd.socket.d
printf '[Socket]\nListenStream=\nListenStream=127.0.0.1:4369\n' > /etc/systemd/system/epmd.socket.d/50-loopback.conf

systemctl unmask --quiet redis-server.service rabbitmq-server.service epmd.service epmd.socket
systemctl daemon-reload
systemctl enable --quiet redis-server.service rabbitmq-server.service
systemctl restart epmd.socket redis-server.service rabbitmq-server.service
