"""In what two jobs differ, by their records; pure functions."""

from collections.abc import Mapping

from ..model.base import format_number
from ..model.comparison import CommitDifference, Difference, JobDifference, MetricDifference, MetricSummary
from ..model.inputs import JobInput, Limits
from ..model.job import Job

Metrics = Mapping[str, MetricSummary]
Packages = Mapping[str, str]  # versions by name


def difference(
    a: Job,
    b: Job,
    metrics_a: Metrics,
    metrics_b: Metrics,
    commit: CommitDifference | None,
    packages: tuple[Packages, Packages] = ({}, {}),
) -> JobDifference:
    """Everything in which two jobs differ.

    `commit` is what lies between their commits, `packages` those of the two images, if known.
    """
    script = Difference(name="script", a=a.script_name, b=b.script_name)
    image = Difference(name="image", a=a.image_digest or a.image, b=b.image_digest or b.image)
    return JobDifference(
        a=a.job_id,
        b=b.job_id,
        script=script if script.a != script.b else None,
        commit=commit,
        image=image if image.a != image.b else None,
        packages=_differences(*packages) if all(packages) else [],
        hyperparameters=_differences(a.hyperparameters, b.hyperparameters),
        limits=_differences(_limits(a.limits), _limits(b.limits)),
        inputs=_differences(_inputs(a), _inputs(b)),
        metrics=[
            _metric(name, metrics_a.get(name), metrics_b.get(name))
            for name in dict.fromkeys([*metrics_a, *metrics_b])
        ],
    )


def _differences(a: Mapping[str, str], b: Mapping[str, str]) -> list[Difference]:
    """The names whose values differ, in the order of `a`, and then of `b`."""
    names = dict.fromkeys([*a, *b])
    return [
        Difference(name=name, a=a.get(name), b=b.get(name)) for name in names if a.get(name) != b.get(name)
    ]


def _limits(limits: Limits) -> dict[str, str]:
    return {name: format_number(value) for name, value in limits.model_dump(exclude_none=True).items()}


def _inputs(job: Job) -> dict[str, str]:
    """The jobs that it waited for, and what it saw in /inputs. A job's id and a digest tell the bytes."""
    after = {"after": ", ".join(job.after)} if job.after else {}
    return after | {f"/inputs/{name}": _input(each) for name, each in sorted(job.inputs.items())}


def _input(each: JobInput) -> str:
    alias = f" ({each.model}@{each.alias})" if each.model else ""
    digest = f", sha256:{each.sha256}" if each.sha256 else ""
    return f"{each.path} of {each.job_id}{alias}{digest}"


def _metric(name: str, a: MetricSummary | None, b: MetricSummary | None) -> MetricDifference:
    return MetricDifference(name=name, a=a, b=b, change=b.last - a.last if a and b else None)
