"""What requests may say, by name, as `docs/api.md` describes it; and how hyperparameters become text."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

Value = str | int | float | bool
Values = Mapping[str, Value]


class _Common(TypedDict, total=False):
    name: str
    labels: Mapping[str, str]


class RerunOptions(_Common, total=False):
    """The differences of a rerun, beside its hyperparameters."""

    limits: Mapping[str, float]
    max_attempts: int
    retry_on: Sequence[str]


class _New(RerunOptions, total=False):
    """`inputs` has, by name, `{"job_id": ID, "path": PATH}` or `{"model": NAME, "alias": ALIAS}`."""

    ref: str
    priority: int
    inputs: Mapping[str, Mapping[str, str]]


class JobOptions(_New, total=False):
    """What a new job may say, beside its script and hyperparameters."""

    after: Sequence[str]


class SweepOptions(_New, total=False):
    """What a new sweep may say, beside its script, hyperparameters, space and objective."""

    strategy: str
    trials: int
    at_once: int
    pruner: str
    seed: int


def texts(values: Values) -> dict[str, str]:
    """Hyperparameters as the contract has them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()
    }
