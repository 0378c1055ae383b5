"""What this machine offers to a host on it: tools, package mirror, certificates, pip, network names.

A host shares the machine's network, so it needs the same mirrors, proxies and certificate authorities.
Nothing here knows any of them: they are read from the machine's own configuration.
"""

import configparser
import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from .errors import HostError
from .progress import Counter, say

LOCK_SECONDS = 600  # for another program that installs packages

# Command -> the Debian package that brings it.
TOOLS = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container"}
VM_TOOLS = {"qemu-system-x86_64": "qemu-system-x86", "mke2fs": "e2fsprogs", "ssh": "openssh-client"}

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
LOCAL_CAS = "/usr/local/share/ca-certificates"
PIP_CONF = "/etc/pip.conf"

# Variables that name a file or folder of certificate authorities; a host has them in Debian's own place.
CA_FILE_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
ONE_LINE_SOURCE = re.compile(r"^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", re.MULTILINE)
PIP_LOCATIONS = ("index-url", "extra-index-url", "find-links")
# Options that name files of this machine, which neither a host nor an image that is built in it has: without
# such a file, pip installs nothing at all. What images install is locked.
PIP_FILES = ("constraint", "build-constraint", "requirement")


def require_root() -> None:
    """Raise HostError unless the process may create cgroups, device nodes and namespaces."""
    if os.geteuid() != 0:
        raise HostError("a host is built and booted as root", "run the same command with sudo")


def require_tools(tools: Mapping[str, str]) -> None:
    """Install the Debian packages of missing tools. Raises HostError if that cannot be done."""
    missing = [package for tool, package in tools.items() if shutil.which(tool) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise HostError(f"missing: {', '.join(missing)}", "install them with this system's package manager")
    say(f"installing {', '.join(missing)} on this machine")
    apt(["update"])
    apt(["install", "--yes", "--no-install-recommends", *missing])


def apt(arguments: list[str]) -> None:
    """Run `apt-get ARGUMENTS`, counting its steps. Raises HostError with the end of its output."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    phases = {"Get:": "fetching", "Hit:": "fetching", "Unpacking": "unpacking", "Setting": "configuring"}
    # Another program may install packages meanwhile.
    follow(["apt-get", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}", *arguments], phases, environment)


def follow(command: list[str], phases: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Run `command` and show its progress.

    `phases` maps the first words of an output line to the phase it belongs to; other lines are not shown.
    Raises HostError with the last lines of the output if the command fails.
    """
    counter, output = Counter(), list[str]()
    with subprocess.Popen(
        command,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                output.append(line.rstrip())
                phase = next((name for start, name in phases.items() if line.startswith(start)), None)
                if phase:
                    counter.step(phase)
        except BaseException:
            process.terminate()
            raise
    counter.close()
    if process.returncode:
        raise HostError(
            f"{command[0]} failed with status {process.returncode}",
            "\n".join(["its output ends with:", *output[-15:]]),
        )


def mirror() -> str | None:
    """The Debian mirror of this machine's apt sources; None where they name none."""
    release = dict(line.split("=", 1) for line in read("/etc/os-release").splitlines() if "=" in line)
    codename = release.get("VERSION_CODENAME", "").strip('"')
    if release.get("ID", "").strip('"') != "debian":
        return None
    suites = {codename, "stable", "testing", "unstable", "sid"}
    for uri, suite in apt_sources():
        if suite in suites and urlsplit(uri).scheme in {"http", "https", "file"}:
            return uri.rstrip("/")
    return None


def apt_sources(folder: Path = Path("/etc/apt")) -> Iterator[tuple[str, str]]:
    """Yield (URI, suite) of every binary source, in both formats of sources.list(5)."""
    for path in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))]:
        for uri, suite in ONE_LINE_SOURCE.findall(read(path)):
            yield uri, suite
    for path in sorted(folder.glob("sources.list.d/*.sources")):
        for stanza in read(path).split("\n\n"):
            fields = deb822(stanza)
            if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no":
                for uri in fields.get("uris", "").split():
                    yield from ((uri, suite) for suite in fields.get("suites", "").split())


def deb822(stanza: str) -> dict[str, str]:
    """The fields of one deb822(5) stanza by lower-case name; continuation lines are joined by newlines."""
    fields, name = dict[str, str](), ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def environment() -> dict[str, str]:
    """This machine's variables for proxies, certificates and pip, as they hold inside a host."""
    found = dict[str, str]()
    for name, value in os.environ.items():
        if name in CA_FILE_VARIABLES:
            found[name] = CA_BUNDLE
        elif name == "SSL_CERT_DIR":
            found[name] = str(Path(CA_BUNDLE).parent)
        elif name == "PIP_CONFIG_FILE":
            continue  # merged into the host's /etc/pip.conf
        elif name in {_pip_variable(option) for option in PIP_FILES}:
            continue
        elif name.lower() in PROXY_VARIABLES or name.startswith("PIP_"):
            found[name] = value
    return found


def ca_bundle() -> Path | None:
    """The file of certificate authorities this machine trusts, if it has one."""
    named = [os.environ[name] for name in CA_FILE_VARIABLES if name in os.environ]
    return next((path for path in map(Path, [*named, CA_BUNDLE]) if path.is_file()), None)


def pip_settings() -> configparser.RawConfigParser:
    """This machine's and this user's pip configuration, merged in pip's own order."""
    home = Path.home()
    merged = configparser.RawConfigParser()
    merged.read(["/etc/xdg/pip/pip.conf", PIP_CONF, home / ".pip/pip.conf", home / ".config/pip/pip.conf"])
    merged.read(os.environ.get("PIP_CONFIG_FILE", os.devnull))
    return merged


def pip_configuration() -> str:
    """The text of a pip.conf(5) for a host: this machine's, with the certificates where a host has them."""
    settings, text = pip_settings(), io.StringIO()
    for section in settings.sections():
        for option in PIP_FILES:
            settings.remove_option(section, option)
        if settings.has_option(section, "cert"):
            settings.set(section, "cert", CA_BUNDLE)
    settings.write(text)
    return text.getvalue()


def pip_folders() -> list[Path]:
    """The folders of this machine that pip's configuration names as sources of packages."""
    values = [os.environ.get(_pip_variable(option), "") for option in PIP_LOCATIONS]
    for section in pip_settings().values():
        values += [section[option] for option in PIP_LOCATIONS if option in section]
    folders = set[Path]()
    for location in " ".join(values).split():
        parts = urlsplit(location)
        path = Path(parts.path)
        if parts.scheme in {"", "file"} and path.is_absolute() and path.is_dir():
            # A local index in the layout of PEP 503 keeps its files beside `simple`, not in it.
            folders.add(path.parent if path.name == "simple" else path)
    return sorted(folders)


def _pip_variable(option: str) -> str:
    """The environment variable that pip takes for an option."""
    return "PIP_" + option.upper().replace("-", "_")


def read(path: str | Path) -> str:
    """The text of a file, empty if there is none."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
