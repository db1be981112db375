"""The writing side of one engine's record: a file that is only ever whole, and a lock that tells of its life.

The lock file holds when a placement was last signed, in memory that the system keeps when the process is gone: to note
it costs no call of the system, and so waits for no disk.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from dataclasses import replace
from pathlib import Path

from mmctl.engine.lock import mend
from mmctl.engine.record_tidy import remove
from mmctl.engine.records import SIGNED, EngineRecord, encoded
from mmctl.errors import StateUnreadable


class RecordFile:
    """The record at ``path`` of an engine that lives from now on. Raises ``StateUnreadable``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._closed = False
        self._newest: EngineRecord | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            self._descriptor = os.open(path.with_suffix(".lock"), flags, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.pwrite(self._descriptor, SIGNED.pack(0.0), 0)  # so that a full disk cannot be in the way later
            self._memory = mmap.mmap(self._descriptor, SIGNED.size)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, record: EngineRecord) -> None:
        """Replace the record as a whole; another thread may do it. Raises ``StateUnreadable``."""
        self._newest = record
        fresh = self.path.with_suffix(".new")
        try:
            _write_whole(fresh, record)
            if self._closed:  # the engine ended meanwhile
                fresh.unlink()
            else:
                os.replace(fresh, self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def signed(self, boot_s: float) -> None:
        """A placement is about to be signed: that moment outlives even ``kill -9``."""
        SIGNED.pack_into(self._memory, 0, boot_s)

    def close(self, *, keep: bool) -> None:
        """The engine ends, which its record says from now on.

        ``keep`` the record as it is where something of the engine may still appear, or rests. Never raises.
        """
        self._closed = True
        if not keep:
            self._say_ended()
        self._memory.close()
        os.close(self._descriptor)

    def _say_ended(self) -> None:
        """Where that cannot be written the record goes: it must not look like that of an engine that died."""
        try:
            if self._newest is None:
                raise FileNotFoundError
            last = self.path.with_suffix(".last")  # what another thread still writes is another file
            _write_whole(last, replace(self._newest, ended=True))
            os.replace(last, self.path)
        except OSError:
            remove(self.path)

    def _unwritable(self, error: OSError) -> StateUnreadable:
        return StateUnreadable(
            f"the engine's record {self.path} cannot be written: {error.strerror}",
            mend(error),
        )


def _write_whole(path: Path, record: EngineRecord) -> None:
    """Write a file with the record and no more. Raises ``OSError``."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        data = encoded(record)
        if os.write(descriptor, data) != len(data):
            raise OSError(28, "the record was cut short")
    finally:
        os.close(descriptor)
