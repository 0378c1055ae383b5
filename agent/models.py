"""The domain's types, which are also its wire format: requests, jobs, log lines, artifacts, scripts."""

import functools
import re
import secrets
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
ID_LENGTH = 12
ID_PREFIX_LENGTH = 8  # two jobs never share these, so that a table may show them alone
UNIT_PATTERN = re.compile(r"^ml-job@([a-z2-7]{12})\.service$")

MAX_PARAMETERS = 100
MAX_PARAMETER_NAME = 64  # characters; the variable is HP_<NAME>
MAX_PARAMETER_VALUE = 4096  # characters
MAX_PARAMETERS_SIZE = 32 * 1024  # bytes of all names and values in UTF-8
MAX_LABELS = 32
MAX_SIGNING_REQUEST = 8192  # characters; one of a 4096-bit RSA key has 1,700
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"  # as the contract says it; JSON has half characters besides


def format_time(value: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`, as everything this agent says."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_milliseconds(value: int) -> str:
    """The same for milliseconds since 1970; the part that lines have in common is made once."""
    seconds, milliseconds = divmod(value, 1000)
    return f"{_format_second(seconds)}.{milliseconds:03d}Z"


def format_number(value: float) -> str:
    """With all its digits: `20221198336`, `8`, `0.5`."""
    return str(int(value)) if float(value).is_integer() else str(value)


@functools.lru_cache(maxsize=64)
def _format_second(value: int) -> str:
    return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def now() -> datetime:
    """The current time in UTC, cut to the milliseconds that are stored and served."""
    value = datetime.now(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def new_job_id() -> str:
    """Twelve random characters of lowercase base 32 (60 bits)."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


def unit_name(job_id: str) -> str:
    """`ml-job@<id>.service`."""
    return f"ml-job@{job_id}.service"


def job_id_of(unit: str) -> str | None:
    """The job a unit name belongs to, or None where it is no job's unit."""
    match = UNIT_PATTERN.match(unit)
    return match[1] if match else None


def _reject_controls(value: str) -> str:
    """Values must survive an environment variable and a line of a terminal.

    A line break or a NUL is never part of a hyperparameter, and unpaired surrogates are no text.
    """
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise ValueError(f"must not contain control characters (found U+{ord(character):04X})")
    return value


def _reject_non_string(value: object) -> object:
    if isinstance(value, bool | int | float):
        raise ValueError(f'must be a string; write "{value}" in quotes')
    return value


def _whole(value: object) -> object:
    """JSON Schema takes 3.0 for an integer, and some languages write it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Time = Annotated[datetime, PlainSerializer(format_time, return_type=str)]
Text = Annotated[str, AfterValidator(_reject_controls), Field(json_schema_extra={"pattern": PRINTABLE})]
ParameterName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=MAX_PARAMETER_NAME)]
ParameterValue = Annotated[Text, BeforeValidator(_reject_non_string), Field(max_length=MAX_PARAMETER_VALUE)]


def check_parameters_size(values: dict[str, str]) -> dict[str, str]:
    """The same parameters. Raises `ValueError` where they are too large together."""
    if sum(len(name) + len(value.encode()) for name, value in values.items()) > MAX_PARAMETERS_SIZE:
        raise ValueError(f"must have {MAX_PARAMETERS_SIZE} bytes at most, names and values together")
    return values


Parameters = Annotated[
    dict[ParameterName, ParameterValue],
    Field(max_length=MAX_PARAMETERS),
    AfterValidator(check_parameters_size),
]
JobId = Annotated[str, Field(pattern=r"^[a-z2-7]{12}$")]
UserName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,62}$")]
WHOLE = BeforeValidator(_whole)  # behind the bounds, which would not be in the JSON schema otherwise
Priority = Annotated[int, Field(ge=-10, le=10, strict=True), WHOLE]
MaxAttempts = Annotated[int, Field(ge=1, le=10, strict=True), WHOLE]
SecretName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
REF = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"
Ref = Annotated[str, Field(pattern=REF, max_length=255)]
NetworkName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


class Model(BaseModel):
    """Frozen, and strict about names: an unknown field is an error, not a wish that is silently dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class JobState(StrEnum):
    """Where a job is in its life. `docs/states.md` draws the arrows."""

    PENDING = "PENDING"
    CREATED = "CREATED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        """Whether the state is written once and stays."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


class Reason(StrEnum):
    """Why a job ended as it did; absent while it has not ended and after a plain success."""

    EXIT_CODE = "exit-code"
    SIGNAL = "signal"
    OOM_KILL = "oom-kill"
    TIMEOUT = "timeout"
    START_FAILED = "start-failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    ARTIFACT_QUOTA = "artifact-quota"
    STORAGE_FULL = "storage-full"


# What a job may be run again for: ends that nobody asked for.
RetryReason = Literal[
    Reason.EXIT_CODE,
    Reason.SIGNAL,
    Reason.OOM_KILL,
    Reason.TIMEOUT,
    Reason.START_FAILED,
    Reason.INTERRUPTED,
]
RetryReasons = Annotated[list[RetryReason], Field(min_length=1, max_length=6)]
RETRY_ON: list[RetryReason] = [Reason.INTERRUPTED, Reason.START_FAILED]


class Role(StrEnum):
    """What a certificate's holder may do; `agent.api.access` has the table.

    Analysts have their own jobs, operators look after everybody's, administrators may do all.
    """

    ANALYST = "analyst"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


class Principal(Model):
    """Who is asking, as their certificate and the store say at this moment."""

    user: UserName
    role: Role


class Certificate(Model):
    """A client certificate this host issued; `serial` is its serial number in lowercase hexadecimal.

    `authority` names who signed it (`pki.authority_id`; empty where there had been only one ever),
    `renews` the serial of the certificate under which its holder asked for it, `used_at` is when a request
    came with it for the first time, `fingerprint` the SHA-256 of all of it (empty where that was not kept).
    """

    serial: str
    user: UserName
    role: Role
    issued_at: Time
    expires_at: Time
    revoked_at: Time | None = None
    authority: str = ""
    renews: str | None = None
    used_at: Time | None = None
    fingerprint: str = ""

    def good_at(self, moment: datetime) -> bool:
        """Whether its holder is answered then."""
        return self.revoked_at is None and moment <= self.expires_at


class SigningRequest(Model):
    """A request for a new certificate in the place of the one that it is sent under.

    `csr` is a PKCS#10 signing request, in PEM or as the base64 of its DER. Only its key counts: who the
    new certificate names is who the old one names.
    """

    csr: Annotated[str, Field(min_length=1, max_length=MAX_SIGNING_REQUEST)]


class RenewedCertificate(Model):
    """A new certificate, and the authorities to trust from now on, one or two: both in PEM."""

    certificate: str
    ca_certificates: str
    serial: str
    expires_at: Time


class SecretEntry(Model):
    """A secret without its value. `user` is absent where it is for everybody's jobs.

    `age_seconds` is how long ago the value was set.
    """

    name: SecretName
    user: UserName | None = None
    created_at: Time
    updated_at: Time
    age_seconds: int


class SecretList(Model):
    """Secrets by name; for everybody's jobs before the user's own."""

    secrets: list[SecretEntry]


class SecretChange(SecretEntry):
    """A secret that was just set; `rotated` where there was an earlier value.

    `earlier_value_in` are jobs that run, and keep what they were given when they began.
    """

    rotated: bool
    earlier_value_in: list[JobId]


class Limits(Model):
    """What a job may use at the most; each but those of its artifacts is a property of its unit.

    `artifact_bytes` bounds all that it leaves in /artifacts, by size or by blocks, whichever is more, and so
    every file by itself; `artifact_files` counts names of whatever kind. The agent looks every few seconds.
    `grace_seconds` is the time between SIGTERM and SIGKILL; without it, what the site's template says.
    With less than a tenth of a CPU, a unit that is stopped might not write its exit record within that time.
    """

    memory_bytes: Annotated[int, Field(ge=16 * 2**20, le=2**50), WHOLE] | None = None
    cpus: Annotated[float, Field(ge=0.1, le=4096, allow_inf_nan=False)] | None = None
    tasks: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = None
    run_time_seconds: Annotated[int, Field(ge=1, le=30 * 24 * 3600), WHOLE] | None = None
    grace_seconds: Annotated[int, Field(ge=1, le=24 * 3600), WHOLE] | None = None
    artifact_bytes: Annotated[int, Field(ge=2**20, le=2**50), WHOLE] | None = None
    artifact_files: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = None

    def over(self, defaults: "Limits") -> "Limits":
        """These limits, and the defaults where they say nothing."""
        return defaults.model_copy(update=self.model_dump(exclude_none=True))


class RequestedLimits(Limits):
    """Limits as a client sends them: numbers, neither in quotes nor true or false."""

    model_config = ConfigDict(strict=True)


class JobRequest(Model):
    """The body of `POST /jobs`. Client values are data: none of them reaches a unit, a shell or a path."""

    script_name: Annotated[Text, Field(min_length=1, max_length=255)]
    hyperparameters: Parameters = {}
    ref: Ref | None = None
    name: Annotated[Text, Field(max_length=128)] | None = None
    labels: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[a-z][a-z0-9._/-]*$", max_length=63)],
            Annotated[Text, Field(max_length=255)],
        ],
        Field(max_length=MAX_LABELS),
    ] = {}
    limits: RequestedLimits = RequestedLimits()
    priority: Priority = 0
    max_attempts: MaxAttempts = 1
    retry_on: RetryReasons = RETRY_ON

    @model_validator(mode="after")
    def _names_differ_as_variables(self) -> Self:
        """Two parameters that differ only in case would be one environment variable."""
        if twice := same_variable(self.hyperparameters):
            raise ValueError("hyperparameters {} and {} would both be HP_{}".format(*twice, twice[0].upper()))
        return self


def same_variable(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two hyperparameters that would be one environment variable."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.upper(), name)
        if other != name:
            return other, name
    return None


class Rerun(Model):
    """The body of `POST /jobs/{id}/rerun`: what differs from the job that is run again."""

    hyperparameters: Parameters = {}
    limits: RequestedLimits = RequestedLimits()
    max_attempts: MaxAttempts | None = None
    retry_on: RetryReasons | None = None


class QueuePlace(Model):
    """Where a waiting job stands: `position` in the line, from 1, and what it `waits_for`, for people."""

    position: int
    waits_for: str


class JobQueuePlace(QueuePlace):
    """The place of a waiting job, in an event of its own."""

    job_id: JobId


class JobRemoved(Model):
    """A job that is no more: its record was removed."""

    job_id: JobId


class Reset(Model):
    """Why a watcher begins anew: what was known before counts no more, and what there is follows."""

    why: str


class Current(Model):
    """Everything up to here has been told: `jobs` of them in the snapshot, where there was one."""

    jobs: int | None = None


class Attempt(Model):
    """An attempt of a job that has ended: one invocation of its unit, or none where it did not begin."""

    number: int
    invocation_id: str | None = None
    container_id: str = ""
    exit_status: int | None = None
    reason: Reason | None = None
    message: str | None = None
    started_at: Time | None = None
    finished_at: Time


class RetentionRule(StrEnum):
    """Why something of a finished job was removed: it was too old, or there was too much of it."""

    AGE = "age"
    COUNT = "count"
    BYTES = "bytes"


class Removal(Model):
    """When retention removed a job's artifacts and log, and by which rule."""

    at: Time
    rule: RetentionRule


class Job(Model):
    """One job: what was asked, what it runs, where it is in its life.

    `revision` counts the changes of this record. `attempt` is the number, from 1, of the attempt that the
    record is about or, while the job waits, of the next one; `attempts` are those that have ended, and
    `not_before` is there while the job waits to be tried again. `container_id` is empty until Podman has made
    the container. `exit_status` is the script's, or 128 + the signal's number as Podman reports it. `queue`
    is there while the job waits; it changes with the other jobs, is not stored, and raises no revision.
    Retention leaves a `pinned` job alone; `removed` is there once it has removed artifacts and log.
    """

    job_id: JobId
    status: JobState
    reason: Reason | None = None
    message: str | None = None
    container_id: str = ""
    owner: UserName
    script_name: str
    hyperparameters: dict[str, str]
    name: str | None = None
    labels: dict[str, str] = {}
    limits: Limits
    priority: int = 0
    queue: QueuePlace | None = None
    rerun_of: JobId | None = None
    commit: str
    script_sha256: str
    image: str
    image_digest: str
    secrets: list[SecretName] = []
    network: NetworkName
    unit: str
    max_attempts: int = 1
    retry_on: list[RetryReason] = RETRY_ON
    attempt: int = 1
    attempts: list[Attempt] = []
    not_before: Time | None = None
    invocation_id: str | None = None
    exit_status: int | None = None
    cancel_requested: bool = False
    created_at: Time
    started_at: Time | None = None
    finished_at: Time | None = None
    pinned: bool = False
    removed: Removal | None = None
    revision: int = 1


class Change(Model):
    """The newest change of a job: its number, and the job as it is since then, or None once removed."""

    seq: int
    job_id: JobId
    owner: UserName
    job: Job | None


class History(Model):
    """Which changes are known: those after `forgotten`, up to `newest`, of one store (`epoch`)."""

    epoch: str
    forgotten: int
    newest: int


class JobPage(Model):
    """A page of `GET /jobs`, newest first; `next_cursor` is absent on the last one."""

    jobs: list[Job]
    next_cursor: str | None = None


class Use(Model):
    """What a user had of the host of late: seconds of the whole of it, decayed to the time `at`."""

    owner: UserName
    seconds: float
    at: datetime


class Versions(Model):
    """Of what runs the jobs; one that does not answer is absent."""

    agent: str
    systemd: str | None = None
    podman: str | None = None


class Resources(Model):
    """What jobs take of the host: places, and the sums of their limits."""

    jobs: int
    cpus: float
    memory_bytes: int


class UserQueue(Model):
    """A user's jobs that have not ended, and what they had of late, in seconds of the whole host."""

    user: UserName
    waiting: int
    running: int
    recent_use_seconds: float


class Host(Model):
    """The host's capacity and its queue. `users` are those with jobs or recent use: oneself, or all."""

    versions: Versions
    capacity: Resources
    in_use: Resources
    waiting: int
    running: int
    users: list[UserQueue]


MetricName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_./-]{0,63}$")]


class Progress(Model):
    """How far a job said it was, at the time of its line."""

    done: float
    total: float
    time: Time


class JobProgress(Progress):
    """A job's progress, in an event of its own."""

    job_id: JobId


class MetricPoint(Model):
    """One value of a metric. Without a step of its own, a point has the number of those before it."""

    step: int
    value: float
    time: Time


class JobMetric(MetricPoint):
    """A metric's newest value, in an event of its own."""

    job_id: JobId
    name: MetricName


class MetricSeries(Model):
    """A metric over time: of `count` values every `every`-th, from the first on, and the last one."""

    name: MetricName
    count: int
    every: int
    points: list[MetricPoint]


class JobMetrics(Model):
    """What a job said of its progress and metrics; `complete` once it has ended and its log is whole.

    `refused` counts values of metrics beyond the bound on their names.
    """

    job_id: JobId
    complete: bool
    progress: Progress | None = None
    series: list[MetricSeries] = []
    refused: int = 0


class Usage(Model):
    """What a job's unit uses now, as systemd counts it; what the host does not count is absent.

    `cpu_seconds` are since its start, of all its CPUs together.
    """

    job_id: JobId
    at: Time
    cpu_seconds: float | None = None
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    tasks: int | None = None


class LogSource(StrEnum):
    """Who wrote a line: the job's own processes, or systemd and Podman about them."""

    JOB = "job"
    SYSTEM = "system"


class LogLine(Model):
    """One line of a job's log; `number` is the job's own count, from 1.

    `continued` is true where journald has cut a long line: the next line goes on with it. `docs/logs.md` says
    what becomes of which bytes.
    """

    number: int
    time: Time
    source: LogSource
    text: str
    continued: bool | None = None


class LogGap(Model):
    """Lines that were printed and are lost, after line `after`.

    `count` is journald's own figure where it dropped them (of all units that share its rate limit), and
    absent where it removed them with an old journal file.
    """

    after: int
    count: int | None = None
    time: Time


class Artifact(Model):
    """A file that a job left in /artifacts; `path` is relative, with `/` between its parts."""

    path: str
    size: int
    sha256: str
    media_type: str


class ArtifactManifest(Model):
    """What a job left behind; `complete` once the job has ended and nothing changes any more."""

    job_id: JobId
    complete: bool
    artifacts: list[Artifact]
    skipped: list[str] = []


class ParameterType(StrEnum):
    """How a script will read a hyperparameter; on the wire each is a string."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


class Parameter(Model):
    """A hyperparameter as the script declares it; a `sensitive` one's value is not for the audit."""

    name: ParameterName
    type: ParameterType = ParameterType.STRING
    description: str = ""
    default: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: list[str] = []
    required: bool = False
    sensitive: bool = False


class Script(Model):
    """A runnable script: its file in the repository and the `# /// ml-job` block at its head.

    A script without a block takes any parameters, no secrets and the site's default limits and network.
    """

    script_name: str
    description: str = ""
    sha256: str
    parameters: list[Parameter] = []
    any_parameters: bool = False
    secrets: list[SecretName] = []
    network: NetworkName = "none"
    limits: Limits = Limits()


class ScriptList(Model):
    """What can be run at `commit`."""

    commit: str
    scripts: list[Script]


class FieldProblem(Model):
    """One refused value of a request."""

    field: str
    message: str


class ProblemDocument(Model):
    """RFC 9457. `type` ends in the stable code; `detail` says what is wrong, `hint` what would help."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    errors: list[FieldProblem] = []
