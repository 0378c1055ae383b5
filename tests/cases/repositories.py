"""Cases of repositories of scripts: what they lack, how things in them are named, what is left out."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.support.git_repository import commit, git

from .look import Look, same, tells
from .place import Place, clone, outcome, text

OTHER_CHECKS = {
    "systemd",
    "user manager",
    "podman",
    "quadlet",
    "journal",
    "clock",
    "disk",
    "authority",
    "clients",
    "socket",
}
FAILED_TO_ANSWER = "failed to answer"  # what `ml-job` says of a 500


def missing_objects(place: Place) -> Iterator[Look]:
    """A repository that lacks an object is named as such: no 500, no traceback, and the doctor goes on."""
    upstream = place.base / "upstream"
    shutil.copytree(place.repository, upstream)
    git(upstream, "config", "uploadpack.allowFilter", "true")
    partial = clone(upstream, place.base / "partial", "--filter=blob:none", "--no-checkout")
    with place.serving(partial):
        yield from _is_told(place, "a partial clone", "partial clone")
    later = clone(upstream, place.base / "later", "--filter=blob:none")
    (upstream / "scripts/newer.py").write_text("print('newer than the clone')\n")
    commit(upstream)
    git(later, "fetch", "--quiet")
    with place.serving(later):
        done = place.ml_job("submit", "newer.py", "--ref", "origin/main")
        yield _refused(
            "submit what a later fetch left out", done.returncode, text(done.stderr), "partial clone"
        )
        yield same("the doctor on what is there", _levels(place, "scripts"), ["ok"])
    for kind, name in (("a script", "HEAD:scripts/waits.py"), ("the directory", "HEAD:scripts")):
        damaged = place.base / f"lacks-{len(name)}"
        shutil.copytree(place.repository, damaged)
        oid = git(damaged, "rev-parse", name)
        (damaged / ".git/objects" / oid[:2] / oid[2:]).unlink()
        with place.serving(damaged):
            yield from _is_told(place, f"{kind} is lost", "fsck")


def _is_told(place: Place, what: str, remedy: str) -> Iterator[Look]:
    done = place.ml_job("scripts")
    yield _refused(f"{what}: ml-job scripts", done.returncode, text(done.stderr), remedy)
    status, body = place.alice.call("/scripts")
    yield same(f"{what}: GET /scripts", (status, body.get("type")), (503, "urn:ml-agent:problem:host"))
    shown = place.ml_agent("doctor")
    yield same(f"{what}: the doctor's exit status", shown.returncode, 1)
    yield tells(f"{what}: the doctor's errors", "none " + text(shown.stderr), "none")
    findings = place.doctor()
    lines = "\n".join(
        f"{one['level']} {one['seen']} {one['remedy']}" for one in findings if one["subject"] == "scripts"
    )
    yield tells(f"{what}: the doctor", lines, "fail", remedy)
    missing = OTHER_CHECKS - {one["subject"] for one in findings}
    yield same(f"{what}: checks that the doctor does not make", sorted(missing), [])


def _refused(what: str, status: int, said: str, *words: str) -> Look:
    look = tells(what, said, *words, never=("Traceback", FAILED_TO_ANSWER))
    return Look(
        what, f"{look.seen} (exit status {status})", f"{look.right} (not 0)", look.good and status != 0
    )


def _levels(place: Place, subject: str) -> list[str]:
    return [one["level"] for one in place.doctor() if one["subject"] == subject]


def names_of_refs(place: Place) -> Iterator[Look]:
    """Every name that git allows for a branch or a tag can be given."""
    branches = [
        "feature/JIRA#12",
        "user@fix",
        "_wip",
        "größe",
        "a=b",
        "50%",
        "a,b",
        "f(x)",
        "now!",
        "a&b",
        "it's",
        "team/größe+1",
    ]
    tags = ["v1.0+cu12", "v1!0.dev1"]
    for name in branches:
        git(place.repository, "branch", name)
    for name in tags:
        git(place.repository, "tag", name)
    jobs = [(name, place.ml_job("submit", "waits.py", "--ref", name)) for name in (*branches, *tags)]
    for name, done in jobs:
        seen = outcome(place.wait(text(done.stdout))) if done.returncode == 0 else text(done.stderr)
        yield same(f"submit --ref {name}", seen, "COMPLETED")
    done = place.ml_job("submit", "waits.py", "--ref", "")
    yield _refused("submit --ref ''", done.returncode, text(done.stderr), "must not be empty")


def imports(place: Place) -> Iterator[Look]:
    """A script in a subdirectory imports what is above it and beside it, and reads what is beside it."""
    for script, right in (("team/train.py", "imported _common _beside"), ("team/reads.py", "table a,b")):
        job = place.ran(script)
        yield same(script, f"{outcome(job)}: {text(place.log(job['job_id']))[-200:]}", f"COMPLETED: {right}")


def left_out(place: Place) -> Iterator[Look]:
    """Links within the scripts work; what is left out is named with the reason, to everybody."""
    scripts = place.repository / "scripts"
    place.add("lib/shared/__init__.py", "")
    place.add("scripts/pkg/__init__.py", "NAME = 'pkg'\n")
    place.add(
        "scripts/uses_links.py",
        "import alias, second, third\nprint(alias.NAME, second.__name__, third.__name__)\n",
    )
    (scripts / "shared").symlink_to("../lib/shared")
    (scripts / "alias").symlink_to("pkg")
    (scripts / "second.py").symlink_to("_common.py")
    (scripts / "third.py").symlink_to("second.py")
    odd = ["my script.py", "a+b.py", "grün.py"]
    for name in odd:
        place.add(f"scripts/{name}", "print(1)\n")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 5\n"
    place.add("scripts/weights.py", pointer)
    git(place.repository, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},scripts/sub")
    git(place.repository, "commit", "--quiet", "--message=a submodule")
    job = place.ran("uses_links.py")
    yield same(
        "links that lead to scripts",
        f"{outcome(job)}: {text(place.log(job['job_id']))}",
        "COMPLETED: pkg second third",
    )
    job = place.ran("third.py")
    yield same("a link to a link, as a job", outcome(job), "COMPLETED")
    named = {one["subject"]: one for one in place.doctor()}
    listed = text(place.ml_job("scripts").stderr)
    reasons = {
        "shared": "link",
        "sub": "submodule",
        "weights.py": "LFS",
        **dict.fromkeys(odd, "names of scripts"),
    }
    for path, why in reasons.items():
        finding = named.get(f"script {path}", {"level": "none", "seen": "nothing"})
        yield tells(f"{path}: the doctor", f"{finding['level']}: {finding['seen']}", "warn", why)
        yield tells(
            f"{path}: ml-job scripts",
            "\n".join(line for line in listed.splitlines() if path in line),
            path,
            why,
        )


def no_directory(place: Place) -> Iterator[Look]:
    """A repository without the directory of scripts, or with something else there, is told what it lacks."""
    for kind, told in (
        ("nothing", "has no directory scripts"),
        ("a link", "has a link where"),
        ("a file", "has a file where"),
    ):
        repository = place.base / f"without-{kind.replace(' ', '-')}"
        _without_scripts(repository, kind)
        with place.serving(repository):
            shown = text(place.ml_job("scripts").stderr)
            yield tells(f"{kind}: ml-job scripts", shown, told, never=("Leave `ref` out", FAILED_TO_ANSWER))
            finding = next(one for one in place.doctor() if one["subject"] == "scripts")
            line = f"{finding['level']}: {finding['seen']} {finding['remedy']}"
            yield tells(
                f"{kind}: the doctor", line, "fail", told, "scripts.directory", never=("Leave `ref` out",)
            )


def _without_scripts(repository: Path, kind: str) -> None:
    repository.mkdir()
    (repository / "README").touch()
    if kind == "a link":
        (repository / "elsewhere").mkdir()
        (repository / "elsewhere/a.py").touch()
        (repository / "scripts").symlink_to("elsewhere")
    elif kind == "a file":
        (repository / "scripts").touch()
    git(repository, "init", "--quiet")
    commit(repository)
