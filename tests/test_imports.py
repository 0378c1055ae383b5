"""Which wing may know which other one: the arrows of the house, and no others."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "agent"

# One row a wing, or a module beside the wings: what of this package it may import, besides itself.
# A wing within `cli` has a row of its own.
MAY_IMPORT = {
    "errors": "",
    "log": "",
    "model": "errors",
    "config_base": "",
    "config_fleet": "model config_base",
    "config": "errors model config_base config_fleet",
    "config_files": "errors model config",
    "audit": "errors log model",
    "host": "errors log model",
    "store": "errors log model audit host",
    "scripts": "errors model host",
    "secrets": "errors model audit host",
    "scheduling": "errors model config",
    "egress": "errors log config host",
    "identity": "errors log model audit host store",
    "logs": "errors log model host store",
    "retention": "errors log config model host scripts store",
    "runtime": "errors model host logs",
    "backend": "errors model audit logs.lines",
    "explanation": "errors model",
    "monitoring": "errors model config host identity.key_files store",
    "jobs": "errors log model config audit host store scripts secrets scheduling logs runtime",
    "comparison": "errors model host store",
    "usage": "errors model host store comparison.table",
    "sweeps": "errors log model config audit host store scripts logs jobs",
    "schedules": "errors log model audit host store jobs sweeps",
    "aliases": "errors model config audit host store jobs",
    "backup": "errors model config audit host store identity",
    "api": "errors log model config_base audit backend explanation host.sockets host.tasks host.libsystemd"
    " identity logs.lines",
    "fleet": "errors log model config config_base config_fleet audit host store scheduling secrets identity"
    " backend logs.lines jobs.changes jobs.requests api retention.rules",
    "service": "errors log model config audit host store scripts secrets scheduling egress identity logs"
    " retention runtime backend jobs sweeps schedules comparison aliases monitoring usage"
    " api",
    "cli": "errors model config host",
    "cli.admin": "errors log model config config_files audit host store scripts secrets scheduling egress"
    " identity logs retention runtime monitoring usage backup service cli",
    "cli.fleet": "errors model config config_base config_fleet config_files host identity fleet cli"
    " cli.admin.init cli.admin.shared",
    "cli.job": "errors model logs.metrics identity.key_files host.files cli",
}

# A module that may do less than its wing.
NARROWER = {
    "scheduling.policy": "",
    "egress.policy": "config",
    "retention.rules": "config model",
    "sweeps.study": "",
    "comparison.parquet": "",
}

# A library that is known in these places only, so that it can be replaced there.
ONLY_IN = {
    "dbus_fast": "host.systemd",
    "sqlite3": "store",
    "ctypes": "host.libsystemd logs.sdjournal",
    "aiohttp": "host.podman api service fleet.backend.hosts fleet.front fleet.front_client fleet.host_agent"
    " cli.job",
    "redis": "fleet.record_server",
    "aio_pika": "fleet.tickets",
    "aiormq": "fleet.tickets",
    "optuna": "sweeps.study",
    "pyarrow": "comparison.parquet",
    "matplotlib": "cli.job.plot",
    "prometheus_client": "monitoring.families",
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """The module's name below the package; that of its folder for an `__init__`."""
    return ".".join(part for part in path.relative_to(PACKAGE).with_suffix("").parts if part != "__init__")


def row(module: str) -> str:
    """The row that a module belongs to: the longest one that its name begins with; empty where none does."""
    return max((name for name in MAY_IMPORT if within(module, name)), key=len, default="")


def within(module: str, name: str) -> bool:
    """Whether a module is that one, or in that wing."""
    return f"{module}.".startswith(f"{name}.")


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


def may_import(module: str, other: str) -> bool:
    """Whether the tables have the arrow from one module of this package to another."""
    here, there = row(module), row(other)
    if module in NARROWER:
        allowed = f"errors {NARROWER[module]}".split()
    else:
        allowed = [here, *MAY_IMPORT.get(here, "").split()]
    # A wing is allowed by its name; a module of a wing that is not, by its own.
    return any(there == name or (name not in MAY_IMPORT and within(other, name)) for name in allowed)


def forbidden(path: Path, source: str) -> list[str]:
    """The arrows of a module that the tables do not have."""
    here = dotted(path)
    arrows = []
    for name in imported(path, source):
        library, _, other = name.partition(".")
        if library == "agent":
            # What the package itself says, such as its version, is everybody's.
            if row(other) and not may_import(here, other):
                arrows.append(f"{here or 'agent'} → {other}")
        elif library in ONLY_IN and not any(within(here, place) for place in ONLY_IN[library].split()):
            arrows.append(f"{here or 'agent'} → {library}")
    return arrows


def test_every_module_has_a_row_and_every_row_a_module() -> None:
    assert {row(dotted(path)) for path in MODULES} - {""} == MAY_IMPORT.keys()
    assert NARROWER.keys() <= {dotted(path) for path in MODULES}


def test_the_rows_name_each_other_and_form_no_circle() -> None:
    rows = {name: {row(other) for other in others.split()} - {name} for name, others in MAY_IMPORT.items()}
    assert "" not in set().union(*rows.values())
    TopologicalSorter(rows).prepare()  # raises CycleError


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_it_may(path: Path) -> None:
    assert forbidden(path, path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source", "arrow"),
    [
        ("store/jobs.py", "from ..jobs.registry import Registry", "store.jobs → jobs.registry.Registry"),
        ("store/jobs.py", "from ..jobs import registry", "store.jobs → jobs.registry"),
        ("store/jobs.py", "import agent.jobs", "store.jobs → jobs"),
        ("store/jobs.py", "from agent.api import app", "store.jobs → api.app"),
        ("store/jobs.py", "def f():\n    from ..jobs import registry", "store.jobs → jobs.registry"),
        ("store/jobs.py", "if TYPE_CHECKING:\n    from ..jobs import x", "store.jobs → jobs.x"),
        ("api/app.py", "from ..store.store import Store", "api.app → store.store.Store"),
        ("api/calls/logs.py", "from ...logs.journal import Journal", "api.calls.logs → logs.journal.Journal"),
        ("cli/job/main.py", "from ..admin import doctor", "cli.job.main → cli.admin.doctor"),
        ("cli/terminal.py", "from .job import main", "cli.terminal → cli.job.main"),
        (
            "scheduling/policy.py",
            "from .queue import Queue",
            "scheduling.policy → scheduling.queue.Queue",
        ),
        ("jobs/registry.py", "from dbus_fast.aio import MessageBus", "jobs.registry → dbus_fast"),
        ("__init__.py", "from .jobs.registry import Registry", "agent → jobs.registry.Registry"),
    ],
)
def test_an_arrow_that_the_tables_do_not_have_is_found(module: str, source: str, arrow: str) -> None:
    assert forbidden(PACKAGE / module, source) == [arrow]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("store/jobs.py", "from ..model.job import Job\nimport sqlite3"),
        ("api/app.py", "from .. import __version__\nfrom . import routes\nfrom ..backend import Jobs"),
        ("api/calls/logs.py", "from ...logs.lines import Line\nfrom ..server import streams"),
        ("cli/admin/main.py", "from ...service import run\nfrom ..terminal import Screen"),
        ("cli/job/http.py", "import aiohttp\nfrom ...host.files import write_file"),
    ],
)
def test_an_arrow_that_the_tables_have_is_not(module: str, source: str) -> None:
    assert forbidden(PACKAGE / module, source) == []
