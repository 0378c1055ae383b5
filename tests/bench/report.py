"""Figures as a table for people, and whole for programs."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NAME_WIDTH = 40


@dataclass(frozen=True)
class Series:
    """What was measured of one contender, in the order of the rounds."""

    name: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle of the values."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Below the first are a quarter of the values, above the second another one."""
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        first, _, third = statistics.quantiles(self.values, n=4, method="inclusive")
        return first, third


def table(title: str, unit: str, rows: Sequence[Series], against: Sequence[str]) -> str:
    """Median, quartiles and extremes of each row, and its median over that of each row named in `against`."""
    bases = [row for row in rows if row.name in against]
    head = f"{title:<{NAME_WIDTH}}{unit:>9}{'quartiles':>17}{'min - max':>17}"
    lines = [head + "".join(f"{'/ ' + base.name.split(',')[0]:>19}" for base in bases)]
    for row in rows:
        low, high = row.quartiles
        figures = f"{row.median:>9.1f}{_range(low, high)}{_range(min(row.values), max(row.values))}"
        ratios = "".join(f"{row.median / base.median:>19.2f}" for base in bases)
        lines.append(f"{row.name:<{NAME_WIDTH}}{figures}{ratios}")
    return "\n".join(lines)


def _range(low: float, high: float) -> str:
    return f"{f'{low:.1f} - {high:.1f}':>17}"


def phase_table(columns: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Medians in milliseconds by phase; `columns` is seconds by contender and phase."""
    names = list(columns)
    phases = list(columns[names[0]])
    width = max(map(len, phases)) + 2
    lines = [f"{'where the time goes, ms':<{width}}" + "".join(f"{_brief(name):>24}" for name in names)]
    for phase in phases:
        medians = "".join(f"{1000 * statistics.median(columns[name][phase]):>24.1f}" for name in names)
        lines.append(f"{phase:<{width}}{medians}")
    return "\n".join(lines)


def _brief(name: str) -> str:
    return name.partition(", ")[2] or name


def write_json(
    path: Path,
    machine: Mapping[str, str],
    figures: Mapping[str, Sequence[Series]],
    phases: Mapping[str, Mapping[str, Sequence[float]]],
) -> None:
    """Every single value, by figure and contender; phases are in seconds."""
    values = {figure: {row.name: row.values for row in rows} for figure, rows in figures.items()}
    document = {"machine": machine, **values, "phases_s": phases}
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
