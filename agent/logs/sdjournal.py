"""sd-journal(3) by ctypes: the only interface that shows an entry as soon as journald has written it.

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
# What sd_journal_get_data(3) returns for a field that the entry does not have, or for an entry that is gone.
ABSENT = -errno.ENOENT
NO_PLACE = -errno.EADDRNOTAVAIL  # the handle is at no entry, for example because its file was deleted
INVALIDATE = 2  # SD_JOURNAL_INVALIDATE of sd_journal_process(3): files were added or removed


class JournalError(Exception):
    """A call of sd-journal(3) failed. The handle cannot be used any longer."""


@functools.cache
def _library() -> ctypes.CDLL:
    """The functions of sd-journal(3), with their types. Raises `AgentError` (host) without libsystemd."""
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
        "sd_journal_seek_cursor": (handle, text),
        "sd_journal_test_cursor": (handle, text),
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
    """The entries, in order, that have all fields of one of the groups, as sd_journal_add_match(3).

    If a group has several values for a field, either matches. Only the thread that made it may use it.
    """

    def __init__(self, *groups: Sequence[bytes]) -> None:
        """Starts before the oldest entry. Raises `JournalError`, `AgentError` (host)."""
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
        """Closes all files."""
        self._library.sd_journal_close(self._handle)
        self._handle = ctypes.c_void_p()

    def next(self) -> bool:
        """Goes to the next entry; returns False if there is none yet. Raises `JournalError`."""
        return self._call("next") > 0

    def go_to(self, cursor: bytes) -> bool:
        """Goes to the entry with that cursor; returns False if there is none. Raises `JournalError`."""
        # It seeks to the nearest entry.
        self._call("seek_cursor", cursor)
        return self.next() and self._call("test_cursor", cursor) > 0

    def field(self, name: bytes) -> bytes | None:
        """A field of the current entry; None if it has no such field. Raises `JournalError`."""
        code = self._library.sd_journal_get_data(
            self._handle, name, ctypes.byref(self._data), ctypes.byref(self._size)
        )
        if code == ABSENT:
            return None
        self._check("get_data", code)
        return ctypes.string_at(self._data, self._size.value)[len(name) + 1 :]

    def cursor(self) -> bytes:
        """The cursor of the current entry. Raises `JournalError`."""
        self._call("get_cursor", ctypes.byref(self._data))
        try:
            return ctypes.string_at(self._data)
        finally:
            _free()(self._data)

    def realtime(self) -> int:
        """When journald received the current entry, in microseconds since 1970. Raises `JournalError`."""
        self._call("get_realtime_usec", ctypes.byref(self._time))
        return self._time.value

    def _call(self, name: str, *arguments: object) -> int:
        code: int = getattr(self._library, f"sd_journal_{name}")(self._handle, *arguments)
        return self._check(name, code)

    def _check(self, name: str, code: int) -> int:
        if code < 0:
            raise JournalError(f"sd_journal_{name}: {os.strerror(-code)}")
        return code


class NewestFirst(Entries):
    """The same entries, from the newest to the oldest."""

    def _begin(self) -> None:
        self.start_again()

    def start_again(self) -> None:
        """Goes behind the entry that is the newest now. Raises `JournalError`."""
        self._call("seek_tail")

    def next(self) -> bool:
        """Goes to the entry before; returns False behind the oldest. Raises `JournalError`."""
        return self._call("previous") > 0


class NewEntries(Entries):
    """The entries with all given fields that journald writes from now on."""

    def __init__(self, *matches: bytes) -> None:
        """Starts behind the newest entry. Raises `JournalError`, `AgentError` (host)."""
        super().__init__(matches)

    def _begin(self) -> None:
        # Before it seeks, so that it misses no new file.
        self.fd = self._call("get_fd")
        # It seeks to an entry of any kind. From behind the end, sd_journal_next(3) would skip the first entry
        # that matches, if none matches yet.
        self._call("seek_tail")
        if not self._call("previous"):
            self._call("seek_head")

    def process(self) -> bool:
        """Opens new files and closes deleted ones, when `fd` is readable. Raises `JournalError`.

        Returns False if the file of the current entry was deleted, maybe with entries that were not read yet.
        """
        return self._call("process") != INVALIDATE or self._has_place()

    def _has_place(self) -> bool:
        code = self._library.sd_journal_get_cursor(self._handle, ctypes.byref(self._data))
        if code == NO_PLACE:
            return False
        self._check("get_cursor", code)
        _free()(self._data)
        return True
