"""Progress bars and sparklines, as they are drawn."""

import pytest

from agent.cli.job.render import bar, sparkline
from agent.model.base import now
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
