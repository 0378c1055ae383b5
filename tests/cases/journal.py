"""Cases of journald's settings that break what logs promise: the doctor tells them."""

import contextlib
from collections.abc import Iterator

from .look import Look, same
from .place import Place

DROP_IN = "/etc/systemd/journald.conf.d/99-cases.conf"
SETTINGS = {
    "Storage=volatile": ("Storage=volatile",),
    "Storage=none": ("Storage=none",),
    "SystemMaxUse=8M": ("SystemMaxUse=8M",),
    "RateLimitIntervalSec=10s": ("rate limit",),
    "MaxLevelStore=warning": ("MaxLevelStore=warning",),
    "LineMax=512": ("LineMax=512",),
    "SplitMode=none": ("SplitMode=none",),
    "MaxRetentionSec=1h": ("MaxRetentionSec=1h",),
}


def settings(place: Place) -> Iterator[Look]:
    """The doctor names each setting that breaks a promise, and is content without them."""
    yield same("the doctor on the settings that are installed", _complaints(place), "")
    for line, words in SETTINGS.items():
        more = "RateLimitBurst=1000\n" if line.startswith("RateLimit") else ""
        with _set(place, f"{line}\n{more}"):
            told = _complaints(place)
        good = all(word in told for word in words) and "journald.conf" in told
        yield Look(
            line, told or "nothing", f"warn or fail that names {' and '.join(words)}, and a remedy", good
        )
    yield same("the doctor, once they are removed", _complaints(place), "")


def _complaints(place: Place) -> str:
    """What the doctor says of the journal that is not ok."""
    found = [one for one in place.doctor() if one["subject"] in ("journal", "log retention", "lost lines")]
    return "\n".join(" ".join(one.values()) for one in found if one["level"] != "ok")


@contextlib.contextmanager
def _set(place: Place, lines: str) -> Iterator[None]:
    """journald has these settings while the body runs."""
    place.as_root("sh", "-c", f"printf '[Journal]\\n%s' '{lines}' > {DROP_IN}")
    try:
        _restart(place)
        yield
    finally:
        place.as_root("rm", "-f", DROP_IN)
        _restart(place)


def _restart(place: Place) -> None:
    place.as_root("systemctl", "reset-failed", "systemd-journald.service")
    place.as_root("systemctl", "restart", "systemd-journald.service")
    place.as_root("journalctl", "--flush")
