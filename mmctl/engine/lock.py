"""Locks between processes: one for whoever is about to write in the state folder, one for each pair that is quoted.

A lock is of an open file, so it ends with its process, however that ends, and excludes within one process too.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from mmctl.engine.records import this_machine
from mmctl.errors import PairHeld, StateUnreadable

LOCK_WAIT_S = 1.0
"""How long a lock is waited for: whoever holds it has it for some milliseconds, unless it hangs."""

LOCK_TRY_EVERY_S = 0.005


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock ``path``, made with its folder where it is missing.

    Raises ``OSError`` where that cannot be, or not in time.
    """
    descriptor = _opened(path)
    try:
        _take(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def stop_lock(state_dir: Path, venue: str, account: str) -> Path:
    """The lock that every stop of an account shares while it sweeps, and that a resume wants alone."""
    return state_dir / f"stopping-{re.sub(r'[^A-Za-z0-9_-]', '_', f'{venue}-{account}')[:100]}.lock"


@contextmanager
def sharing(path: Path) -> Iterator[None]:
    """Hold the lock ``path`` with others, waiting a little for one that holds it alone. Raises ``OSError``."""
    descriptor = _opened(path)
    try:
        _take(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold the lock ``path`` alone, if nobody holds it now: whether that is so.

    Raises ``StateUnreadable`` where nobody can tell.
    """
    try:
        descriptor = _opened(path)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        except OSError as error:
            raise _unusable(path, error) from error
        yield free
    finally:
        os.close(descriptor)


class PairLock:
    """The right of one engine on this machine to quote one symbol of one account.

    ``owner`` is the venue's own number of the account where it has one, so that two keys of one account exclude each
    other. Raises ``PairHeld`` where another engine has it, naming that engine, and ``StateUnreadable``.
    """

    def __init__(self, state_dir: Path, venue: str, owner: str, symbol: str) -> None:
        name = "+".join(quote(part, safe="") for part in ("writer", venue, owner, symbol))
        path = state_dir / f"{name}.lock"
        try:
            self._descriptor = _opened(path)
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(self._descriptor)
            os.close(self._descriptor)
            raise PairHeld(f"{holder} quotes {symbol} on {venue} already", "stop it first") from None
        except OSError as error:
            os.close(self._descriptor)
            raise _unusable(path, error) from error
        self.tell(0)

    def tell(self, epoch: int) -> None:
        """Write down who holds it, for whoever is refused; that it is held does not depend on it."""
        words = json.dumps({"pid": os.getpid(), "host": this_machine()[0], "epoch": epoch}).encode()
        with suppress(OSError):
            os.pwrite(self._descriptor, words.ljust(_HOLDER_BYTES), 0)

    def release(self) -> None:
        """Let go of it, once."""
        os.close(self._descriptor)


_HOLDER_BYTES = 200


def _holder(descriptor: int) -> str:
    try:
        told = json.loads(os.pread(descriptor, _HOLDER_BYTES, 0))
        epoch = f" of epoch {int(told['epoch'])}" if told["epoch"] else ""
        return f"an engine{epoch} (pid {int(told['pid'])} on {str(told['host'])[:100]})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another engine"


def _unusable(path: Path, error: OSError) -> StateUnreadable:
    return StateUnreadable(f"the lock {path} cannot be had: {error.strerror}", mend(error))


def mend(error: OSError) -> str:
    """What to do about a state folder that cannot be used."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on that disk; it goes on by itself"
    if error.errno == errno.EROFS:
        return "make that disk writable again"
    return "mend the folder's permissions, or set MMCTL_STATE_DIR"


def _take(descriptor: int, how: int) -> None:
    """Take a lock. Raises ``TimeoutError`` where another process keeps it: one that hangs must hang no other."""
    ends_s = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= ends_s:
                raise TimeoutError(errno.ETIMEDOUT, "another process keeps its lock") from None
            time.sleep(LOCK_TRY_EVERY_S)
        else:
            return


def _opened(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
