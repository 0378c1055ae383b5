"""What is read of a job's record is what is asked of it."""

import re
from pathlib import Path

import agent.fleet.backend
from agent.cli.fleet import hosts
from agent.fleet.lists import FIELDS


def test_whatever_is_read_of_a_job_is_among_the_fields() -> None:
    readers = [*Path(agent.fleet.backend.__path__[0]).glob("*.py"), Path(hosts.__file__)]
    text = "".join(reader.read_text("utf-8") for reader in readers)
    read = set(re.findall(r'\b(?:job|row)(?:\[|\.get\()"(\w+)"', text)) - {"document", "request"}
    assert len(read) > 10
    assert read <= set(FIELDS)
