"""Progress bars and sparklines, in characters."""

from collections.abc import Sequence

from ...logs.metrics import Collector
from ...model.log import LogLine
from ...model.metric import Progress

BAR_LENGTH = 20
CURVE_LENGTH = 16
TICKS = "▁▂▃▄▅▆▇█"
MAX_CURVES = 4  # on a line


def bar(progress: Progress, length: int = BAR_LENGTH) -> str:
    """`━━━━━─────  50 %`."""
    part = progress.done / progress.total
    full = int(part * length)
    return f"{'━' * full}{'─' * (length - full)} {part:4.0%}".replace("%", " %")


def sparkline(values: Sequence[float], length: int = CURVE_LENGTH) -> str:
    """`▁▂▅▇`: at most so many of the values, evenly spread, the last one at the end."""
    if len(values) > length:
        values = [values[-1 - (length - 1 - n) * (len(values) - 1) // (length - 1)] for n in range(length)]
    low, high = min(values), max(values)
    # Divided first: the difference of two numbers may be larger than any number.
    scale = high / 2 - low / 2
    if scale == 0:
        return TICKS[0] * len(values)
    return "".join(TICKS[round((value / 2 - low / 2) / scale * (len(TICKS) - 1))] for value in values)


class Gauge:
    """What a job says of its progress and metrics in its log, as one line."""

    def __init__(self) -> None:
        self._said = Collector()
        self._goes_on = False

    def take(self, line: LogLine) -> bool:
        """Whether a line that the job printed is such a mark, and so need not be shown itself.

        What journald has cut off a long line is no line of the job's.
        """
        rest, self._goes_on = self._goes_on, bool(line.continued)
        time = int(line.time.timestamp() * 1000)
        return not rest and self._said.take(line.text.encode("utf-8", "replace"), time)

    def text(self) -> str:
        """`━━━━━─────  50 %  30 of 60   loss 0.31 ▇▅▂▁`, or nothing as long as there is nothing."""
        parts = []
        if progress := self._said.progress:
            parts.append(f"{bar(progress)}  {progress.done:g} of {progress.total:g}")
        for series in self._said.series()[:MAX_CURVES]:
            values = [point.value for point in series.points]
            parts.append(f"{series.name} {values[-1]:.4g} {sparkline(values)}")
        return "   ".join(parts)
