"""`ml-agent audit`: its rows, and those that other commands leave."""

import asyncio
import json
import os
import pwd
from pathlib import Path

import pytest

from agent.audit.chain import Caller
from agent.model.certificate import Role
from tests.support.ml_agent import Run, audit_rows, with_store


def test_a_command_is_audited_with_the_account_that_ran_it(ready: Run, home: Path) -> None:
    ready("issue", "oscar", "--operator", "--output", str(home / "ids"))
    first, issued = audit_rows(ready)
    account = pwd.getpwuid(os.getuid()).pw_name
    assert (first["actor"], first["role"], first["source"]) == (account, "account", "this host")
    assert (first["action"], len(first["details"]["made"])) == ("init", 3)
    assert issued["action"] == "issueCertificate"
    assert issued["details"]["role"] == "operator"
    (certificate,) = asyncio.run(with_store(lambda store: store.certificates.all()))
    assert (certificate.role, certificate.serial) == (Role.OPERATOR, issued["subject"])


def test_the_caller_of_sudo_is_named(ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "bob\x1b[31m" + "x" * 100)
    ready("issue", "alice", "--output", str(home / "ids"))
    source = audit_rows(ready)[-1]["source"]
    assert source.startswith("sudo of bob[31mxxx")
    assert len(source) < 80


def test_rows_are_shown_by_user_and_time(ready: Run) -> None:
    caller = Caller(actor="alice", role="analyst", source="192.0.2.7")
    asyncio.run(with_store(lambda store: store.audit.append(caller.did("cancelJob", "x\x1by"))))
    assert [row["actor"] for row in json.loads(ready("audit", "--user", "alice", "--json").out)] == ["alice"]
    assert len(json.loads(ready("audit", "--since", "1h", "--json").out)) == 2
    assert len(json.loads(ready("audit", "--since", "2026-01-31", "--json").out)) == 2
    assert json.loads(ready("audit", "--since", "2100-01-01T00:00:00Z", "--json").out) == []
    assert json.loads(ready("audit", "--since", "2100-01-01", "--json").out) == []
    line = ready("audit", "--user", "alice").out.split("\t")
    assert (line[0], line[2:8]) == ("2", ["alice", "analyst", "192.0.2.7", "cancelJob", "x^[y", "done"])
    assert ready("audit", "--since", "yesterday").status == 2


def test_a_row_names_the_peer_that_asked_on_behalf_of_a_user(ready: Run) -> None:
    caller = Caller(actor="alice", role="analyst", source="192.0.2.7", via="front-1")
    asyncio.run(with_store(lambda store: store.audit.append(caller.did("cancelJob", "x"))))
    (row,) = json.loads(ready("audit", "--user", "alice", "--json").out)
    assert (row["source"], row["via"]) == ("192.0.2.7", "front-1")
    assert ready("audit", "--user", "alice").out.split("\t")[4] == "192.0.2.7 via front-1"
    assert ready("audit", "--verify", "--no-journal").status == 0
    assert all("via" not in row for row in audit_rows(ready)[:1])
