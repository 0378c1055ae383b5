"""The bills of materials name what is installed, package by package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from . import dependencies

IMAGES = {"ml-runner": "ml-runner", "ml-warehouse": "warehouse"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sbom")
    subprocess.run(
        ["images/sbom", str(directory), str(Path(sys.executable).parent)],
        cwd=dependencies.CHECKOUT,
        check=True,
        timeout=120,
    )
    return directory


def components(path: Path) -> dict[str, str]:
    document = json.loads(path.read_text("utf-8"))
    assert document["bomFormat"] == "CycloneDX"
    return {each["name"]: each["version"] for each in document["components"]}


def python_packages(path: Path) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in components(path).items()}


@pytest.mark.host
def test_the_agents_packages_are_those_of_its_lock(written: Path) -> None:
    assert python_packages(written / "ml-agent.cdx.json") == dependencies.locked(".")


@pytest.mark.host
@pytest.mark.parametrize("image", IMAGES)
def test_an_images_python_packages_are_those_of_its_lock(written: Path, image: str) -> None:
    lock = dependencies.locked(f"images/{IMAGES[image]}")
    assert python_packages(written / f"{image}-python.cdx.json") == lock


@pytest.mark.host
@pytest.mark.parametrize("image", IMAGES)
def test_an_images_debian_packages_are_those_that_dpkg_has(written: Path, image: str) -> None:
    query = ["/usr/bin/dpkg-query", f"localhost/{image}:latest", "--show", "--showformat"]
    listed = subprocess.run(
        ["podman", "run", "--rm", "--network=none", "--entrypoint", *query, "${Package}=${Version}\n"],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    ).stdout.decode()
    installed = dict(line.split("=", 1) for line in listed.splitlines())
    assert len(installed) > 50
    assert components(written / f"{image}-debian.cdx.json").items() >= installed.items()
