"""The files of Redis and RabbitMQ that hold the rules of a fleet: those in `units/fleet`, and definitions."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...config import shipped
from ..installation import render
from .files import Plan

BROKER = ("rabbitmq.conf", "rabbitmq-env.conf", "enabled_plugins", "epmd.conf")


def redis_files(*, memory: str, front: str, replica: str, primary: str | None) -> dict[str, bytes]:
    """The files of one Redis by name. It is a replica if it has a `primary`.

    `front` and `replica` are the passwords of its two users.
    """
    values = {
        "MEMORY": memory,
        "REPLICA": replica,
        "FRONT_DIGEST": hashlib.sha256(front.encode()).hexdigest(),
        "REPLICA_DIGEST": hashlib.sha256(replica.encode()).hexdigest(),
        "PRIMARY": primary or "",
    }
    files = {name: _rendered(name, values) for name in ("redis.conf", "users.acl")}
    if primary is not None:
        files["redis.conf"] += b"\n" + _rendered("redis-replica.conf", values)
    return files | {"install": _rendered("install-redis", values)}


def rabbitmq_files(plan: Plan, front: str, queues: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """The files of RabbitMQ by name. `queues` are the arguments of each queue."""
    files = {name: _rendered(name, {}) for name in BROKER}
    return files | {
        "definitions.json": json.dumps(definitions(plan.hosts, front, queues), indent=2).encode() + b"\n",
        "install": _rendered("install-rabbitmq", {}),
    }


def _rendered(name: str, values: Mapping[str, str]) -> bytes:
    return render(shipped("units") / "fleet" / name, values)


def definitions(
    hosts: Sequence[str], front: str, queues: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Users without a password, each for one certificate; what they may do; and the queues.

    A member takes tickets, and that is all. A front publishes them, and declares queues that are missing.
    """
    rights = {f"front-{front}": (r"^fleet\..*$", r"^(fleet\..*|amq\.default)$", r"^fleet\..*$")}
    rights |= {f"member-{host}": ("^$", "^$", r"^fleet\..*$") for host in hosts}
    hashing = "rabbit_password_hashing_sha256"
    return {
        "vhosts": [{"name": "/"}],
        "users": [
            {"name": name, "password_hash": "", "hashing_algorithm": hashing, "tags": []} for name in rights
        ],
        "permissions": [
            {"user": user, "vhost": "/", "configure": configure, "write": write, "read": read}
            for user, (configure, write, read) in rights.items()
        ],
        "queues": [
            {"name": name, "vhost": "/", "durable": True, "auto_delete": False, "arguments": dict(arguments)}
            for name, arguments in queues.items()
        ],
    }
