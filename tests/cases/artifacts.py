"""Cases of artifacts: files of any name, mode and depth."""

import hashlib
import re
from collections.abc import Iterator

from .look import Look, same
from .place import Place, outcome, text

PLAIN = re.compile("[A-Za-z0-9._/]+")
UNTRUE = ("only plain files are", "only regular files are")
# Files that the agent may be unable to reach, so that a true reason is right, too.
HARD = ("mode-000", "mode-200", "closed-", "d0/")


def odd_names(place: Place) -> Iterator[Look]:
    """Each plain file is published under some path with its bytes, or the reason that is given is true."""
    job = place.ran("odd_names.py")
    job_id = job["job_id"]
    yield same("the job", outcome(job), "COMPLETED")
    _, manifest = place.alice.call(f"/jobs/{job_id}/artifacts")
    published = {each["sha256"]: each["path"] for each in manifest["artifacts"]}
    reasons = [f"{each['path']} {each['reason']}" for each in manifest.get("left_out", [])]
    told = "\n".join([*reasons, text(place.ml_job("artifacts", job_id).stderr)])
    names = _left(place.log(job_id))
    yield Look("files that the job left", str(len(names)), "some of every kind", len(names) > 75)
    hidden = [name for name in names if hashlib.sha256(name).hexdigest() not in published]
    soft = [name for name in hidden if not name.startswith(tuple(map(str.encode, HARD)))]
    yield same("files of odd names that are not published", soft, [])
    for start in HARD:
        group = [name for name in hidden if name.startswith(start.encode())]
        reason = "\n".join(line for line in told.splitlines() if start in line)
        untrue = any(word in reason for word in UNTRUE)
        good = not group or (bool(reason) and not untrue)
        seen = f"{len(group)} not published: {reason[:200] or 'no reason'}" if group else "all published"
        yield Look(f"{start}…", seen, "published, or a true reason", good)
    yield from _fetched(place, job_id, published)
    ended = outcome(place.ran("declares.py"))
    yield Look("a declared artifact that is a link", ended, "FAILED, naming it", _names_it(ended))


def _names_it(ended: str) -> bool:
    return ended.startswith("FAILED artifact-missing") and "model.bin" in ended


def _fetched(place: Place, job_id: str, published: dict[str, str]) -> Iterator[Look]:
    """What is published can be fetched, all at once and each by its path."""
    target = place.base / f"fetched-{job_id}"
    done = place.ml_job("artifacts", "get", job_id, "--output", str(target))
    refused = (done.returncode, ".hidden" in text(done.stderr), target.exists())
    yield same("artifacts get: hidden files are named, and nothing is fetched", refused, (2, True, False))
    done = place.ml_job("artifacts", "get", job_id, "--force", "--output", str(target))
    got = {hashlib.sha256(path.read_bytes()).hexdigest() for path in target.rglob("*") if path.is_file()}
    lost = sorted(path for digest, path in published.items() if digest not in got)
    yield same(f"artifacts get --force (status {done.returncode}): published, but not fetched", lost, [])
    yield same("artifacts get --force: exit status", done.returncode, 0)
    wrong = []
    for digest, path in published.items():
        if PLAIN.fullmatch(path):
            continue
        one = place.ml_job("artifacts", "get", job_id, "--output", "-", "--", path)
        if hashlib.sha256(one.stdout).hexdigest() != digest:
            wrong.append(f"{path}: {text(one.stderr)}")
    yield same("artifacts get PATH: paths that lead to something else", wrong, [])


def _left(log: bytes) -> list[bytes]:
    """The paths of the files that the script says it has left; the content of each is its path."""
    return [
        bytes.fromhex(line.decode().removeprefix("left "))
        for line in log.splitlines()
        if line.startswith(b"left ")
    ]
