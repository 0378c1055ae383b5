"""What others have named reaches a person's terminal as text, and never drives it."""

import io
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from agent.cli.failure import Failure
from agent.cli.job import artifacts, render, scripts
from agent.cli.job.download import target
from agent.cli.job.http import decode
from agent.cli.terminal import Screen
from agent.errors import FieldError
from agent.model.artifact import Artifact, ArtifactManifest
from agent.model.job import Job
from agent.model.script import Parameter, Script, ScriptList
from tests.support.stand_in_agent import job

from .corpus import VALUES
from .extent import FULL

# What rich itself writes: colours, weights, and links to nowhere.
OWN = re.compile(r"\x1b\[[0-9;]*m")
STEP = 1 if FULL else 5
JOINERS = "\u200c\u200d"
CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Half characters cannot come from JSON that was read.
TEXTS = [text for text in VALUES if not any(unicodedata.category(each) == "Cs" for each in text)]


class Terminal(io.TextIOWrapper):
    """Something that is looked at."""

    def isatty(self) -> bool:
        return True


def looked_at(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """What a person sees from now on, of stdout and stderr."""
    seen = io.BytesIO()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Terminal(seen, "utf-8", write_through=True))
    return seen


def harmful(text: str) -> list[str]:
    """The characters that a terminal obeys or hides, but for the program's own."""
    found = (each for each in OWN.sub("", text) if unicodedata.category(each) in CATEGORIES)
    return [f"U+{ord(each):04X}" for each in found if each not in ("\n", *JOINERS)]


def named(text: str) -> Job:
    """A job with the text wherever it may have one."""
    places = {"script_name": text, "name": text, "message": text}
    return decode(Job, job() | places | {"labels": {"l": text}, "hyperparameters": {"p": text}})


def shown(screen: Screen, text: str) -> None:
    """Everything that the command may show of somebody's text, but for a log."""
    manifest = Artifact(path=text or "a", size=1, sha256="0" * 64, media_type=text)
    script = Script(script_name=text, sha256="0" * 64, description=text, parameters=[Parameter(name="p")])
    script = script.model_copy(
        update={"parameters": [Parameter(name="p", description=text, default=text, choices=[text])]}
    )
    render.job_table(screen, [named(text)])
    render.job_sheet(screen, named(text))
    artifacts.artifact_table(
        screen, ArtifactManifest(job_id="abcdefghijkl", complete=True, artifacts=[manifest])
    )
    scripts.script_table(screen, ScriptList(commit="0" * 40, scripts=[script]))
    scripts.script_sheet(screen, script, commit="0" * 40)
    screen.json({"name": text, text: "1"})
    screen.remark(text)
    screen.failure(Failure(text, text, fields=(FieldError(text, text),)))


@pytest.mark.parametrize("at", range(0, len(TEXTS), 50))
def test_no_name_drives_a_terminal(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    terminal, screen = looked_at(monkeypatch), Screen()
    assert screen.person
    for text in TEXTS[at : at + 50][::STEP]:
        shown(screen, text)
        seen = terminal.getvalue().decode("utf-8")
        assert harmful(seen) == [], text
        terminal.seek(0)
        terminal.truncate()


def test_of_a_log_line_a_terminal_gets_colours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, screen = looked_at(monkeypatch), Screen()
    for text in TEXTS:
        screen.log(text.encode())
        seen = terminal.getvalue().decode("utf-8")
        assert harmful(seen.removesuffix("\n").replace("\t", " ")) == [], text
        terminal.seek(0)
        terminal.truncate()


def test_a_table_for_a_program_has_a_line_for_each_row(capfdbinary: Any) -> None:
    screen = Screen()
    assert not screen.person
    for text in TEXTS:
        render.job_table(screen, [named(text)])
    lines = capfdbinary.readouterr().out.decode("utf-8").split("\n")
    assert len(lines) == len(TEXTS) + 1
    assert {line.count("\t") for line in lines if line} == {len(render.JOB_COLUMNS) - 1}


@pytest.mark.parametrize("kind", ["plain", "below a directory"])
def test_an_artifact_is_written_below_its_directory_or_not_at_all(tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "out"
    directory.mkdir()
    (directory / "link").symlink_to("/")
    for text in VALUES:
        path = text if kind == "plain" else f"link/{text}"
        try:
            place = target(directory, path)
        except Failure:
            continue
        except (ValueError, OSError):
            assert "\0" in path or len(path.encode("utf-8", "surrogatepass")) > 255
            continue
        assert place.parent.resolve().is_relative_to(directory.resolve()), path
        assert place.name not in ("", ".", "..")
