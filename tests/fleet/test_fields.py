"""What is read of a job's record is what is asked of it."""

import json
import re
from pathlib import Path

import agent.fleet.backend
from agent.cli.fleet import hosts
from agent.fleet.backend.documents import job_of
from agent.fleet.lists import FIELDS
from agent.model.job import to_json
from tests.support.jobs import make_job


def test_whatever_is_read_of_a_job_is_among_the_fields() -> None:
    readers = [*Path(agent.fleet.backend.__path__[0]).glob("*.py"), Path(hosts.__file__)]
    text = "".join(reader.read_text("utf-8") for reader in readers)
    read = set(re.findall(r'\b(?:job|row)(?:\[|\.get\()"(\w+)"', text)) - {"document", "request"}
    assert len(read) > 10
    assert read <= set(FIELDS)


def test_a_job_has_its_attempts_on_all_hosts() -> None:
    """The host that has it now counts its own, and was given those that were left."""
    told = json.loads(to_json(make_job(host="h2", attempt=2, max_attempts=3)))
    row = {"document": json.dumps(told), "revision": "4", "created": "0", "state": "given", "host": "h2"}
    job = job_of({**row, "attempt": "3", "host_attempt": "2", "max_attempts": "5"})
    assert (job.attempt, job.max_attempts) == (4, 5)
    waiting = job_of({**row, "state": "waiting", "attempt": "3", "host_attempt": "1", "max_attempts": "5"})
    assert waiting.attempt == 3
