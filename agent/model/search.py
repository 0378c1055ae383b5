"""What a list of jobs is asked for beyond their state, script and owner: labels, a metric, an order."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .job import JobState
from .metric import MetricName

MAX_LABEL_FILTERS = 8
LABEL = r"^[a-z][a-z0-9._/-]{0,62}=[^\x00-\x1f\x7f-\x9f]{0,255}$"
LabelFilter = Annotated[str, Field(pattern=LABEL)]


class Order(StrEnum):
    """The order of a list of jobs: by age, or by the last value of a metric."""

    NEWEST = "newest"
    OLDEST = "oldest"
    HIGHEST = "highest"
    LOWEST = "lowest"


@dataclass(frozen=True)
class JobSearch:
    """Which jobs, and in which order. None is anything; `labels` must all be there.

    With a `metric`, only jobs that have ended and have reported it. `after` is the number in a `next_cursor`.
    """

    owner: str | None = None
    status: JobState | None = None
    script: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    metric: MetricName | None = None
    order: Order = Order.NEWEST
    after: int | None = None
    limit: int = 50
