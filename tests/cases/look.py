"""One look at the host, and how it is printed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_SHOWN = 300  # characters of what is seen


@dataclass(frozen=True)
class Look:
    """What is seen of `what`, and what is right; `good` says whether it is."""

    what: str
    seen: str
    right: str
    good: bool

    def lines(self, case: str) -> Iterator[str]:
        """Three lines for a person."""
        yield f"{'ok' if self.good else 'NO':<4}{case}: {self.what}"
        yield f"      seen   {_shown(self.seen)}"
        yield f"      right  {_shown(self.right)}"


def same(what: str, seen: object, right: object) -> Look:
    """A look that is right if both are equal."""
    return Look(what, str(seen), str(right), seen == right)


def tells(what: str, seen: str, *words: str, never: Iterable[str] = ("Traceback",)) -> Look:
    """A look that is right if a text has all words, and none of those that it must not have."""
    unwanted = [word for word in never if word in seen]
    right = "has " + " and ".join(map(repr, words)) + "".join(f", not {word!r}" for word in unwanted)
    return Look(what, seen.strip() or "nothing", right, all(word in seen for word in words) and not unwanted)


def _shown(text: str) -> str:
    line = " / ".join(each.strip() for each in text.splitlines() if each.strip())
    line = line or "nothing"
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]} …"
