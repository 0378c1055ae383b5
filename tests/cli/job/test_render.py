"""Progress bars and sparklines, as they are drawn."""

import pytest

from agent.cli.job.render import Gauge, bar, sparkline
from agent.model.base import now
from agent.model.log import LogLine, LogSource, LogStream
from agent.model.metric import Progress


@pytest.mark.parametrize(
    ("done", "shown"), [(0, "──────────   0 %"), (5, "━━━━━─────  50 %"), (10, "━━━━━━━━━━ 100 %")]
)
def test_a_bar(done: float, shown: str) -> None:
    assert bar(Progress(done=done, total=10, time=now()), 10) == shown


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1], "▁"),
        ([1, 1], "▁▁"),
        ([0, 7], "▁█"),
        ([3, 2, 1, 0], "█▆▃▁"),
        ([-1e308, 1e308], "▁█"),
        ([0, 5e-324], "▁▁"),
        (list(range(8)), "▁▂▃▄▅▆▇█"),
        (list(range(1000)), "▁▂▃▄▅▆▇█"),
    ],
)
def test_a_sparkline(values: list[float], shown: str) -> None:
    assert sparkline(values, 8) == shown


def test_the_rest_of_a_cut_line_is_no_mark_and_hides_none_of_the_other_stream() -> None:
    gauge = Gauge()

    def shown(value: int, stream: LogStream, *, continued: bool = False) -> bool:
        text = f'::metric {{"name": "loss", "value": {value}}}'
        return gauge.consume(
            LogLine(number=1, time=now(), source=LogSource.JOB, stream=stream, text=text, continued=continued)
        )

    assert not gauge.consume(
        LogLine(
            number=1, time=now(), source=LogSource.JOB, stream=LogStream.STDERR, text="\rbar", continued=True
        )
    )
    assert shown(1, LogStream.STDOUT)
    assert not shown(2, LogStream.STDERR)
    assert shown(3, LogStream.STDERR)
    assert gauge.text() == "loss 3 ▁█"
