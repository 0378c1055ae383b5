"""Progress bars and sparklines, drawn with characters."""

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


def bar_or_blank(progress: Progress | None) -> str:
    """The bar, or nothing for a job without progress."""
    return "" if progress is None else bar(progress)


def sparkline(values: Sequence[float], length: int = CURVE_LENGTH) -> str:
    """`▁▂▅▇`: at most `length` of the values, evenly spread, ending with the last one."""
    if len(values) > length:
        values = [values[-1 - (length - 1 - n) * (len(values) - 1) // (length - 1)] for n in range(length)]
    low, high = min(values), max(values)
    # Divided before they are subtracted: the difference of two floats may be infinite.
    scale = high / 2 - low / 2
    if scale == 0:
        return TICKS[0] * len(values)
    return "".join(TICKS[round((value / 2 - low / 2) / scale * (len(TICKS) - 1))] for value in values)


class Gauge:
    """The progress and metrics that a job prints into its log, as one line."""

    def __init__(self) -> None:
        self._marks = Collector()
        self._goes_on = False

    def consume(self, line: LogLine) -> bool:
        """Takes a line that is a mark of progress or metrics; returns whether it was one.

        The rest of a line that journald has cut is never a mark.
        """
        rest, self._goes_on = self._goes_on, bool(line.continued)
        time = int(line.time.timestamp() * 1000)
        return not rest and self._marks.add(line.text.encode("utf-8", "replace"), time)

    def text(self) -> str:
        """`━━━━━─────  50 %  30 of 60   loss 0.31 ▇▅▂▁`; empty before the first mark."""
        parts = []
        if progress := self._marks.progress:
            parts.append(f"{bar(progress)}  {progress.done:g} of {progress.total:g}")
        for series in self._marks.series()[:MAX_CURVES]:
            values = [point.value for point in series.points]
            parts.append(f"{series.name} {values[-1]:.4g} {sparkline(values)}")
        return "   ".join(parts)
