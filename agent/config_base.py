"""What the parts of the configuration share: tables, paths, and the bounds of an HTTPS server."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def xdg(variable: str, fallback: str) -> Path:
    """A base directory of the XDG specification, which ignores relative values."""
    value = Path(os.environ.get(variable, ""))
    return value if value.is_absolute() else Path.home() / fallback


def _absolute(path: Path) -> Path:
    expanded = path.expanduser()
    if not expanded.is_absolute():
        raise ValueError("must be an absolute path, or start with ~/")
    return expanded


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class Section(BaseModel):
    """A table. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Seconds = Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)]


class HttpSettings(Section):
    """The HTTPS server's bounds. `docs/limits.md` says what clients see of them."""

    port: Annotated[int, Field(ge=1, le=65535)] = 8443
    max_body_bytes: Annotated[int, Field(ge=1024, le=16 * 2**20)] = 256 * 2**10
    max_followers: Annotated[int, Field(ge=1, le=10_000)] = 1000
    max_followers_per_user: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_connections: Annotated[int, Field(ge=1, le=50_000)] | None = None
    max_connections_per_user: Annotated[int, Field(ge=1, le=50_000)] | None = None
    max_handshakes: Annotated[int, Field(ge=1, le=10_000)] = 1024
    requests_per_second: Annotated[float, Field(ge=0.1, le=100_000, allow_inf_nan=False)] = 100.0
    request_burst: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    handshake_seconds: Seconds = 10.0
    header_seconds: Seconds = 10.0
    body_seconds: Seconds = 30.0
    idle_seconds: Seconds = 30.0
    unread_seconds: Seconds = 30.0
    max_secrets_per_user: Annotated[int, Field(ge=0, le=1000)] = 20
    idle_exit_seconds: Annotated[float, Field(ge=1)] = 60.0

    @property
    def connections(self) -> int:
        """The most connections: by default, followers and some room for requests."""
        return self.max_connections or self.max_followers + 1000

    @property
    def connections_per_user(self) -> int:
        """The most connections of one user."""
        return self.max_connections_per_user or self.max_followers_per_user + 50
