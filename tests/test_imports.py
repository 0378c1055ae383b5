"""Which module may know which other one: the arrows of the house, and no others."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "agent"

PARTS = (
    "errors models outcome git metadata snapshot artifacts cage quota quadlet units libsystemd journalfiles"
    " tail journalctl journal podman store queue schedule config archive changes metrics meter lifecycle"
    " audit"
)

# One row per module: what it may import of this package. `api` and `cli` are folders: one row for all within.
MAY_IMPORT = {
    "errors": "",
    "models": "errors",
    "config": "errors models",
    "outcome": "errors models",
    "lifecycle": "outcome",
    "git": "errors",
    "toml": "",
    "metadata": "errors models toml",
    "directory": "",
    "snapshot": "errors models directory git metadata",
    "artifacts": "errors models",
    "cage": "",
    "quota": "models",
    "quadlet": "errors models cage",
    "units": "errors models",
    "libsystemd": "errors",
    "journalfiles": "",
    "log": "",
    "tail": "errors journalfiles libsystemd",
    "journalctl": "errors journalfiles tail",
    "journal": "errors models tail journalctl journalfiles libsystemd",
    "archive": "errors models directory journal",
    "metrics": "models",
    "meter": "errors models journal archive metrics",
    "archivist": "errors models journal archive store metrics meter",
    "changes": "errors models store",
    "podman": "errors models",
    "credentials": "errors models podman toml",
    "audit": "models",
    "store": "errors models audit directory",
    "tree": "",
    "retention": "config models store",
    "pruner": "config errors models podman retention snapshot store tree units",
    "queue": "",
    "schedule": "config models queue",
    "keyfiles": "errors directory",
    "pki": "errors keyfiles models",
    "rotation": "directory keyfiles models pki",
    "signing_request": "errors pki",
    "certificates": "errors models audit pki signing_request store",
    "listener": "",
    "jobs": PARTS,
    "egress": "config",
    "warden": "config errors models jobs units",
    "api": "errors models audit journal archive artifacts certificates credentials jobs changes metrics"
    " meter",
    "service": f"{PARTS} archivist pki certificates credentials listener log jobs pruner warden api",
    "cli": f"{PARTS} pki keyfiles rotation certificates credentials jobs pruner egress api service",
}

# A library that is known in these places only, so that it can be replaced there.
ONLY_IN = {
    "dbus_fast": "units",
    "sdnotify": "service",
    "sqlite3": "store audit",
    "ctypes": "libsystemd",
    "aiohttp": "podman api service cli",
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def row(path: Path) -> str:
    """The row of a module: its own name, or that of its folder; empty for the package itself."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0].replace("__init__", "")


def imported(path: Path, source: str) -> Iterator[str]:
    """The absolute dotted names that a module imports, wherever in it, also for annotations only."""
    package = ("agent", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            for alias in node.names:
                yield ".".join((*base, *(node.module.split(".") if node.module else ()), alias.name))


def forbidden(path: Path, source: str) -> list[str]:
    """The arrows of a module that the tables do not have."""
    here = row(path)
    arrows = []
    for name in imported(path, source):
        first, second, *_ = *name.split("."), ""
        if first == "agent":
            there = (
                second if second in MAY_IMPORT else ""
            )  # what the package itself says, such as its version
            if there not in ("", here, *MAY_IMPORT.get(here, "").split()):
                arrows.append(f"{here or 'agent'} → {there}")
        elif first in ONLY_IN and here not in ONLY_IN[first].split():
            arrows.append(f"{here or 'agent'} → {first}")
    return arrows


def test_every_module_has_a_row_and_every_row_a_module() -> None:
    assert {row(path) for path in MODULES} - {""} == MAY_IMPORT.keys()


def test_the_rows_name_each_other_and_form_no_circle() -> None:
    rows = {name: set(others.split()) for name, others in MAY_IMPORT.items()}
    assert set().union(*rows.values()) <= rows.keys()
    TopologicalSorter(rows).prepare()  # raises CycleError


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_it_may(path: Path) -> None:
    assert forbidden(path, path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source", "arrow"),
    [
        ("store.py", "from .jobs import Jobs", "store → jobs"),
        ("store.py", "from . import jobs, models", "store → jobs"),
        ("store.py", "import agent.jobs", "store → jobs"),
        ("store.py", "from agent.api import app", "store → api"),
        ("store.py", "def f():\n    from .jobs import Jobs", "store → jobs"),
        ("store.py", "if TYPE_CHECKING:\n    from .jobs import Jobs", "store → jobs"),
        ("api/app.py", "from ..store import Store", "api → store"),
        ("api/app.py", "from .. import pki", "api → pki"),
        ("jobs.py", "from dbus_fast.aio import MessageBus", "jobs → dbus_fast"),
        ("__init__.py", "from .jobs import Jobs", "agent → jobs"),
    ],
)
def test_an_arrow_that_the_tables_do_not_have_is_found(module: str, source: str, arrow: str) -> None:
    assert forbidden(PACKAGE / module, source) == [arrow]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("store.py", "from .models import Job\nimport sqlite3"),
        ("api/app.py", "from .. import __version__\nfrom . import routes\nfrom ..jobs import Jobs"),
        ("cli/client.py", "from ..service import run\nimport aiohttp"),
    ],
)
def test_an_arrow_that_the_tables_have_is_not(module: str, source: str) -> None:
    assert forbidden(PACKAGE / module, source) == []
