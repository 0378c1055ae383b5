"""Known vulnerabilities of what is installed, as far as anybody tells; whether every version has a reason.

    python -m tests.security.dependencies

pip-audit asks PyPI, and else OSV, about the development environment and the images' locked packages. Where
neither answers, that is said, and the rest must do: every dependency has a lower bound with a reason, what is
locked and installed is within the bounds, and every locked package has hashes. Exit status 1 for a known
vulnerability or a broken bound; 0 without a network.
"""

import importlib.metadata
import itertools
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parents[2]
IMAGES = ("images/ml-runner", "images/warehouse")
AGENT = "."  # its lock stands at the top
TOOL = "pip-audit>=2.9,<3"
SERVICES = ("pypi", "osv")
INSTALL_TIMEOUT = 180.0  # seconds
AUDIT_TIMEOUT = 120.0

_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^\]]*\])?==(?P<version>[^\s;\\]+)", re.MULTILINE)
_QUOTED = re.compile(r'^\s*"(?P<requirement>[^"]+)",?\s*(#\s*(?P<reason>\S.*))?$', re.MULTILINE)


@dataclass(frozen=True)
class Declared:
    """A dependency as the project declares it, with the comment behind it."""

    requirement: Requirement
    reason: str

    @property
    def bounded(self) -> bool:
        """Whether there is a version below which it is refused."""
        return any(each.operator in (">=", "==", "~=") for each in self.requirement.specifier)


def project(text: str | None = None) -> Iterator[Declared]:
    """What the package itself needs; the tools of its development are not part of it."""
    text = (CHECKOUT / "pyproject.toml").read_text("utf-8") if text is None else text
    wanted = set(tomllib.loads(text)["project"]["dependencies"])
    for line in _QUOTED.finditer(text):
        if line["requirement"] in wanted:
            yield Declared(Requirement(line["requirement"]), line["reason"] or "")


def development() -> Iterator[Requirement]:
    """The tools of the development environment."""
    document = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))
    return map(Requirement, document["project"]["optional-dependencies"]["dev"])


def wanted_by(image: str) -> Iterator[Declared]:
    """What an image's requirements.in asks for."""
    for line in (CHECKOUT / image / "requirements.in").read_text("utf-8").splitlines():
        requirement, _, reason = line.partition("#")
        if requirement.strip():
            yield Declared(Requirement(requirement.strip()), reason.strip())


def locked(place: str) -> dict[str, str]:
    """The versions that the lock in this directory of the checkout installs."""
    text = (CHECKOUT / place / "requirements.txt").read_text("utf-8")
    return {canonicalize_name(match["name"]): match["version"] for match in _PINNED.finditer(text)}


def unhashed(place: str) -> list[str]:
    """Locked packages that could be replaced unnoticed."""
    text = (CHECKOUT / place / "requirements.txt").read_text("utf-8")
    starts = [*(match.start() for match in _PINNED.finditer(text)), len(text)]
    blocks = [text[start:stop] for start, stop in itertools.pairwise(starts)]
    return [block.split()[0] for block in blocks if "--hash=sha256:" not in block]


def outside(requirements: Iterable[Requirement], versions: dict[str, str]) -> list[str]:
    """Requirements that the versions do not meet, or that are not among them."""
    return [
        f"{each}: {versions.get(canonicalize_name(each.name), 'missing')}"
        for each in requirements
        if not each.specifier.contains(versions.get(canonicalize_name(each.name), "0"), prereleases=True)
        or canonicalize_name(each.name) not in versions
    ]


def installed() -> dict[str, str]:
    """The versions in this environment."""
    return {canonicalize_name(each.name): each.version for each in importlib.metadata.distributions()}


def broken_bounds() -> list[str]:
    """Everything that is wrong without asking anybody."""
    found = [
        f"pyproject.toml: {each.requirement} has no {'reason' if each.bounded else 'lower bound'}"
        for each in project()
        if not each.bounded or not each.reason
    ]
    here, wanted_here = installed(), [each.requirement for each in project()]
    found += [f"here: {each}" for each in outside(wanted_here, here)]
    found += [f"here: {each}" for each in outside(development(), here)]
    found += [
        f"requirements.txt: {each}" for each in outside((e.requirement for e in project()), locked(AGENT))
    ]
    found += [f"{place}: {each} has no hash" for place in (AGENT, *IMAGES) for each in unhashed(place)]
    for image in IMAGES:
        wanted = list(wanted_by(image))
        found += [f"{image}: {each}" for each in outside((e.requirement for e in wanted), locked(image))]
        found += [
            f"{image}: {each.requirement} is bounded without a reason"
            for each in wanted
            if each.requirement.specifier and not each.reason and "==" not in str(each.requirement)
        ]
    return found


@dataclass(frozen=True)
class Audit:
    """What a service told: packages that it knows, and sentences about vulnerable ones."""

    known: int
    vulnerable: list[str]


def understood(report: Any) -> Audit:
    """pip-audit's JSON: a package that the service does not know has a reason to be skipped."""
    known = [each for each in report["dependencies"] if "skip_reason" not in each]
    vulnerable = [
        f"{each['name']} {each['version']}: {bug['id']}, fixed in {', '.join(bug['fix_versions']) or 'none'}"
        for each in known
        for bug in each["vulns"]
    ]
    return Audit(len(known), vulnerable)


def audits(tool: Path) -> Iterator[tuple[str, Audit | None]]:
    """Each set of packages, and what the first service told that knows any of them."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as frozen:
        frozen.writelines(
            f"{name}=={version}\n" for name, version in installed().items() if name != "ml-agent"
        )
        frozen.flush()
        yield "development environment", _asked(tool, ["--no-deps", "--requirement", frozen.name])
    for place in (AGENT, *IMAGES):
        lock = CHECKOUT / place / "requirements.txt"
        yield (
            "the agent" if place == AGENT else place,
            _asked(tool, ["--require-hashes", "--requirement", str(lock)]),
        )


def _asked(tool: Path, options: list[str]) -> Audit | None:
    for service in SERVICES:
        fixed = ["--disable-pip", "--progress-spinner=off", "--format=json", "--timeout=10"]
        try:
            done = subprocess.run(
                [str(tool), *fixed, f"--vulnerability-service={service}", *options],
                capture_output=True,
                timeout=AUDIT_TIMEOUT,
                check=False,
            )
            audit = understood(json.loads(done.stdout))
        except (subprocess.TimeoutExpired, ValueError):
            continue
        if audit.known:
            return audit
    return None


def installed_tool(place: Path) -> Path | None:
    """pip-audit in an environment of its own; None where it cannot be had."""
    pip = [str(place / "bin/pip"), "install", "--quiet", "--retries=0", "--timeout=10", TOOL]
    try:
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=INSTALL_TIMEOUT)
        subprocess.run(pip, check=True, capture_output=True, timeout=INSTALL_TIMEOUT)
    except (subprocess.SubprocessError, OSError):
        return None
    return place / "bin/pip-audit"


def main() -> int:
    """The exit status."""
    broken = broken_bounds()
    for sentence in broken:
        print(sentence)
    vulnerable = 0
    with tempfile.TemporaryDirectory() as place:
        tool = installed_tool(Path(place))
        if tool is None:
            print(f"{TOOL} cannot be installed from here: bounds and hashes are checked instead.")
        for what, audit in audits(tool) if tool else ():
            if audit is None:
                print(f"{what}: no vulnerability data can be reached: bounds and hashes are checked instead.")
                continue
            print(f"{what}: {audit.known} packages audited, {len(audit.vulnerable)} known vulnerabilities")
            print("".join(f"  {sentence}\n" for sentence in audit.vulnerable), end="")
            vulnerable += len(audit.vulnerable)
    print(f"bounds and hashes: {len(broken)} broken")
    return 1 if broken or vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
