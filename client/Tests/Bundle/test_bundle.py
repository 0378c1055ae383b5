"""The bundle: what macOS reads in it, and what its build does. The Mac's own tools are stood in for."""

import os
import plistlib
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

CLIENT = Path(__file__).parents[2]
BUNDLE = CLIENT / "bundle"
TOOLS = ("swift", "codesign", "plutil", "ditto", "xcrun", "spctl", "python3")


def plist(name: str) -> dict[str, Any]:
    with (BUNDLE / name).open("rb") as file:
        return dict(plistlib.load(file))


def test_the_app_runs_where_the_package_does() -> None:
    oldest = re.search(r"\.macOS\(\.v(\d+)\)", (CLIENT / "Package.swift").read_text())
    assert oldest
    assert plist("Info.plist")["LSMinimumSystemVersion"] == f"{oldest.group(1)}.0"


def test_invitations_open_the_app() -> None:
    (kind,) = plist("Info.plist")["CFBundleURLTypes"]
    assert kind["CFBundleURLSchemes"] == ["ml-job"]


def test_the_app_may_use_the_network_and_chosen_files_and_nothing_else() -> None:
    assert plist("MLJobs.entitlements") == {
        "com.apple.security.app-sandbox": True,
        "com.apple.security.network.client": True,
        "com.apple.security.files.user-selected.read-write": True,
    }


def test_hosts_with_an_authority_of_their_own_can_be_reached() -> None:
    assert plist("Info.plist")["NSAppTransportSecurity"] == {"NSAllowsArbitraryLoads": True}


def test_the_icon_has_a_picture_for_each_size(tmp_path: Path) -> None:
    file = tmp_path / "AppIcon.icns"
    subprocess.run(["python3", BUNDLE / "icon.py", file], check=True)
    content = file.read_bytes()
    assert content[:4] == b"icns"
    assert struct.unpack(">I", content[4:8])[0] == len(content)
    assert content.count(b"\x89PNG") == content.count(b"IEND") == 9


class Mac:
    """Programs of a Mac that write down how they were called, and do as much as the build goes on with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls, self.output = folder, folder / "calls", folder / "out"
        binary = folder / "bin" / "MLJobApp"
        binary.parent.mkdir()
        binary.write_text("a program")
        for tool in TOOLS:
            program = folder / tool
            program.write_text(
                f'#!/bin/bash\nprintf "%s\\n" "{tool} $*" >>"{self.calls}"\n'
                f'case "$*" in *--show-bin-path*) echo "{binary.parent}" ;; esac\n'
            )
            program.chmod(0o755)

    def build(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}:{os.environ['PATH']}"
        command = [str(BUNDLE / "build"), "--output", str(self.output), *arguments]
        return subprocess.run(
            command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
        )

    def called(self, tool: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(f"{tool} ")]


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    return Mac(tmp_path)


def test_the_app_is_put_together_and_signed_for_this_mac(mac: Mac) -> None:
    done = mac.build()
    assert done.returncode == 0, done.stderr
    app = mac.output / "ML Jobs.app"
    assert done.stdout.splitlines()[-1] == str(app)
    executable = plist("Info.plist")["CFBundleExecutable"]
    assert (app / "Contents" / "MacOS" / str(executable)).read_text() == "a program"
    assert {p.name for p in (app / "Contents").iterdir()} == {"Info.plist", "MacOS", "PkgInfo", "Resources"}
    assert "--arch arm64 --arch x86_64" in mac.called("swift")[0]
    assert mac.called("python3")[0].endswith("Resources/AppIcon.icns")
    sign, verify = mac.called("codesign")
    assert "--options runtime" in sign
    assert "--sign -" in sign
    assert "--timestamp" not in sign
    assert "--verify --strict" in verify
    assert not mac.called("xcrun")


def test_the_version_is_the_projects(mac: Mac) -> None:
    mac.build("--identifier", "net.example.jobs")
    version = re.search(r'^version = "(.+)"$', (CLIENT.parent / "pyproject.toml").read_text(), re.M)
    assert version
    replaced = mac.called("plutil")
    assert any(f"CFBundleShortVersionString -string {version.group(1)} " in line for line in replaced)
    assert any("CFBundleIdentifier -string net.example.jobs " in line for line in replaced)
    assert any(re.search(r"CFBundleVersion -string \d+ ", line) for line in replaced)


def test_a_signed_app_is_notarised(mac: Mac) -> None:
    assert mac.build("--sign", "Developer ID Application: X", "--notarise", "profile").returncode == 0
    assert "--timestamp" in mac.called("codesign")[0]
    submit, staple = mac.called("xcrun")
    assert "--keychain-profile profile --wait" in submit
    assert staple.startswith("xcrun stapler staple")
    assert mac.called("spctl")


def test_an_app_without_a_developer_id_is_not_notarised(mac: Mac) -> None:
    done = mac.build("--notarise", "profile")
    assert done.returncode == 2
    assert "Developer ID" in done.stderr
    assert not mac.calls.exists()


def test_a_failure_ends_the_build(mac: Mac) -> None:
    (mac.folder / "codesign").write_text("#!/bin/bash\nexit 3\n")
    assert mac.build().returncode == 3
