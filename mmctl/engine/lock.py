"""A lock between processes: one file that whoever is about to write in the state folder holds."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock ``path``, made with its folder where it is missing. Raises ``OSError`` where that cannot be."""
    descriptor = _opened(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def stop_lock(state_dir: Path, venue: str, account: str) -> Path:
    """The lock that every stop of an account shares while it sweeps, and that a resume wants alone."""
    return state_dir / f"stopping-{re.sub(r'[^A-Za-z0-9_-]', '_', f'{venue}-{account}')[:100]}.lock"


@contextmanager
def sharing(path: Path) -> Iterator[None]:
    """Hold the lock ``path`` with others, waiting for one that holds it alone. Raises ``OSError``."""
    descriptor = _opened(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold the lock ``path`` alone, if nobody holds it now: whether that is so. Where it cannot be had, it is."""
    try:
        descriptor = _opened(path)
    except OSError:  # what is to be written under it cannot be written either, and tells better why
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
