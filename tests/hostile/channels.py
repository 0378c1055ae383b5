"""Every place of a request where a client's text can stand."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

ABSENT = "abcdefghijkl"  # an id as jobs have them
Body = dict[str, Any]


@dataclass(frozen=True)
class Member:
    """A place in the body of `POST /jobs`. `field` is what a refusal names, before or with the value.

    `other` is what it names of a value that is right by itself; `{}` stands for the value.
    """

    name: str
    field: str
    body: Callable[[str], Body]
    other: str = ""


def _job(**members: Any) -> Body:
    return {"script_name": "succeed.py"} | members


def _input(name: str, job_id: str, path: str) -> Body:
    return _job(inputs={name: {"job_id": job_id, "path": path}})


def _alias(model: str, alias: str) -> Body:
    return _job(inputs={"i": {"model": model, "alias": alias}})


MEMBERS = (
    Member("script_name", "script_name", lambda text: _job(script_name=text)),
    Member("hyperparameter", "hyperparameters.p", lambda text: _job(hyperparameters={"p": text})),
    Member("hyperparameter's name", "hyperparameters", lambda text: _job(hyperparameters={text: "1"})),
    Member("ref", "ref", lambda text: _job(ref=text)),
    Member("name", "name", lambda text: _job(name=text)),
    Member("label", "labels.l", lambda text: _job(labels={"l": text})),
    Member("label's name", "labels", lambda text: _job(labels={text: "1"})),
    Member("after", "after.0", lambda text: _job(after=[text])),
    Member("input's name", "inputs", lambda text: _input(text, ABSENT, "x"), "inputs.{}.job_id"),
    Member("input's job", "inputs.i.job_id", lambda text: _input("i", text, "x")),
    Member("input's path", "inputs.i.path", lambda text: _input("i", ABSENT, text), "inputs.i.job_id"),
    Member("input's model", "inputs.i.model", lambda text: _alias(text, "champion")),
    Member("input's alias", "inputs.i.alias", lambda text: _alias("churn", text), "inputs.i.model"),
    Member("retry_on", "retry_on", lambda text: _job(retry_on=[text])),
    Member("limit", "limits.cpus", lambda text: _job(limits={"cpus": text})),
    Member("limit's name", "limits", lambda text: _job(limits={text: 1})),
    Member("priority", "priority", lambda text: _job(priority=text)),
    Member("member's name", "", lambda text: {text: "1"} | _job()),
)


@dataclass(frozen=True)
class Place:
    """A place in a request line or a header, as bytes that go out as they are."""

    name: str
    method: str
    target: Callable[[bytes], bytes]
    header: str = ""  # the one that has the value
    body: bytes = b""

    @property
    def field(self) -> str:
        """What a refusal of the value names; empty where that is the value itself, or a path."""
        return self.header or self.name.partition("?")[2]


def _query(path: str, name: str) -> Callable[[bytes], bytes]:
    return lambda data: f"{path}?{name}=".encode() + quote(data, safe="").encode()


def _path(path: str) -> Callable[[bytes], bytes]:
    return lambda data: path.encode() % quote(data, safe="").encode()


def _at(path: str) -> Callable[[bytes], bytes]:
    return lambda _: path.encode()


HELLO = json.dumps(_job()).encode()

# `{job}` stands for the id of a job that has ended and left the artifact `result.txt`.
PLACES = (
    *(
        Place(f"{path}?{name}", "GET", _query(path, name))
        for path, names in {
            "/jobs": ("status", "script", "owner", "cursor", "limit"),
            "/scripts": ("ref",),
            "/jobs/{job}/logs": ("tail", "since", "until", "grep", "follow"),
            "/events": ("ended",),
        }.items()
        for name in names
    ),
    Place("a query's name", "GET", lambda data: b"/jobs?" + quote(data, safe="").encode() + b"=1"),
    Place("a name twice", "GET", lambda data: b"/jobs?" + (quote(data, safe="").encode() + b"=1&") * 2),
    Place("a whole query", "GET", lambda data: b"/jobs?" + data),
    *(
        Place(f"{method} {path}", method, _path(path))
        for method, path in (
            ("GET", "/jobs/%s"),
            ("GET", "/jobs/%s/logs"),
            ("GET", "/jobs/%s/artifacts"),
            ("PUT", "/jobs/%s/pin"),
            ("POST", "/jobs/%s/cancel"),
            ("GET", "/jobs/{job}/artifacts/%s"),
        )
    ),
    Place("a path as it is", "GET", lambda data: b"/" + data),
    Place("an artifact as it is", "GET", lambda data: b"/jobs/{job}/artifacts/" + data),
    Place("Idempotency-Key", "POST", _at("/jobs"), "Idempotency-Key", HELLO),
    Place("Idempotency-Key of a rerun", "POST", _at("/jobs/{job}/rerun"), "Idempotency-Key", b"{}"),
    Place("Content-Type", "POST", _at("/jobs"), "Content-Type", HELLO),
    Place("Accept", "GET", _at("/jobs/{job}/logs"), "Accept"),
    Place("Last-Event-ID of a log", "GET", _at("/jobs/{job}/logs"), "Last-Event-ID"),
    Place("Last-Event-ID of a job", "GET", _at("/jobs/{job}/events"), "Last-Event-ID"),
    Place("Last-Event-ID of all", "GET", _at("/events"), "Last-Event-ID"),
    *(
        Place(name, "GET", _at("/jobs/{job}/artifacts/result.txt"), name)
        for name in ("Range", "If-Range", "If-None-Match")
    ),
    Place("Host", "GET", _at("/jobs"), "Host"),
    Place("User-Agent", "GET", _at("/jobs"), "User-Agent"),
    Place("Cookie", "GET", _at("/jobs"), "Cookie"),
    Place("an unknown header", "GET", _at("/jobs"), "X-Forwarded-For"),
)
