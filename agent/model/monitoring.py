"""What only a running agent knows of itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Live:
    """How many answers follow something, and how late the event loop was at the most in the last minute."""

    streams: int
    lag_seconds: float
