"""Bytes that are no request."""

import logging

import pytest

from tests.support.api_client import Client
from tests.support.served import Served

from .refusals import check_headers, check_refusal
from .wire import Wire


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", b"/jobs", {"X": b"a\0b"}),
        ("GET", b"/jobs", {"X": b"a\x1bb"}),
        ("GET", b"/jobs", {"X\x7f": b"a"}),
        ("GET", b"/jobs", {"X": b"x" * 9000}),
        ("GET", b"/" + b"x" * 9000, {}),
        ("GET", b"/jobs b", {}),
        ("<script>", b"/jobs", {}),
        ("G\x1b[2J", b"/jobs", {}),
        ("POST", b"/jobs", {"Content-Length": b"-1"}),
        ("POST", b"/jobs", {"Transfer-Encoding": b"identity, nonsense"}),
        ("POST", b"/jobs", {"Transfer-Encoding": b"chunked", "Content-Length": b"5"}),
    ],
)
async def test_what_is_no_request_is_a_problem_of_a_few_words_and_no_news(
    served: Served,
    alice: Client,
    wire: Wire,
    caplog: pytest.LogCaptureFixture,
    method: str,
    target: bytes,
    headers: dict[str, bytes],
) -> None:
    answer = await wire.ask(method, target, headers)
    assert answer.status == 400
    check_headers(answer.headers)
    check_refusal(served.document, answer.status, answer.header("Content-Type"), answer.body)
    assert answer.json["type"].endswith(":malformed-request")
    assert (answer.header("Server"), answer.header("Connection")) == ("ml-agent", "close")
    assert answer.body.isascii()
    assert b"script" not in answer.body
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []
    assert (await alice.get("/jobs")).status == 200


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Transfer-Encoding": b"chunked"}, b"zz\r\n{}\r\n0\r\n\r\n"),
        ({"Content-Encoding": b"gzip"}, b"\x1f\x8b"),
    ],
)
async def test_a_body_that_is_none_is_refused(
    served: Served, alice: Client, wire: Wire, headers: dict[str, bytes], body: bytes
) -> None:
    answer = await wire.ask("POST", b"/jobs", headers, body)
    assert answer.status == 400
    check_headers(answer.headers)
    await served.nothing_is_left()
