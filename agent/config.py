"""What can be configured: one frozen `Settings`, which `config_files` reads from its layers."""

import os
import re
import sys
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from .config_base import AbsolutePath, HttpSettings, Section, xdg
from .config_fleet import FleetSettings
from .model.base import NetworkName, format_number
from .model.inputs import Limits, ResolvedLimits
from .model.paths import JobPaths
from .model.ref import HEAD, RefGlob, ReviewRules

ENVIRONMENT_PREFIX = "ML_AGENT_"
SYSTEM_FILE = Path("/etc/ml-agent/config.toml")


def user_file() -> Path:
    """The service account's own configuration, the layer above `/etc/ml-agent/config.toml`."""
    override = os.environ.get(ENVIRONMENT_PREFIX + "CONFIG")
    return Path(override) if override else xdg("XDG_CONFIG_HOME", ".config") / "ml-agent/config.toml"


def default_state_directory() -> Path:
    """`$XDG_STATE_HOME/ml-agent`, or its place in the account's home."""
    return xdg("XDG_STATE_HOME", ".local/state") / "ml-agent"


def default_runtime_directory() -> Path:
    """`$XDG_RUNTIME_DIR`, or its value in a session of the account."""
    return xdg("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")


def _egress_target(target: str) -> str:
    if not EGRESS_TARGET.fullmatch(target):
        raise ValueError("must be NAME:PORT, such as db.example.com:443")
    if int(target.rpartition(":")[2]) > 65535:
        raise ValueError("the port must be from 1 to 65535")
    return target


# A value of Podman's Network=: without a space, quote, specifier or line break.
PodmanNetwork = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:,=/-]*$", max_length=255)]
EGRESS_TARGET = re.compile(r"(\*\.)?[a-z0-9][a-z0-9_-]*(\.[a-z0-9_][a-z0-9_-]*)*:[1-9][0-9]{0,4}")
EgressTarget = Annotated[str, Field(max_length=260), AfterValidator(_egress_target)]
ImageName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._:/-]*$", max_length=255)]


# The limits of a job by default and at most, where the site sets none: no more than the machine has.
CPUS = os.cpu_count() or 1
MEMORY_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
MEMORY_FOR_JOBS = MEMORY_BYTES * 4 // 5  # the rest is for the system, the agent and the file cache
DEFAULT_LIMITS = Limits(
    memory_bytes=min(2 * 2**30, MEMORY_FOR_JOBS),
    cpus=1.0,
    tasks=512,
    run_time_seconds=3600,
    artifact_bytes=8 * 2**30,
    artifact_files=10_000,
)
MAXIMUM_LIMITS = Limits(
    memory_bytes=MEMORY_BYTES,
    cpus=float(CPUS),
    tasks=4096,
    run_time_seconds=24 * 3600,
    grace_seconds=300,
    # The most that a manifest can have.
    artifact_bytes=64 * 2**30,
    artifact_files=10_000,
)
# What jobs must leave free for the agent's own record, by default.
MIN_FREE_BYTES = 2**30
MIN_FREE_INODES = 200_000  # inodes
MIN_FREE_SHARE = 20  # of a small file system, at most one part in this many
PINNED_SHARE = 10  # of the file system, one part in this many for each user's pinned jobs


def _bytes_of(system: os.statvfs_result) -> int:
    return system.f_blocks * system.f_frsize


class ScriptSettings(Section):
    """The reviewed training scripts: a git repository, a directory in it, and the commits that may run.

    A commit may run if a branch or a tag of `refs` leads to it; from `development_refs`, without secrets that
    users share. `docs/operations.md` says how to choose them.
    """

    repository: AbsolutePath
    directory: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$")] = "scripts"
    refs: Annotated[list[RefGlob], Field(min_length=1, max_length=100)] = [HEAD]
    development_refs: Annotated[list[RefGlob], Field(max_length=100)] = []
    require_signed: bool = False
    allowed_signers: AbsolutePath | None = None

    @model_validator(mode="after")
    def _signers_are_known(self) -> Self:
        if self.require_signed and self.allowed_signers is None:
            raise ValueError(
                "require_signed needs allowed_signers: the path of a file as ssh-keygen(1) describes it"
            )
        return self

    @property
    def review_rules(self) -> ReviewRules:
        """Which commits may run."""
        signers = self.allowed_signers if self.require_signed else None
        return ReviewRules(tuple(self.refs), tuple(self.development_refs), signers)


class JobSettings(Section):
    """The image of jobs, what all jobs together may have, and the limits of each by default and at most.

    `cpus` and `memory_bytes` bound the sum of the running jobs' limits. `unenforced_limits` says what becomes
    of jobs on a host whose systemd cannot enforce their limits.
    """

    image: ImageName = "localhost/ml-runner:latest"
    max_running: Annotated[int, Field(ge=1, le=1000)] = CPUS
    cpus: Annotated[float, Field(ge=0.1, le=4096, allow_inf_nan=False)] = float(CPUS)
    memory_bytes: Annotated[int, Field(ge=16 * 2**20, le=2**50)] = MEMORY_FOR_JOBS
    fair_share_half_life_seconds: Annotated[float, Field(ge=1, le=365 * 24 * 3600)] = 3600.0
    max_running_per_user: Annotated[int, Field(ge=1, le=1000)] | None = None
    max_waiting_per_user: Annotated[int, Field(ge=1, le=100_000)] = 1000
    max_snapshot_bytes_per_user: Annotated[int, Field(ge=0, le=2**60)] = 2**30
    max_input_bytes: Annotated[int, Field(ge=0, le=2**60)] = 8 * 2**30
    retry_delay_seconds: Annotated[float, Field(ge=0.1, le=300)] = 10.0
    min_free_bytes: Annotated[int, Field(ge=0, le=2**60)] | None = None
    min_free_inodes: Annotated[int, Field(ge=0, le=2**60)] | None = None
    unenforced_limits: Literal["refuse", "run"] = "refuse"
    default_limits: Limits = DEFAULT_LIMITS
    maximum_limits: Limits = MAXIMUM_LIMITS

    @field_validator("default_limits", "maximum_limits")
    @classmethod
    def _complete(cls, limits: Limits, info: ValidationInfo) -> Limits:
        """What the site leaves out keeps the package's value."""
        return limits.over(DEFAULT_LIMITS if info.field_name == "default_limits" else MAXIMUM_LIMITS)

    def resolve(self, limits: Limits) -> ResolvedLimits:
        """The limits of a job, and the defaults for what its record lacks: an older version knew fewer."""
        return ResolvedLimits.model_validate(limits.over(self.default_limits).model_dump())

    def free_floor(self, total_bytes: int) -> int:
        """How many bytes jobs must leave free of a file system of that size."""
        if self.min_free_bytes is not None:
            return self.min_free_bytes
        return min(MIN_FREE_BYTES, total_bytes // MIN_FREE_SHARE)

    def free_inode_floor(self, total_inodes: int) -> int:
        """How many inodes jobs must leave free of a file system that can have so many; 0 for any number."""
        if self.min_free_inodes is not None and total_inodes:
            return self.min_free_inodes
        return min(MIN_FREE_INODES, total_inodes // MIN_FREE_SHARE)

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        for name in ("cpus", "memory_bytes"):
            default, capacity = getattr(self.default_limits, name), getattr(self, name)
            if default > capacity:
                raise ValueError(
                    f"{name} is {format_number(capacity)}: no room for default_limits.{name},"
                    f" {format_number(default)}"
                )
        return self


class EgressSettings(Section):
    """Where jobs with this network may connect to; `docs/egress.md` says how that is enforced.

    `allow` lists `name:port`, and `*.name:port` for every name below it. The names may resolve to addresses
    of the public Internet and of the `private` networks.
    """

    allow: Annotated[list[EgressTarget], Field(min_length=1, max_length=1000)]
    private: list[IPv4Network | IPv6Network] = []


class RetentionSettings(Section):
    """How long finished jobs are kept, and how many; `docs/retention.md` says what is removed when.

    All users share the bounds. `max_bytes` and `max_files` are by default half of the bytes and half of the
    inodes of the file system that holds the state directory.
    """

    unit_hours: Annotated[float, Field(ge=0, le=24 * 36500, allow_inf_nan=False)] = 24.0
    max_units: Annotated[int, Field(ge=0, le=100_000)] = 200
    files_days: Annotated[float, Field(ge=0, le=36500, allow_inf_nan=False)] = 90.0
    max_bytes: Annotated[int, Field(ge=0, le=2**60)] | None = None
    max_files: Annotated[int, Field(ge=0, le=2**60)] | None = None
    record_days: Annotated[float, Field(ge=0, le=36500, allow_inf_nan=False)] = 365.0
    max_jobs: Annotated[int, Field(ge=0, le=10_000_000)] = 100_000
    max_record_bytes: Annotated[int, Field(ge=2**20, le=2**60)] = 2**30
    at_least_hours: Annotated[float, Field(ge=0, le=24 * 36500, allow_inf_nan=False)] = 1.0
    max_snapshot_bytes: Annotated[int, Field(ge=0, le=2**60)] = 4 * 2**30
    max_pinned_per_user: Annotated[int, Field(ge=0, le=100_000)] = 20
    max_pinned_bytes_per_user: Annotated[int, Field(ge=0, le=2**60)] | None = None

    def byte_limit(self, system: os.statvfs_result) -> int:
        """How many bytes the files of finished jobs may take of that file system."""
        return _bytes_of(system) // 2 if self.max_bytes is None else self.max_bytes

    def pin_limit(self, system: os.statvfs_result) -> int:
        """How many bytes of that file system a user's pinned jobs may take."""
        if self.max_pinned_bytes_per_user is not None:
            return self.max_pinned_bytes_per_user
        return _bytes_of(system) // PINNED_SHARE

    @property
    def record_limit_per_user(self) -> int:
        """How many bytes the records of a user's jobs may take, with those too young for retention."""
        return 2 * self.max_record_bytes

    def file_limit(self, system: os.statvfs_result) -> int:
        """How many they may be. Some file systems have no bound on files."""
        return (system.f_files // 2 or sys.maxsize) if self.max_files is None else self.max_files

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.files_days > self.record_days:
            raise ValueError(
                f"files_days is {self.files_days:g} and record_days {self.record_days:g}: a job's files"
                " cannot outlive its record; lower files_days, or raise record_days"
            )
        return self


class CertificateSettings(Section):
    """How many days clients' certificates are valid, and how many valid ones a user may have by renewing."""

    client_days: Annotated[int, Field(ge=1, le=825)] = 30
    max_client_days: Annotated[int, Field(ge=1, le=825)] = 365
    max_per_user: Annotated[int, Field(ge=2, le=10_000)] = 100

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.client_days > self.max_client_days:
            raise ValueError(
                f"client_days is {self.client_days} and max_client_days {self.max_client_days}:"
                " lower the first, or raise the second"
            )
        return self


class Settings(BaseSettings):
    """The whole configuration. The environment overrides the user's file, and that the system's."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        env_parse_none_str="",
        extra="forbid",
        frozen=True,
    )

    state_directory: Annotated[AbsolutePath, Field(default_factory=default_state_directory)]
    runtime_directory: Annotated[AbsolutePath, Field(default_factory=default_runtime_directory)]
    scripts: ScriptSettings
    jobs: JobSettings = JobSettings()
    http: HttpSettings = HttpSettings()
    retention: RetentionSettings = RetentionSettings()
    certificates: CertificateSettings = CertificateSettings()
    fleet: FleetSettings | None = None
    networks: dict[NetworkName, PodmanNetwork] = {}
    egress: dict[NetworkName, EgressSettings] = {}
    policy_directories: list[AbsolutePath] = Field(
        default_factory=lambda: [Path("/etc/ml-agent"), user_file().parent]
    )

    @field_validator("egress")
    @classmethod
    def _one_meaning(
        cls, egress: dict[str, EgressSettings], info: ValidationInfo
    ) -> dict[str, EgressSettings]:
        if twice := sorted((info.data.get("networks", {}).keys() | {"none"}) & egress.keys()):
            raise ValueError(f"another network already has the name {twice[0]}")
        return egress

    @model_validator(mode="after")
    def _one_program_a_port(self) -> Self:
        fleet = self.fleet
        if fleet and fleet.host and fleet.front and fleet.front.http.port == self.http.port:
            raise ValueError(
                f"fleet.front.http.port is {self.http.port}, the agent's port, too: choose another"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment overrides keyword arguments, which are the merged files."""
        return (env_settings, init_settings)

    @property
    def database(self) -> Path:
        """The SQLite file of jobs and certificates."""
        return self.state_directory / "jobs.db"

    @property
    def pki_directory(self) -> Path:
        """The private CA and the server's certificate."""
        return self.state_directory / "pki"

    @property
    def podman_socket(self) -> Path:
        """Where `podman.socket` listens."""
        return self.runtime_directory / "podman/podman.sock"

    @property
    def snapshots_directory(self) -> Path:
        """Where the scripts of each commit that jobs run are kept."""
        return self.state_directory / "snapshots"

    def paths_of(self, job_id: str) -> JobPaths:
        """Where the files of a job are."""
        return JobPaths(self.state_directory / "jobs", self.runtime_directory, job_id)

    def network(self, name: str) -> str | None:
        """The Podman network for a script's `network`; None if the site has none of that name."""
        return "none" if name == "none" or name in self.egress else self.networks.get(name)

    def egress_directory(self, name: str) -> Path:
        """Where the proxy of an `[egress.<name>]` has its socket, as the socket unit says."""
        return self.runtime_directory / "ml-egress" / name


def shipped(directory: str) -> Path:
    """The absolute path of `units`, `quadlets` or `images` as this version ships them.

    They stand beside the package in a checkout, and below `share` in an installed wheel.
    """
    package = Path(__file__).absolute().parent
    installed = package / "share" / directory
    return installed if installed.is_dir() else package.parent / directory
