"""The isolation that every job must have: options of its `podman run` that are required, allowed or refused.

A site's drop-in may add to the options within these rules. An option that is not in these tables is refused.
`docs/cage.md` explains the rules; the options are those of podman-run(1). Pure.
"""

import os.path
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ANY = r".*"
ON, OFF = r"true", r"false"

# Before `run`, podman(1). Without an empty file of default mounts, Podman would copy what the host's and the
# account's mounts.conf name into each container.
NO_MOUNTS = ("--default-mounts-file", "/dev/null")
GLOBAL_OPTIONS = {"--events-backend": ANY, "--log-level": ANY, NO_MOUNTS[0]: NO_MOUNTS[1]}

# Options that have no value, unless `=true` or `=false` follows.
FLAGS = ("-d", "--detach", "--rm", "--replace", "--init", "--read-only", "--read-only-tmpfs", "--http-proxy")

# Allowed options, and what their values must match. Volumes have further rules.
OPTIONS = {
    "-d": ON,
    "--detach": ON,
    "--rm": ON,
    "--replace": ON,
    "--read-only": ON,
    "--read-only-tmpfs": OFF,
    "--http-proxy": OFF,
    "--hosts-file": r"none",
    "--cgroups": r"split",
    "--pull": r"never",
    "--sdnotify": r"conmon",
    "--security-opt": r"no-new-privileges([:=]true)?|seccomp[=:]/.+|mask=.+|label=.+",
    "--userns": r"keep-id(:.*)?",
    "--user": r"[1-9][0-9]*(:[1-9][0-9]*)?",
    "--secret": r"(?!.*type=env).*",
    # Podman copies a name without a value from its own environment.
    "--env": r"[^=]+=(.|\n)*",
    # A name that root has given to a device such as a GPU (CDI), never a path.
    "--device": r"[a-z0-9][a-z0-9.-]*/[a-z0-9_-]+=[A-Za-z0-9:._-]+",
    # Annotations can have crun run another handler, or replace the filter of system calls.
    "--annotation": r"(?!(run\.oci|org\.systemd|module\.wasm|krun|io\.podman|io\.kubernetes)\.)[^=]+=(.|\n)*",
}
# Allowed options with any value.
OPTIONS |= dict.fromkeys(
    (
        *("--name", "--cidfile", "--label", "--init", "--entrypoint", "--workdir"),
        *("--network", "--hostname", "--add-host", "--dns", "--dns-option", "--dns-search"),
        *("-v", "--volume", "--tmpfs", "--shm-size", "--cap-drop", "--ulimit", "--memory", "--pids-limit"),
        *("--log-driver", "--tz", "--umask", "--stop-signal", "--stop-timeout"),
    ),
    ANY,
)

# Refused options with a value. They are listed so that the value is not taken for the image.
REFUSED_WITH_A_VALUE = (
    *("--cap-add", "--pid", "--ipc", "--net", "--uts", "--cgroupns", "--mount", "--group-add"),
    *("--env-file", "--volumes-from", "--pod"),
)

MUST = (
    ("--read-only", "true"),
    ("--read-only-tmpfs", "false"),
    ("--cap-drop", "all"),
    ("--security-opt", "no-new-privileges"),
    ("--userns", "keep-id"),
    ("--cgroups", "split"),
    ("--sdnotify", "conmon"),
    ("--http-proxy", "false"),
    ("--hosts-file", "none"),
)

# What a site's own containers.conf(5) for jobs may have: the programs that Podman starts.
CONFIGURABLE = {
    "containers": {"init_path", "pids_limit"},
    "engine": {
        *("cgroup_manager", "conmon_path", "helper_binaries_dir", "hooks_dir", "network_cmd_path"),
        *("runtime", "runtimes"),
    },
    "network": {"default_rootless_network_cmd", "network_backend"},
}

# The host's own paths, with other jobs' sockets. No volume may be one of these, or be below or above one.
HOSTS_OWN = tuple(map(Path, ("/proc", "/sys", "/dev", "/run", "/var/run")))


@dataclass(frozen=True)
class Terms:
    """What the agent itself asks for. Everything else on the command line is the site's."""

    image: str
    network: str
    seccomp: Path
    volumes: Sequence[str]
    secrets: Sequence[str]  # podman's names
    state: Path  # the agent's state directory
    home: Path  # the account's home directory


def objections(command: str, terms: Terms) -> list[str]:
    """What is wrong with the command line of a job's container, as clauses; empty if it may start."""
    try:
        words = shlex.split(command)
        place = words.index("run")
    except ValueError:
        return ["it does not call `podman run`"]
    before = [word.partition("=")[::2] for word in words[1:place]]
    refused = [name for name, value in before if not re.fullmatch(GLOBAL_OPTIONS.get(name, r"(?!)"), value)]
    wrong = [f"it has {name}" for name in refused]
    wrong += [] if NO_MOUNTS in before else [f"it lacks {_written(*NO_MOUNTS)}"]
    options, image = _options(words[place + 1 :])
    wrong += [f"it lacks {_written(*each)}" for each in _wanted(terms) if not _has(options, *each)]
    wrong += [f"it has {_written(*each)}" for each in options if not _is_allowed(*each, terms)]
    if [name for name, _ in options].count("--network") > 1:
        wrong.append("it has more than one --network")
    wrong += [f"it mounts {place} twice" for place in _mounted_twice(options)]
    if image != terms.image:
        wrong.append(f"it does not run {terms.image}")
    return wrong


def configuration_objections(text: str) -> list[str]:
    """What is wrong with a containers.conf(5) for jobs, as clauses. Raises `ValueError` if it is not TOML."""
    wrong = []
    tables = tomllib.loads(text)
    for name, table in tables.items():
        allowed = CONFIGURABLE.get(name, set())
        keys = [f"{name}.{key}" for key in table if key not in allowed] if isinstance(table, dict) else [name]
        wrong += [f"it has {key}" for key in keys]
    if not wrong and tables.get("engine", {}).get("hooks_dir") != []:
        wrong.append("it lacks engine.hooks_dir = []")
    return wrong


def _mounted_twice(options: Iterable[tuple[str, str]]) -> list[str]:
    """Places in the container with two mounts, which Podman refuses."""
    places = [value.split(":")[0] for name, value in options if name == "--tmpfs"]
    places += [value.split(":")[1] for name, value in options if name in ("-v", "--volume") and ":" in value]
    counted = Counter(map(os.path.normpath, places))
    return [place for place, times in counted.items() if times > 1]


def _wanted(terms: Terms) -> Iterator[tuple[str, str]]:
    yield from MUST
    yield "--network", terms.network
    yield "--security-opt", f"seccomp={terms.seccomp}"
    for name in terms.secrets:
        yield "--secret", name
    for volume in terms.volumes:
        yield "-v", volume


def _has(options: Iterable[tuple[str, str]], name: str, value: str) -> bool:
    """Whether an option is there. Of a secret and a user mapping, only the first part of the value counts."""
    whole = name not in ("--secret", "--userns")
    return any(
        option == name and (given == value or (not whole and re.split("[,:]", given)[0] == value))
        for option, given in options
    )


def _options(words: Sequence[str]) -> tuple[list[tuple[str, str]], str]:
    """The options before the image, and the image. An unknown option is taken to have no value."""
    options: list[tuple[str, str]] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            return options, word
        name, separator, value = word.partition("=")
        if not separator:
            valued = (name in OPTIONS and name not in FLAGS) or name in REFUSED_WITH_A_VALUE
            value = next(rest, "") if valued else "true"
        options.append((name, value))
    return options, ""


def _is_allowed(name: str, value: str, terms: Terms) -> bool:
    pattern = OPTIONS.get(name)
    if pattern is None or not re.fullmatch(pattern, value):
        return False
    if name in ("-v", "--volume"):
        return value in terms.volumes or _may_be_mounted(value, terms)
    if name == "--network":
        return value == terms.network
    if name == "--security-opt" and value.startswith("seccomp"):
        return value == f"seccomp={terms.seccomp}"
    return True


def _may_be_mounted(volume: str, terms: Terms) -> bool:
    """Whether a site may mount a volume: read-only, as all jobs share it, and not the host's own."""
    source, _, rest = volume.partition(":")
    _, _, options = rest.partition(":")
    if "ro" not in options.split(",") or "%" in source:
        return False
    if not source.startswith("/"):
        return bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", source))  # a named volume
    path = Path(os.path.normpath(source))
    near = any(
        path.is_relative_to(place) or place.is_relative_to(path) for place in (*HOSTS_OWN, terms.state)
    )
    below_home = path.relative_to(terms.home).parts if path.is_relative_to(terms.home) else ()
    hidden = bool(below_home) and below_home[0].startswith(".")
    return not near and not hidden and not terms.home.is_relative_to(path)


def _written(name: str, value: str) -> str:
    return name if value == "true" else f"{name} {value}"
