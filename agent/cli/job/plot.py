"""Compared jobs as a picture: parallel coordinates, metric curves, and which parameters matter.

Only this module imports matplotlib, which is an extra: requirements-plot.txt.
"""

import importlib.util
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...model.comparison import ComparedJob, Comparison
from ...model.metric import MetricSeries
from ...model.sweep import Direction, Objective
from ..failure import Failure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("png", "svg")
MAX_CURVES = 20  # jobs whose curves are drawn: the best
MAX_AXES = 12  # parameters in the parallel coordinates: those that matter most
MAX_LABELS = 8  # values of an axis that are words
INCHES, DOTS = (11, 11), 120
WORD = 24  # characters of a value that are shown


def check_installed() -> None:
    """Raises `Failure` where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise Failure(
            "--plot needs matplotlib, which is not installed here.",
            "Install it beside ml-job: pip install --require-hashes -r requirements-plot.txt",
        )


def decided(compared: Comparison, objective: Objective) -> list[ComparedJob]:
    """The jobs that have reported the metric that decides, the best first."""
    rows = [job for job in compared.jobs if objective.metric in (job.metrics or {})]
    return sorted(
        rows,
        key=lambda job: last_of(job, objective),
        reverse=objective.direction is Direction.MAXIMIZE,
    )


def last_of(job: ComparedJob, objective: Objective) -> float:
    """The last value of the metric that decides."""
    assert job.metrics is not None
    return job.metrics[objective.metric].last


def scaled(texts: Sequence[str]) -> tuple[list[float], list[tuple[float, str]]]:
    """Values of one axis from 0 to 1, and what stands at which height: numbers in order, or words."""
    try:
        numbers = [float(text) for text in texts]
        low, high = min(numbers), max(numbers)
        if not abs(high - low) < float("inf"):  # also where one is no finite number
            raise ValueError
    except ValueError:
        words = list(dict.fromkeys(texts))
        place = {word: index / max(1, len(words) - 1) for index, word in enumerate(words)}
        return [place[text] for text in texts], [(place[word], word) for word in words]
    span = high - low or 1.0
    return [(number - low) / span for number in numbers], [(0.0, f"{low:g}"), (1.0, f"{high:g}")]


def importance(texts: Sequence[str], values: Sequence[float]) -> float:
    """How much of the order of the values one parameter explains by itself, from 0 to 1.

    For numbers, the square of Spearman's rank correlation; for words, the correlation ratio of the ranks.
    """
    ranks = ranked(values)
    mean = sum(ranks) / len(ranks)
    total = sum((rank - mean) ** 2 for rank in ranks)
    if total == 0:
        return 0.0
    try:
        own = ranked([float(text) for text in texts])
    except ValueError:
        groups: dict[str, list[float]] = {}
        for text, rank in zip(texts, ranks, strict=True):
            groups.setdefault(text, []).append(rank)
        return sum(len(each) * (sum(each) / len(each) - mean) ** 2 for each in groups.values()) / total
    of_own = sum((rank - mean) ** 2 for rank in own)
    shared = sum((a - mean) * (b - mean) for a, b in zip(own, ranks, strict=True))
    return shared**2 / (of_own * total) if of_own else 0.0


def ranked(values: Sequence[float]) -> list[float]:
    """The place of each value in their order, from 0; equal ones share the mean of their places."""
    order = sorted(values)
    first = {value: order.index(value) for value in set(values)}
    count = {value: order.count(value) for value in set(values)}
    return [first[value] + (count[value] - 1) / 2 for value in values]


def drawn(
    jobs: Sequence[ComparedJob], objective: Objective, curves: Mapping[str, MetricSeries], file_format: str
) -> bytes:
    """The picture as PNG or SVG. `jobs` are those of `decided`, and `curves` are by the job's id."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "ml-job"}
    figure = Figure(figsize=INCHES, layout="constrained")
    parallel, progress, bars = figure.subplots(3, 1)
    values = [last_of(job, objective) for job in jobs]
    found = {
        name: importance([job.hyperparameters.get(name, "") for job in jobs], values)
        for name in dict.fromkeys(name for job in jobs for name in job.hyperparameters)
    }
    names = sorted(found, key=lambda name: -found[name])[:MAX_AXES]
    _draw_parallel(parallel, jobs, [name for name in names if _varies(jobs, name)], objective, values)
    _draw_curves(progress, jobs, curves, objective)
    _draw_importance(bars, names, found)
    file = io.BytesIO()
    metadata = {"Date": None} if file_format == "svg" else None  # the same jobs make the same picture
    figure.savefig(file, format=file_format, dpi=DOTS, metadata=metadata)
    return file.getvalue()


def _varies(jobs: Sequence[ComparedJob], name: str) -> bool:
    return len({job.hyperparameters.get(name) for job in jobs}) > 1


def _draw_parallel(
    axes: "Axes", jobs: Sequence[ComparedJob], names: list[str], objective: Objective, values: list[float]
) -> None:
    from matplotlib import colormaps

    columns = [[job.hyperparameters.get(name, "") for job in jobs] for name in names]
    columns.append([repr(value) for value in values])
    lines, marks = zip(*map(scaled, columns), strict=True)
    colours = colormaps["viridis"]
    for row in range(len(jobs)):
        good = lines[-1][row] if objective.direction is Direction.MAXIMIZE else 1 - lines[-1][row]
        heights = [line[row] for line in lines]
        axes.plot(heights, color=colours(good), alpha=0.4 + 0.6 * good, linewidth=1 + good, zorder=good)
    for place, mark in enumerate(marks):
        axes.axvline(place, color="0.7", linewidth=0.8, zorder=-1)
        for height, text in mark[:MAX_LABELS]:
            axes.annotate(text[:WORD], (place, height), fontsize=8, xytext=(3, 2), textcoords="offset points")
    axes.set_xticks(range(len(columns)), [*names, objective.metric], fontsize=9)
    axes.set_yticks([])
    axes.set_title(f"{len(jobs)} jobs; the brighter, the better by {objective.metric}", loc="left")


def _draw_curves(
    axes: "Axes", jobs: Sequence[ComparedJob], curves: Mapping[str, MetricSeries], objective: Objective
) -> None:
    for job in jobs:
        if job.job_id in curves:
            points = curves[job.job_id].points
            best = job is jobs[0]
            axes.plot(
                [point.step for point in points],
                [point.value for point in points],
                linewidth=2.5 if best else 1,
                marker="." if len(points) == 1 else "",
                label=f"{job.job_id} (the best)" if best else job.job_id,
            )
    axes.set_xlabel("step")
    axes.set_ylabel(objective.metric)
    axes.set_title(f"{objective.metric} of the best {len(curves)}", loc="left")
    if curves:
        axes.legend(fontsize=7, ncols=2)


def _draw_importance(axes: "Axes", names: list[str], found: Mapping[str, float]) -> None:
    shown = names[::-1]  # the first one at the top
    axes.barh(shown, [found[name] for name in shown])
    axes.set_xlim(0, 1)
    axes.set_title("how much of the jobs' order each parameter explains by itself", loc="left")
