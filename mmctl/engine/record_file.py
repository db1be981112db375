"""The writing side of one engine's record: a file that is only ever whole, and a lock that tells of its life."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from mmctl.engine.records import EngineRecord, encoded
from mmctl.engine.registered import remove
from mmctl.errors import StateUnreadable


class RecordFile:
    """The record at ``path`` of an engine that lives from now on. Raises ``StateUnreadable``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            self._descriptor = os.open(path.with_suffix(".lock"), flags, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.utime(self._descriptor, ns=(0, 0))
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, record: EngineRecord) -> None:
        """Replace the record as a whole. Raises ``StateUnreadable``."""
        fresh = self.path.with_suffix(".new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            try:
                data = encoded(record)
                if os.write(descriptor, data) != len(data):
                    raise OSError(28, "the record was cut short")
            finally:
                os.close(descriptor)
            os.replace(fresh, self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def signed(self, boot_s: float) -> None:
        """A placement is about to be signed: that moment outlives even ``kill -9``. Raises ``StateUnreadable``."""
        time_ns = round(boot_s * 1e9)
        try:
            os.utime(self._descriptor, ns=(time_ns, time_ns))
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self, *, keep: bool) -> None:
        """The engine ends. ``keep`` its record where something of it may still appear. Never raises."""
        if not keep:
            remove(self.path)
        os.close(self._descriptor)

    def _unwritable(self, error: OSError) -> StateUnreadable:
        return StateUnreadable(
            f"the engine's record {self.path} cannot be written: {error.strerror}",
            "mend the folder's permissions, or set MMCTL_STATE_DIR",
        )
