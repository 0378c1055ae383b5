"""Holds what users of a fleet were told to what its hosts have: records, nonces, exit records, journals."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from tests.faults.audit import TERMINAL, Verdict, examine
from tests.faults.client import Told

from . import layout
from .facts import seen
from .handle import Fleet

FACTS = ("/opt/ml-tests/bin/python", "-m", "tests.fleet.host.facts")

Fact = dict[str, Any]


async def gathered(fleet: Fleet) -> dict[str, dict[str, Fact]]:
    """What every host knows of its jobs."""
    texts = [await asyncio.to_thread(fleet.output, host, *FACTS) for host in layout.HOSTS]
    return {host: json.loads(text) for host, text in zip(layout.HOSTS, texts, strict=True)}


@dataclass
class Findings:
    """Sentences by what they are about."""

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)


def findings(told: list[Told], facts: dict[str, dict[str, Fact]]) -> Findings:
    """Holds what users were told to what hosts have."""
    found = Findings()
    for each in told:
        name = f"{each.user}'s {each.script} {each.job_id or each.key}"
        if each.other_ids:
            found.twice.append(f"{name}: its key led to other jobs, {each.other_ids}")
        if each.ended.get("status") not in TERMINAL:
            found.lost.append(f"{name}: {each.ended.get('status', 'no end was told')}")
        begun = [host for host in facts if began_on(facts[host].get(each.job_id))]
        if len(begun) > 1:
            found.twice.append(f"{name}: began on {', '.join(begun)}")
        if not begun:
            if each.ended:
                found.outcomes.append(f"{name}: {each.ended['status']} and no host has begun it")
            continue
        examined = verdict_on(each, facts[begun[0]][each.job_id])
        found.lost += examined.violations[1]
        found.twice += examined.violations[2]
        found.outcomes += examined.violations[3] + examined.violations[5]
        found.logs += examined.violations[4]
    return found


def began_on(fact: Fact | None) -> bool:
    """Whether a host has started a unit of the job, or has something that its script left."""
    return fact is not None and bool(fact["starts"] or any(each["nonces"] for each in fact["left"]))


def verdict_on(told: Told, fact: Fact) -> Verdict:
    """The auditor's word on one job. A fleet counts revisions of its own, so only the outcome is compared."""
    record, verdict = fact["record"], Verdict()
    if told.ended:
        told = replace(told, ended={**told.ended, "revision": record["revision"]})
    left, journal = seen(fact)
    examine(verdict, told, record, left=left, seen=journal)
    return verdict


def judge(told: list[Told], facts: dict[str, dict[str, Fact]]) -> bool:
    """Prints figures and findings; whether there are no findings."""
    found = findings(told, facts)
    ran = Counter(
        next((host for host in facts if began_on(facts[host].get(each.job_id))), "nowhere") for each in told
    )
    ended = Counter(f"{each.ended.get('status')} {each.ended.get('reason') or ''}".strip() for each in told)
    print("ran on:", ", ".join(f"{host} {count}" for host, count in sorted(ran.items())))
    print("ended:", ", ".join(f"{how} {count}" for how, count in sorted(ended.items())))
    print(
        f"followed: {sum(each.followed for each in told)} logs, {sum(len(each.gaps) for each in told)} gaps"
    )
    for name, sentences in vars(found).items():
        print(f"{name:<10}{len(sentences):>4}")
        for sentence in sentences:
            print(f"  {sentence}")
    return not any(vars(found).values())


async def promises_are_kept(fleet: Fleet, *told: Told) -> None:
    """Raises `AssertionError` with every finding."""
    found = findings(list(told), await gathered(fleet))
    assert not any(vars(found).values()), vars(found)
