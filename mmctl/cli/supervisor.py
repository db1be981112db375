"""What a service manager is told of a process that it started: systemd's notify protocol, where there is one.

Nothing here ever holds a process up: a manager that does not take what it is told is not told it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from typing import Protocol

TELL_EVERY_S = 1.0
BEATS_A_WATCHDOG = 4
"""How often at least the watchdog hears of a process within the time that it allows."""

MOST_STATUS = 200
"""Characters of a status line; systemctl shows it on one."""


class Supervisor(Protocol):
    """Who started this process and watches it."""

    every_s: float
    """How often it is to be told that the work goes on."""

    def ready(self, status: str) -> None:
        """The work has begun."""

    def status(self, status: str) -> None:
        """What is done now, in a line for people."""

    def alive(self) -> None:
        """The work itself goes on, not only the process."""

    def stopping(self, status: str) -> None:
        """The end has begun."""

    def close(self) -> None:
        """Nothing more is told."""


class Nobody:
    """There is no service manager: nobody is told."""

    every_s = TELL_EVERY_S

    def ready(self, status: str) -> None:
        """Nobody is told."""

    def status(self, status: str) -> None:
        """Nobody is told."""

    def alive(self) -> None:
        """Nobody is told."""

    def stopping(self, status: str) -> None:
        """Nobody is told."""

    def close(self) -> None:
        """Nobody is told."""


class Systemd:
    """systemd at the other end of ``NOTIFY_SOCKET``. ``watchdog_s`` is what it allows between two signs of life."""

    def __init__(self, link: socket.socket, watchdog_s: float | None) -> None:
        self._link = link
        self._link.setblocking(False)
        self._watched = watchdog_s is not None
        self._status = ""
        self.every_s = TELL_EVERY_S if watchdog_s is None else min(TELL_EVERY_S, watchdog_s / BEATS_A_WATCHDOG)

    def ready(self, status: str) -> None:
        self._tell("READY=1", status)

    def status(self, status: str) -> None:
        if _line(status) != self._status:
            self._tell("", status)

    def alive(self) -> None:
        if self._watched:
            self._tell("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        self._tell("STOPPING=1", status)

    def close(self) -> None:
        self._link.close()

    def _tell(self, state: str, status: str = "") -> None:
        if status:
            self._status = _line(status)
            state = "\n".join(filter(None, (state, f"STATUS={self._status}")))
        with contextlib.suppress(OSError):  # its queue is full, or it is gone
            self._link.send(state.encode())


def supervisor(environ: Mapping[str, str], note: Callable[[str], None]) -> Supervisor:
    """The service manager that the environment names, else nobody; ``note`` is told where it cannot be spoken to."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return Nobody()
    try:
        from sdnotify import SystemdNotifier
    except ImportError:
        note("systemd is not told how this run goes: install mmctl with its extra, as mmctl[systemd]")
        return Nobody()
    try:
        link = SystemdNotifier(debug=True).socket
    except OSError as error:
        note(f"systemd is not told how this run goes: {address}: {error.strerror}")
        return Nobody()
    return Systemd(link, _watchdog_s(environ))


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """What the watchdog of this process allows, in seconds; ``None`` where there is none, or it is another's."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    allowed = environ.get("WATCHDOG_USEC", "")
    return int(allowed) / 1e6 if allowed.isascii() and allowed.isdigit() and int(allowed) else None


def _line(status: str) -> str:
    return " ".join(status.split())[:MOST_STATUS]


async def keep_told(watcher: Supervisor, status: Callable[[], str], held_up: Callable[[], bool]) -> None:
    """Tell ``watcher`` what is done and, while nothing is ``held_up``, that it goes on; until cancelled."""
    while True:
        watcher.status(status())
        if not held_up():
            watcher.alive()
        await asyncio.sleep(watcher.every_s)
