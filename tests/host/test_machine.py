"""What is read from the machine's own configuration."""

from pathlib import Path

import pytest
from systemd_host import machine


def test_both_formats_of_apt_sources_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://commented/ bookworm main\n"
        "deb-src http://sources/ bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://one-line/debian bookworm main\n"
    )
    (folder / "a.sources").write_text(
        "Types: deb deb-src\n# a comment\nURIs: http://deb822/debian\nSuites: trixie\n  trixie-updates\n"
        "Components: main\n\nTypes: deb\nEnabled: no\nURIs: http://off/\nSuites: trixie\n"
    )
    assert list(machine.apt_sources(tmp_path)) == [
        ("http://one-line/debian", "bookworm"),
        ("http://deb822/debian", "trixie"),
        ("http://deb822/debian", "trixie-updates"),
    ]


def test_variables_for_certificates_name_the_hosts_own_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CERT", "/somewhere/else.pem")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("SECRET_TOKEN", "not for the host")
    found = machine.environment()
    assert found["PIP_CERT"] == machine.CA_BUNDLE
    assert found["https_proxy"] == "http://proxy:3128"
    assert "SECRET_TOKEN" not in found


def test_pip_configurations_are_merged_and_local_indexes_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index/simple").mkdir(parents=True)
    (tmp_path / "wheels").mkdir()
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        f"[global]\ncert = /a.pem\nextra-index-url = file://{tmp_path}/index/simple https://far/simple\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path}/wheels {tmp_path}/missing")
    assert f"cert = {machine.CA_BUNDLE}" in machine.pip_configuration()
    assert {tmp_path / "index", tmp_path / "wheels"} <= set(machine.pip_folders())
    assert tmp_path / "missing" not in machine.pip_folders()


def test_files_of_this_machine_that_pip_is_told_of_are_not_named_in_a_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text("[global]\nconstraint = /etc/xdg/pip/constraints.txt\nretries = 7\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("PIP_CONSTRAINT", "/etc/constraints.txt")
    monkeypatch.setenv("PIP_RETRIES", "7")
    assert "constraint" not in machine.pip_configuration()
    assert "retries = 7" in machine.pip_configuration()
    assert "PIP_CONSTRAINT" not in machine.environment()
    assert machine.environment()["PIP_RETRIES"] == "7"
