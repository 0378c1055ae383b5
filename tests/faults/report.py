"""What was made, and what came of it: a row for each fault, and the sentences behind every violation."""

from collections.abc import Sequence
from dataclasses import dataclass

from .audit import PROMISES, Verdict


@dataclass(frozen=True)
class Made:
    """A fault, how many times it was made, and the verdict on the jobs that it met."""

    fault: str
    times: int
    verdict: Verdict

    @property
    def row(self) -> str:
        """The table's line."""
        counts = "".join(f"{len(self.verdict.violations[number]):>5}" for number in PROMISES)
        return f"{self.fault:<34}{self.times:>6}{self.verdict.jobs:>6}{counts}"


HEAD = f"{'fault':<34}{'made':>6}{'jobs':>6}" + "".join(f"{f'P{number}':>5}" for number in PROMISES)


def failed(made: Sequence[Made]) -> bool:
    """Whether any promise was broken, or a fault not made."""
    return any(not each.times for each in made) or any(
        sentences for each in made for sentences in each.verdict.violations.values()
    )


def sentences(made: Made) -> list[str]:
    """Each violation."""
    return [
        f"    promise {number}: {sentence}"
        for number, found in made.verdict.violations.items()
        for sentence in found
    ]
