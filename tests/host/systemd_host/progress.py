"""What a person sees while something slow happens; always on standard error."""

import sys


def say(text: str) -> None:
    """Print one line about a step that begins or has ended."""
    print(f"host: {text}", file=sys.stderr, flush=True)


class Counter:
    """Steps of a long task: one line that is rewritten on a terminal, else one line for each phase."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._phase = ""
        self._steps = 0

    def step(self, phase: str) -> None:
        """Count one more step of `phase`; a new phase starts at one."""
        if phase != self._phase:
            self.close()
            self._phase, self._steps = phase, 0
            if not self._tty:
                say(f"  {phase} …")
        self._steps += 1
        if self._tty:
            print(f"\rhost:   {phase} … {self._steps}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line of the current phase."""
        if self._tty and self._phase:
            print(file=sys.stderr, flush=True)
        self._phase = ""
