"""What a waiting job of the fleet waits for, in words: pure functions of the job and the hosts.

Reckoned for the few jobs that somebody looks at. The claims themselves ask nobody for reasons.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ..scheduling.policy import Room, difference
from .entries import HostRow

SILENT = 15.0  # seconds without a word after which a host is unreachable


@dataclass(frozen=True, kw_only=True)
class Queued:
    """A waiting job, and its position among all, from 1. `running` is how many of its owner's jobs run.

    `lacking` has, by host, a secret that it lacks. `refused` are the hosts that do not get it any more.
    """

    id: str
    position: int
    owner: str
    need: str
    room: Room
    digest: str
    lacking: Mapping[str, str]
    refused: Sequence[str]
    running: int


@dataclass(frozen=True, kw_only=True)
class Site:
    """The hosts, what the fleet's jobs take of each, by name, and the time by the clock of Redis."""

    hosts: Sequence[HostRow]
    taken: Mapping[str, Room]
    now: float
    max_running: int | None = None

    def free(self, host: HostRow) -> Room:
        """What a host has left."""
        return host.capacity - host.report.others - self.taken.get(host.name, Room(0, 0, 0))


def waits_for(job: Queued, site: Site) -> str:
    """A text that completes "it waits for": the first of the things that keep every host from the job."""
    hosts = [host for host in site.hosts if host.belongs]
    if not hosts:
        return "a host: the fleet has none"
    for suits, words in _requirements(job, site):
        left = [host for host in hosts if suits(host)]
        if not left:
            return words(hosts)
        hosts = left
    if site.max_running is not None and job.running >= site.max_running:
        return f"one of {job.owner}'s jobs to end: a user may run {site.max_running} at a time"
    if not any(site.free(host).holds(job.room) for host in hosts):
        roomiest = max(hosts, key=lambda host: (site.free(host).millicpus, site.free(host).memory_bytes))
        lacks = difference(job.room, site.free(roomiest))
        return f"room: no host that can run it has it free now; {roomiest.name} lacks {lacks}"
    if job.position > 1:
        others = job.position - 1
        return f"its turn, after {others} other job{'s' if others > 1 else ''}"
    return "a host, which is about to claim it"


def _requirements(
    job: Queued, site: Site
) -> list[tuple[Callable[[HostRow], bool], Callable[[list[HostRow]], str]]]:
    """What a host must have, in the order in which it is told, and the words for the hosts that lack it."""
    return [
        (lambda host: host.capacity.holds(job.room), lambda hosts: _too_large(job, hosts)),
        (
            lambda host: job.need in host.report.networks,
            lambda _: f"a host with the network {job.need}: none has it",
        ),
        (
            lambda host: job.digest in ("", host.report.image_digest),
            lambda _: f"a host with the image {job.digest[:19]}: none has it",
        ),
        (
            lambda host: host.name not in job.lacking,
            lambda hosts: (
                f"a host with the newest value of the secret {job.lacking[hosts[0].name]}: none has it"
            ),
        ),
        (
            lambda host: host.name not in job.refused,
            lambda hosts: f"another host: {_names(hosts)} refused it or lost it",
        ),
        (lambda host: site.now - host.seen <= SILENT, _unreachable),
        (lambda host: not host.draining, lambda hosts: f"a host that is not drained, as {_names(hosts)} now"),
    ]


def _too_large(job: Queued, hosts: list[HostRow]) -> str:
    largest = max(hosts, key=lambda host: (host.capacity.millicpus, host.capacity.memory_bytes))
    wanted = difference(job.room, largest.capacity)
    return (
        f"{wanted}, which is more than {largest.name}, the largest host, gives to jobs; it never starts"
        " unless that changes"
    )


def _unreachable(hosts: list[HostRow]) -> str:
    latest = max(host.seen for host in hosts)
    since = datetime.fromtimestamp(latest, UTC)
    return f"{_names(hosts)}, unreachable since {since:%Y-%m-%dT%H:%M:%SZ}"


def _names(hosts: list[HostRow]) -> str:
    names = [host.name for host in hosts[:3]]
    if len(hosts) > len(names):
        names.append(f"{len(hosts) - len(names)} others")
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
