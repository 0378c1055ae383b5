"""The worst requests: for every path, query, header and body of the OpenAPI document, at its maximum size.

A call that is added to the document is attacked here without another word. What is sent besides the one worst
value is as it should be, so that the request gets as far as it can.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

LINE = 8190  # bytes of the request line, and of a header with its name (docs/limits.md)
BODY = 256 * 1024 - 64  # bytes
DEPTH = 3  # of members whose values are attacked
CHARACTERS = "\"\\,;=()/*?+-&%#@<>[]{}|~^`'!$_ \t.:09azAZ\x01\x7fäé€😀"
TOKENS = (
    '"\\',
    ",,;q=",
    ";q=",
    '";',
    "a/b,",
    "%25",
    "{9}",
    "((",
    "\\w",
    "\\pL",
    "(?i)k",
    "[^a]",
    "a|",
    "..",
    "../",
)
RUNS = (*CHARACTERS, *TOKENS)
# Headers that HTTP, aiohttp or a proxy knows, and the contract does not name.
OTHER_HEADERS = (
    *("Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Connection", "Content-Encoding"),
    *(
        "Content-Type",
        "Cookie",
        "Expect",
        "Forwarded",
        "Host",
        "If-Modified-Since",
        "On-Behalf-Of",
        "Origin",
        "Prefer",
    ),
    *(
        "Origin",
        "Prefer",
        "Range",
        "Sec-Fetch-Site",
        "TE",
        "Trailer",
        "Upgrade",
        "User-Agent",
        "Via",
        "X-Unknown",
    ),
)
JSON = {"Content-Type": "application/json"}
# What is asked for besides the one value: a job that has ended, what it left, a secret, a script.
KNOWN_BODIES: dict[str, dict[str, Any]] = {
    "submitJob": {"script_name": "hold.py"},
    "submitSweep": {
        "script_name": "hold.py",
        "space": {"depth": {"values": ["1"]}},
        "strategy": "grid",
        "objective": {"metric": "loss", "direction": "minimize"},
    },
    "extendSweep": {"trials": 1},
    "createSchedule": {"name": "n", "calendar": "yearly", "job": {"script_name": "hold.py"}},
    "previewSchedule": {"name": "n", "calendar": "yearly", "job": {"script_name": "hold.py"}},
    "setAlias": {"job_id": "{job_id}", "path": "{path}"},
}
# What must be there for the next call stays.
KNOWN_HEADERS = {"removeAlias": {"If-Match": '"aaaaaaaaaaaa"'}}


@dataclass(frozen=True)
class Case:
    """A request. `kind` is the part of it that is the worst, `name` which one and of what.

    `in_pieces`: the agent has only a piece of the answer in memory, and others have their turn between two.
    """

    kind: str
    name: str
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    in_pieces: bool = False

    @property
    def size(self) -> int:
        """Bytes that a client must send."""
        headers = sum(
            len(name) + len(value.encode("utf-8", "replace")) + 4 for name, value in self.headers.items()
        )
        return len(self.path) + headers + len(self.body)


def cases(document: dict[str, Any], known: dict[str, str]) -> Iterator[Case]:
    """Every case. `known` are the values of the path's parameters that lead somewhere."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            call = _call(method.upper(), path, operation, known)
            for parameter in operation["parameters"]:
                yield from _of_parameter(call, path, parameter, known)
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                schema = _resolved(content["schema"], document)
                usual = KNOWN_BODIES.get(operation["operationId"], {})
                is_json = media_type in JSON.values()
                attacks = _json_bodies(schema, document, usual) if is_json else _byte_bodies()
                for name, body in attacks:
                    headers = call.headers | {"Content-Type": media_type}
                    yield replace(call, kind="body", name=name, headers=headers, body=body[:BODY])
    yield from _other_headers(known)


def _call(method: str, path: str, operation: dict[str, Any], known: dict[str, str]) -> Case:
    """The call as it should be."""
    if method == "GET":
        return Case("", "", method, path.format(**known))
    name = operation["operationId"]
    values = KNOWN_BODIES.get(name, {}).items()
    body = {key: value.format(**known) if isinstance(value, str) else value for key, value in values}
    headers = JSON | KNOWN_HEADERS.get(name, {})
    return Case("", "", method, path.format(**known), headers, json.dumps(body).encode())


def _of_parameter(call: Case, path: str, parameter: dict[str, Any], known: dict[str, str]) -> Iterator[Case]:
    """The parameter with runs of each character, as long as a line can be, and as its schema allows."""
    name, place = parameter["name"], parameter["in"]
    longest = parameter["schema"].get("maxLength")
    for run in RUNS:
        for length in (LINE, longest) if longest else (LINE,):
            title = f"{name}: {run!r} …" if length == LINE else f"{name}: {run!r} … ({length})"
            if place == "header":
                yield _with_header(replace(call, name=title), name, (run * length)[:length])
            elif place == "query":
                target = f"{call.path}?{name}="
                yield replace(call, kind="query", name=title, path=target + _quoted(run, length, target))
            else:
                target = path.format(**{**known, name: ""})
                value = _quoted(run, length, target)
                yield replace(call, kind="path", name=title, path=path.format(**{**known, name: value}))


def _with_header(call: Case, name: str, text: str) -> Case:
    """Without what a header cannot hold; the whole line is within its bound."""
    room = LINE - len(name) - len(": ")
    value = text.encode()[:room].decode("utf-8", "ignore").replace("\x01", "\x0b").strip()
    return replace(call, kind="header", name=call.name, headers=call.headers | {name: value})


def _quoted(run: str, length: int, target: str) -> str:
    """The run, percent-encoded, so often that it has `length` characters, or that the line is full."""
    escaped = "".join(f"%{byte:02X}" for byte in run.encode())
    room = LINE - len(target) - len("DELETE  HTTP/1.1")
    return escaped * min(-(-length // len(run)), room // len(escaped))


def _other_headers(known: dict[str, str]) -> Iterator[Case]:
    get = Case("header", "", "GET", f"/jobs/{known['job_id']}")
    post = Case("header", "", "POST", "/jobs", JSON, b'{"script_name": "hold.py"}')
    for name in OTHER_HEADERS:
        for run in RUNS:
            call = post if name == "Content-Type" else get
            value = f"a/b{run * LINE}" if name == "Content-Type" else run * LINE
            yield _with_header(replace(call, name=f"{name}: {run!r} …"), name, value)
            if name == "Accept":
                logs = replace(get, path=f"{get.path}/logs", name=f"{name}: {run!r} …")
                yield _with_header(logs, name, value)
    yield replace(get, name="60 headers", headers={f"X-{n}": "x" * 8000 for n in range(60)})
    yield replace(
        get, kind="query", name="1,300 names", path="/jobs?" + "&".join(f"a{n}=" for n in range(1300))
    )
    yield replace(get, kind="query", name="the same name", path="/jobs?" + "a=&" * 2700)
    for value in ("a" * 12, "", "%FF"):
        many = "&".join([f"job={value}"] * (8000 // len(f"job={value}&")))
        yield replace(get, kind="query", name=f"many jobs {value!r}", path=f"/comparison?{many}")
    yield replace(get, kind="path", name="slashes", path="/" * 8000)
    yield replace(get, kind="path", name="a path of dots", path=f"{get.path}/artifacts/" + "../" * 2600)


def _byte_bodies() -> Iterator[tuple[str, bytes]]:
    for run in RUNS:
        yield f"bytes: {run!r} …", run.encode() * (BODY // len(run.encode()))
        yield f"lines: {run!r} …", (run.encode() + b"\n") * (BODY // (len(run.encode()) + 1))
    yield "dotted keys", ("a." * 31 + "a = 1\n").encode() * (BODY // 70)
    yield "tables", b"".join(b"[t%d]\na = 1\n" % number for number in range(BODY // 14))
    yield "open tables", b"a = {a=" * (BODY // 7)


def _json_bodies(
    schema: dict[str, Any], document: dict[str, Any], usual: dict[str, Any]
) -> Iterator[tuple[str, bytes]]:
    """Bodies that are JSON, or nearly, and then each member's worst values."""
    yield "open objects", b'{"a":' * (BODY // 5)
    yield "open lists", b"[" * BODY
    yield "white space", b" " * BODY
    yield "the same name", _text("{" + ",".join(['"a": 1'] * 30_000) + "}")
    yield "unknown names", _text(_members(15_000, "u{}", "1"))
    yield "many unknown names", _text(_members(190, "u{}", '"' + "x" * 1200 + '"'))
    yield "surrogates", _text('{"a": "' + "\\ud800" * (BODY // 7) + '"}')
    for run in RUNS:
        yield f"a name of {run!r} …", _text(json.dumps({run * (BODY // len(json.dumps(run)) - 4): 1}))
    required = {name: usual.get(name, "hold.py") for name in schema.get("required", [])}
    for place, member in _places(schema, document):
        for name, value in _values(member):
            yield f"{'.'.join(place)}: {name}", _text(_nested(required, place, value))


def _values(member: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """JSON that is the worst of a member: of the type in its schema and too much, or of another type."""
    yield "nested lists", "[" * 100_000 + "]" * 100_000
    yield "nested objects", '{"a":' * 40_000 + "1" + "}" * 40_000
    yield "a long list", "[" + ",".join(['"x"'] * 60_000) + "]"
    yield "a list of lists", "[" + ",".join(["[]"] * 190) + "]"
    yield "a long number", "9" * (BODY - 200)
    yield "a number of 4,300 digits", "9" * 4300
    yield "a long fraction", "0." + "9" * (BODY - 200)
    yield "a large exponent", "1e" + "9" * 4000
    yield "many members", _members(15_000, "p{}", "1")
    yield "members of the wrong type", _members(190, "p{}", "1")
    yield "members with wrong names", _members(190, "{}!", '"0"')
    yield "members with long values", _members(190, "p{}", '"' + "x" * 1200 + '"')
    yield "members with control characters", _members(190, "p{}", '"\\u0001"')
    for run in RUNS if member.get("type") == "string" else ():
        text = json.dumps(run)[1:-1]
        yield f"{run!r} …", '"' + text * ((BODY - 200) // len(text.encode())) + '"'
        longest = member.get("maxLength", 0)
        if longest:
            yield f"{run!r} … ({longest})", '"' + text * (longest // len(run)) + '"'


def _places(
    schema: dict[str, Any], document: dict[str, Any], depth: int = DEPTH
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Each member of an object, and of the objects in it, with its schema."""
    for name, member in schema.get("properties", {}).items() if depth else ():
        found = _resolved(member, document)
        yield (name,), found
        for place, inner in _places(found, document, depth - 1):
            yield (name, *place), inner
        if isinstance(values := found.get("additionalProperties"), dict):
            yield (name, "p"), _resolved(values, document)
        if "items" in found:
            yield (name, "0"), _resolved(found["items"], document)


def _nested(required: dict[str, Any], place: tuple[str, ...], value: str) -> str:
    """An object with the required members and this one."""
    for name in reversed(place[1:]):
        value = f"[{value}]" if name == "0" else f"{{{json.dumps(name)}: {value}}}"
    kept = "".join(
        f"{json.dumps(name)}: {json.dumps(text)}, " for name, text in required.items() if name != place[0]
    )
    return f"{{{kept}{json.dumps(place[0])}: {value}}}"


def _members(count: int, name: str, value: str) -> str:
    return "{" + ",".join(f'"{name.format(number)}": {value}' for number in range(count)) + "}"


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"][name] if name else schema
    return found
