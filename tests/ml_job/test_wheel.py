"""The wheel without extras, as an analyst installs it: it needs nothing that only a host has."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
TOLD_WHERE_MISSING = {"joblib", "skops", "matplotlib"}  # a sentence says how to install them
# Of `agent/cli/`, what these import; the rest is of programs of hosts.
CLIENT = ("ml_job/*.py", "agent/cli/job/*.py", "agent/model/*.py", "agent/errors.py")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = directory.glob("*.whl")
    return built


def needed(requirements: list[str]) -> set[str]:
    """The names of all distributions that pip would install for these, without extras."""
    found: set[str] = set()
    waiting = [(Requirement(each), set[str]()) for each in requirements]
    while waiting:
        requirement, extras = waiting.pop()
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            continue
        name = canonicalize_name(requirement.name)
        if name not in found:
            found.add(name)
            waiting += [
                (Requirement(each), requirement.extras) for each in importlib.metadata.requires(name) or []
            ]
    return found


def requirements_of(wheel: Path) -> list[str]:
    """What the wheel's metadata asks for."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return re.findall(r"(?m)^Requires-Dist: (.*)$", archive.read(path).decode())


def modules_of(name: str) -> Iterator[Path]:
    """The files and directories that a distribution has put at the top of site-packages."""
    distribution = importlib.metadata.distribution(name)
    tops = {path.parts[0] for path in distribution.files or [] if path.parts[0] not in ("..", "__pycache__")}
    yield from (Path(str(distribution.locate_file(top))) for top in tops)


@pytest.fixture(scope="session")
def laptop(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment, with the wheel and what it needs, from here."""
    place = tmp_path_factory.mktemp("laptop")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    programs = place / "bin"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(programs / "python")]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", str(wheel)], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    for name in needed(requirements_of(wheel)):
        for module in modules_of(name):
            (site / module.name).symlink_to(module)
    return programs


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "COLUMNS": "200"}
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, cwd="/", env=environment, check=False
    )


def test_the_command_and_the_client_work_without_what_a_host_needs(laptop: Path) -> None:
    shown = run(laptop / "ml-job", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "submit" in shown.stdout
    modules = [
        str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
        for pattern in CLIENT
        for path in ROOT.glob(pattern)
    ]
    program = f"import importlib, sys; [importlib.import_module(name) for name in {modules}]; import ml_job;"
    program += "print(ml_job.Client.submit_job.__name__, 'dbus_fast' in sys.modules)"
    imported = run(laptop / "python", "-I", "-c", program)
    assert (imported.stdout, imported.stderr) == ("submit_job False\n", "")
    failed = run(laptop / "python", "-I", "-c", "import ml_job; ml_job.Client()")
    assert "ClientError: There is no identity" in failed.stderr


@pytest.mark.parametrize("program", ["ml-agent", "ml-fleet"])
def test_a_program_of_a_host_says_what_it_lacks(laptop: Path, program: str) -> None:
    shown = run(laptop / program, "--help")
    assert shown.returncode == 78
    assert "ml-agent[host]" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_the_wheel_has_the_types_and_asks_for_no_library_of_a_host(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert "ml_job/py.typed" in archive.namelist()
    assert not needed(requirements_of(wheel)) & {
        "dbus-fast",
        "pydantic-settings",
        "redis",
        "aio-pika",
        "optuna",
    }


def test_the_client_imports_no_library_but_those_that_it_asks_for(wheel: Path) -> None:
    """Also where a function imports it."""
    known = set(sys.stdlib_module_names) | {"agent", "ml_job"} | TOLD_WHERE_MISSING
    known |= {module.stem for name in needed(requirements_of(wheel)) for module in modules_of(name)}
    for pattern in CLIENT:
        for path in ROOT.glob(pattern):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    names = [node.module]
                unknown = {name.partition(".")[0] for name in names} - known
                assert not unknown, f"{path}: {unknown}"


def test_the_locked_requirements_are_those_of_the_wheel(wheel: Path) -> None:
    pinned = re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / "requirements-client.txt").read_text())
    agents = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.txt").read_text()))
    assert needed(requirements_of(wheel)) <= {name for name, _ in pinned}
    assert all(agents[name] == version for name, version in pinned)
