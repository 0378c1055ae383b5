"""Cases of logs: lines of two streams, bytes through a pipe, gaps."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial

from .look import Look, same
from .place import Place, run, wait_for


def bar_on_stderr(place: Place) -> Iterator[Look]:
    """A bar without a line feed on stderr swallows nothing of stdout."""
    job_id = place.submit("bar.py")
    place.wait(job_id)
    _, metrics = place.alice.call(f"/jobs/{job_id}/metrics")
    points = [point["value"] for series in metrics["series"] for point in series["points"]]
    yield same("the points of loss", points, [1.0, 0.7, 0.4])
    yield same("marks that are refused", metrics.get("refused", 0), 0)
    lines = place.log(job_id).decode().split("\n")
    printed = [line for line in lines if re.fullmatch(r"epoch \d done", line)]
    yield same("lines of stdout", printed, [f"epoch {step} done" for step in range(3)])
    bars = [part for line in lines for part in line.split("\r") if "fitting" in part]
    yield same("states of the bar", bars, [f"fitting {step * 33}%|###   |" for step in range(3)])


# What journald keeps of it: no empty lines, no white space behind text; a NUL ends a line.
KEPT = b"".join(
    [
        "größe ✓ 😀\n".encode(),
        b"latin \xe9 and \xff\xfe\n",
        b"tab\there\n",
        b"\x1b[31mred\x1b[0m\n",
        b"\x1b[2J\x1b]0;title\x07clear\n",
        b"\r  0%|##  |\r 20%|##  |\r 40%|##  |\r 60%|##  |\r 80%|##  |\n",
        b"win line\n  indented\ntrailing\nnul\ninside\n<3>prio\n",
        b"x" * 100_000 + b"\n",
        "\u2028sep\u2029 \u202eright\n".encode(),
        b"data: sse\nevent: end\n: comment\nsurrogate \xed\xa0\x80\nhalf \xf0\x9f\x98\x80 char\n",
        b"no newline at the end\n",
    ]
)


def bytes_through_a_pipe(place: Place) -> Iterator[Look]:
    """What goes into a pipe is what the job wrote; a tail counts the same lines in either form."""
    job_id = place.submit("raw_bytes.py")
    live = place.ml_job("logs", "--follow", job_id).stdout
    yield _same_bytes("followed while it runs", live)
    yield _same_bytes("read", place.log(job_id))
    yield _same_bytes("followed after its end", place.ml_job("logs", "--follow", job_id).stdout)
    job_id = place.submit("both_streams.py")
    place.wait(job_id)
    whole = place.log(job_id).splitlines()
    yield same("lines of two streams", len(whole), 600)
    for stream in (b"out", b"err"):
        own = [line for line in whole if line.startswith(stream)]
        yield same(
            f"lines of {stream.decode()} in their order",
            own == [b"%b %d" % (stream, n) for n in range(300)],
            True,
        )
    for count in (0, 1, 7, 601):
        right = whole[len(whole) - min(count, len(whole)) :]
        for options in ((), ("--follow",)):
            shown = place.ml_job("logs", *options, "--tail", str(count), job_id).stdout.splitlines()
            yield same(f"--tail {count} {' '.join(options)}".strip(), _ends(shown), _ends(right))


def _same_bytes(what: str, seen: bytes) -> Look:
    at = next(
        (at for at, (a, b) in enumerate(zip(seen, KEPT, strict=False)) if a != b), min(len(seen), len(KEPT))
    )
    shown = f"{len(seen)} bytes" if seen == KEPT else f"{len(seen)} bytes, {seen[at : at + 40]!r} at {at}"
    right = f"{len(KEPT)} bytes" if seen == KEPT else f"{len(KEPT)} bytes, {KEPT[at : at + 40]!r} at {at}"
    return Look(what, shown, right, seen == KEPT)


def _ends(lines: list[bytes]) -> str:
    return f"{len(lines)} lines" + (f", {lines[0].decode()} to {lines[-1].decode()}" if lines else "")


def no_false_gap(place: Place) -> Iterator[Look]:
    """However a unit is ended by hand, there is no gap where the journal has every line."""

    def restart(unit: str) -> None:
        place.systemctl("restart", unit)

    def kill(unit: str) -> None:
        place.systemctl("kill", "--signal=KILL", unit)

    def stop_and_kill(unit: str) -> None:
        place.systemctl("stop", "--no-block", unit)
        kill(unit)

    ways: dict[str, Callable[[str], None]] = {
        "restart": restart,
        "kill": kill,
        "stop, then kill": stop_and_kill,
    }
    for name, end in ways.items():
        job_id = place.ready("waits.py", "-p", "seconds=40")
        end(f"ml-job@{job_id}.service")
        place.wait(job_id)
        wait_for(partial(_has_all, job_id), "the journal to have every line", seconds=20)
        yield same(f"gaps after {name}", place.gaps(job_id), [])
        yield same(f"lines after {name}", len(place.log(job_id).splitlines()), _in_journal(job_id))


def _has_all(job_id: str) -> bool:
    return _in_journal(job_id) >= 9


def _in_journal(job_id: str) -> int:
    """How many lines of the script's own the journal has."""
    shown = run("journalctl", "--user", "--quiet", "--output=json", f"--identifier=ml-job@{job_id}").stdout
    entries = map(json.loads, shown.splitlines())
    return sum(re.fullmatch(r"line \d|ready|end", str(each["MESSAGE"])) is not None for each in entries)
