"""The one exception a user of `host` sees."""


class HostError(Exception):
    """What went wrong in one sentence, and what to do about it or, in lines, what was seen."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        if "\n" in self.hint:
            return f"{self.message}; {self.hint}"
        return f"{self.message} ({self.hint})" if self.hint else self.message
