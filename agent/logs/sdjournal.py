"""sd-journal(3) by ctypes: the one interface to the journal that shows an entry as soon as it is written.

Only calls without callbacks are used: callbacks need memory that is both writable and executable, which the
agent's unit forbids.
"""

import ctypes
import errno
import functools
import os
from collections.abc import Sequence

from ..host import libsystemd

LOCAL_ONLY = 1 << 0  # SD_JOURNAL_LOCAL_ONLY
# What sd_journal_get_data(3) says of a field that the entry does not have, and of an entry that is gone.
ABSENT = -errno.ENOENT
NO_PLACE = -errno.EADDRNOTAVAIL  # of a handle that stands at no entry, as when its file has been deleted
INVALIDATE = 2  # SD_JOURNAL_INVALIDATE of sd_journal_process(3): files came or went


class JournalError(Exception):
    """A call of sd-journal(3) failed; the handle is of no use any more."""


@functools.cache
def _library() -> ctypes.CDLL:
    """Raises `AgentError` (host) where there is no libsystemd."""
    library = libsystemd.library()
    handle, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
    pointer = ctypes.POINTER
    for name, arguments in {
        "sd_journal_open": (pointer(handle), ctypes.c_int),
        "sd_journal_set_data_threshold": (handle, size),
        "sd_journal_add_match": (handle, ctypes.c_void_p, size),
        "sd_journal_add_disjunction": (handle,),
        "sd_journal_seek_head": (handle,),
        "sd_journal_seek_tail": (handle,),
        "sd_journal_previous": (handle,),
        "sd_journal_next": (handle,),
        "sd_journal_get_fd": (handle,),
        "sd_journal_process": (handle,),
        "sd_journal_get_data": (handle, text, pointer(ctypes.c_void_p), pointer(size)),
        "sd_journal_get_cursor": (handle, pointer(ctypes.c_void_p)),
        "sd_journal_get_realtime_usec": (handle, pointer(ctypes.c_uint64)),
    }.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    library.sd_journal_close.argtypes, library.sd_journal_close.restype = (handle,), None
    return library


@functools.cache
def _free() -> "ctypes._NamedFuncPointer":
    free = ctypes.CDLL(None).free
    free.argtypes, free.restype = (ctypes.c_void_p,), None
    return free


class Entries:
    """The entries that there are, in their order, that have all fields of one of the groups.

    Of a field that is given twice in a group, either value. To be used by the thread that made it, and by no
    other (sd-journal(3)).
    """

    def __init__(self, *groups: Sequence[bytes]) -> None:
        """Begins before the oldest. Raises `JournalError`, `AgentError` (host)."""
        self._library = _library()
        self._handle = ctypes.c_void_p()
        self._data, self._size = ctypes.c_void_p(), ctypes.c_size_t()
        self._time = ctypes.c_uint64()
        self._check("open", self._library.sd_journal_open(ctypes.byref(self._handle), LOCAL_ONLY))
        try:
            self._call("set_data_threshold", 0)
            self._begin()
            for group in groups:
                self._call("add_disjunction")
                for match in group:
                    self._call("add_match", match, len(match))
        except JournalError:
            self.close()
            raise

    def _begin(self) -> None:
        self._call("seek_head")

    def close(self) -> None:
        """Closes every file."""
        self._library.sd_journal_close(self._handle)
        self._handle = ctypes.c_void_p()

    def next(self) -> bool:
        """Goes to the next entry; False where there is none yet. Raises `JournalError`."""
        return self._call("next") > 0

    def field(self, name: bytes) -> bytes | None:
        """A field of this entry. Raises `JournalError`."""
        code = self._library.sd_journal_get_data(
            self._handle, name, ctypes.byref(self._data), ctypes.byref(self._size)
        )
        if code == ABSENT:
            return None
        self._check("get_data", code)
        return ctypes.string_at(self._data, self._size.value)[len(name) + 1 :]

    def cursor(self) -> bytes:
        """Where this entry is. Raises `JournalError`."""
        self._call("get_cursor", ctypes.byref(self._data))
        try:
            return ctypes.string_at(self._data)
        finally:
            _free()(self._data)

    def realtime(self) -> int:
        """When journald took it, in microseconds since 1970. Raises `JournalError`."""
        self._call("get_realtime_usec", ctypes.byref(self._time))
        return self._time.value

    def _call(self, name: str, *arguments: object) -> int:
        code: int = getattr(self._library, f"sd_journal_{name}")(self._handle, *arguments)
        return self._check(name, code)

    def _check(self, name: str, code: int) -> int:
        if code < 0:
            raise JournalError(f"sd_journal_{name}: {os.strerror(-code)}")
        return code


class NewEntries(Entries):
    """The entries that are written from now on and have all of the given fields."""

    def __init__(self, *matches: bytes) -> None:
        """Begins behind the newest entry there is. Raises `JournalError`, `AgentError` (host)."""
        super().__init__(matches)

    def _begin(self) -> None:
        # Before the place is looked for, so that no file that comes meanwhile is missed.
        self.fd = self._call("get_fd")
        # Behind an entry of any kind: behind the end, where nothing matches yet, sd_journal_next(3) would
        # leave out the first that does.
        self._call("seek_tail")
        if not self._call("previous"):
            self._call("seek_head")

    def process(self) -> bool:
        """Takes up files that came or went, when `fd` can be read. Raises `JournalError`.

        False where the file of the last entry went, maybe with later ones that `next` has not come to.
        """
        return self._call("process") != INVALIDATE or self._has_place()

    def _has_place(self) -> bool:
        code = self._library.sd_journal_get_cursor(self._handle, ctypes.byref(self._data))
        if code == NO_PLACE:
            return False
        self._check("get_cursor", code)
        _free()(self._data)
        return True
