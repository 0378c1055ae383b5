"""What a job's last lines say about its end.

Each sign is a line that Python, a library or Podman writes for one cause. The newest line that a sign knows
decides; a line that no sign knows is quoted as it is.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..model.job import Job
from .facts import Finding, LogLine, shortened

# The last line of a traceback: the class, perhaps with its module, and what it says.
EXCEPTION = re.compile(
    r"(?:[a-z_][\w.]*\.)?(?P<name>[A-Z]\w*(?:Error|Exception|Interrupt|Timeout|Found))(?:: (?P<said>.*))?"
)
# An error of a system call without what it was about: programs that clean up write it, after the cause.
VAGUE = re.compile(r"\w+Error: \[Errno [0-9]+\] [\w ]+")
CONTAINER_PLACES = "A job can write to /artifacts and to /tmp only."


def _always(_: Job) -> bool:
    return True


def _has_no_network(job: Job) -> bool:
    return job.network == "none"


@dataclass(frozen=True)
class Sign:
    """A line that shows one cause. `summary` and `advice` may name groups of the pattern, and `job`."""

    pattern: re.Pattern[str]
    summary: str
    advice: str = ""
    applies: Callable[[Job], bool] = _always


def _sign(pattern: str, summary: str, advice: str = "", applies: Callable[[Job], bool] = _always) -> Sign:
    return Sign(re.compile(pattern), summary, advice, applies)


NETWORK = (
    r"gaierror|Temporary failure in name resolution|Name or service not known|Network is unreachable"
    r"|No address associated with hostname|Could not resolve host"
)
# Of several signs that know a line, the first one counts.
OWN_SIGNS = (
    _sign(
        r"ModuleNotFoundError: No module named '(?P<module>[^']+)'",
        "The script imports {module}, which the image has not.",
        "Add the package to the image (the operator rebuilds it), or put the module beside the script.",
    ),
    _sign(
        r"ImportError: (?P<said>.+)",
        "The script could not import a module: {said}.",
        "Compare the import with the packages of the image: docs/scripts.md names them.",
    ),
    _sign(
        r"KeyError: 'HP_(?P<name>\w+)'",
        "The script reads HP_{name}, and the job has no such hyperparameter.",
        "Submit it with -p {lower}=VALUE, or let the script declare a default.",
    ),
    _sign(
        r"(?:FileNotFoundError|PermissionError|NotADirectoryError): .*'/run/secrets/(?P<secret>[^/']+)",
        "The script reads the secret {secret}, which the job did not get.",
        'Declare it in the script\'s block, secrets = ["{secret}"], and `ml-job secret set {secret}`.',
    ),
    _sign(
        r"\[Errno 30\] Read-only file system: '(?P<path>[^']+)'",
        "The script wrote to {path}, which is read-only in a job.",
        CONTAINER_PLACES,
    ),
    _sign(
        r"PermissionError: .*'(?P<path>[^']+)'",
        "The script may not open {path}.",
        CONTAINER_PLACES,
    ),
    _sign(
        r"\[Errno 28\] No space left on device(?:: '(?P<path>[^']+)')?",
        "A file system of the job was full, so the script could not write {path}.",
        "Large files belong into /artifacts; /tmp has half of the memory limit, which --memory sets.",
    ),
    _sign(
        r"\[Errno 27\] File too large|\[Errno 122\] Disk quota exceeded",
        "The script wrote a file that is larger than a job's files may be.",
        "Write less to /artifacts, or rerun with a larger limit of artifacts.",
    ),
    _sign(
        r"FileNotFoundError: .*'(?P<path>[^']+)'",
        "The script opens {path}, which does not exist in the job.",
        "A job sees the commit's scripts/ in /scripts and nothing else of the repository or of your machine.",
    ),
    _sign(
        r"MemoryError|Unable to allocate|[Cc]annot allocate memory|std::bad_alloc",
        "The script asked for more memory than it could get.",
        "Rerun with a larger limit: `ml-job rerun {job} --memory SIZE`.",
    ),
    _sign(
        r"TerminatedWorkerError|BrokenProcessPool",
        "A worker process of the script was killed, most often for want of memory.",
        "Rerun with more memory, `ml-job rerun {job} --memory SIZE`, or with fewer processes.",
    ),
    _sign(
        r"can't start new thread|BlockingIOError: \[Errno 11\]",
        "The script wanted more processes or threads than its limit.",
        "Start fewer, or rerun with a larger limit of tasks.",
    ),
    _sign(
        rf"(?:{NETWORK})",
        "The script used the network, and the job has none.",
        'Declare one in the script\'s block, such as network = "warehouse".',
        _has_no_network,
    ),
    _sign(
        r"(?:ProxyError|Tunnel connection failed: 403|403 Forbidden.*proxy|Proxy CONNECT aborted)",
        "The script wanted to reach a host that the network {network} does not allow.",
        "Ask the operator to add the host to the network: docs/egress.md.",
    ),
    _sign(
        rf"(?:{NETWORK})",
        "The script could not find a host by its name in the network {network}.",
        "Check the name, and that the network allows the host: docs/egress.md.",
    ),
    _sign(
        r"(?:Incorrect username or password|JWT token is invalid|390144|Failed to authenticate)",
        "Snowflake refused the login.",
        "Set the secret again with the account's present key: `ml-job secret set NAME`.",
    ),
    _sign(
        r"snowflake\.connector\.errors\.\w+: (?P<said>.+)",
        "Snowflake refused what the script asked: {said}.",
    ),
    _sign(
        r"ConnectionRefusedError|Connection refused",
        "The script connected to a host on which nothing listens.",
        "Check the host and its port in the script or its secret.",
    ),
    _sign(
        r"(?:IndentationError|SyntaxError|TabError): (?P<said>.+)",
        "The script is no valid Python: {said}.",
        "Mend it in a new commit; `python -m py_compile FILE` finds it before a job does.",
    ),
    _sign(
        r"\S+\.py: error: (?P<said>.+)",
        "The script refused its arguments: {said}.",
    ),
)
# What Podman and crun write when a container does not start.
SYSTEM_SIGNS = (
    _sign(
        r"image not known|no such image|(?:unable to|failed to) (?:find|copy|pull) .*image|manifest unknown",
        "The host has not the image that the job runs in.",
        "Ask the operator to build it: `systemctl --user start ml-runner-build`.",
    ),
    _sign(
        r"no secret with name or id|no such secret",
        "A secret of the job was removed before the job started.",
        "Set the secret again, and rerun the job.",
    ),
    _sign(r"(?i)no space left on device", "The host's disk was full when the container was to start."),
    _sign(
        r"network not found|unable to find network",
        "The host has not the network that the job wants.",
        "Ask the operator: `ml-agent doctor` checks networks.",
    ),
    _sign(
        r"[Ee]xec format error",
        "The image is made for another processor than the host has.",
        "Ask the operator to build the image on the host.",
    ),
    _sign(
        r"cgroup|controller",
        "The host could not enforce the job's limits.",
        "Ask the operator: `ml-agent doctor` checks the controllers.",
    ),
    _sign(r"Error: (?P<said>.+)", "Podman could not start the container: {said}."),
)


def by_own_lines(job: Job, lines: Sequence[LogLine]) -> Finding | None:
    """What the newest telling line of the job's own says; None where none tells anything."""
    vague = None
    for line in reversed(lines):
        if not line.own:
            continue
        if known := _known(job, line, OWN_SIGNS):
            return known
        if raised := _exception(line):
            if not VAGUE.fullmatch(line.text):
                return raised
            vague = vague or raised
    return vague


def by_system_lines(job: Job, lines: Sequence[LogLine]) -> Finding | None:
    """What Podman or systemd says about a container that did not start."""
    system = [line for line in lines if not line.own]
    found = (_known(job, line, SYSTEM_SIGNS) for line in reversed(system))
    return next(filter(None, found), None)


def last_words(lines: Sequence[LogLine]) -> LogLine | None:
    """The last line that the job wrote to stderr, or else to stdout."""
    own = [line for line in lines if line.own and line.text.strip()]
    return next((line for line in reversed(own) if line.stderr), own[-1] if own else None)


def _known(job: Job, line: LogLine, signs: Sequence[Sign]) -> Finding | None:
    for sign in signs:
        if sign.applies(job) and (match := sign.pattern.search(line.text)):
            words = {name: shortened(said or "a file") for name, said in match.groupdict().items()}
            words = {name: said.rstrip(".") for name, said in words.items()}
            words |= {"job": job.job_id, "network": job.network, "lower": words.get("name", "").lower()}
            advice = (sign.advice.format(**words),) if sign.advice else ()
            return Finding(sign.summary.format(**words), advice, line)
    return None


def _exception(line: LogLine) -> Finding | None:
    match = EXCEPTION.fullmatch(line.text)
    if match is None:
        return None
    said = f": {shortened(match['said']).rstrip('.')}" if match["said"] else ""
    return Finding(f"The script ended with {match['name']}{said}.", ("The lines above it say where.",), line)
