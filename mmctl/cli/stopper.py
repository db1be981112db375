"""Why a process in the foreground is to end, and how often it was told so."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from mmctl.cli.options import note
from mmctl.errors import EXIT_CHANGES, EXIT_DONE, EXIT_SIGINT


class Stopper:
    """Why the session is to end: a signal, or an output that nobody reads any more.

    Before there is anything to stop, a reason cancels the start. A second SIGINT or SIGTERM ends the process at once.
    A hangup is no insisting, and an output that was lost none either: the kernel, the shell and whoever keeps the
    session each send one when a terminal goes.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.lost = ""
        self.code = EXIT_DONE
        self.wanted = asyncio.Event()
        self.last_words: Callable[[], str] = lambda: ""
        self.leave_screen: Callable[[], None] = lambda: None
        self._insisted = False
        self._loop = asyncio.get_running_loop()
        self._starting: asyncio.Task[object] | None = asyncio.current_task()

    @contextlib.contextmanager
    def listening(self, *, hangup: bool = True) -> Iterator[None]:
        """Handle signals while the session lasts; without ``hangup`` it outlives its terminal."""
        codes = {signal.SIGINT: EXIT_SIGINT, signal.SIGTERM: EXIT_DONE}
        if not hangup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asked for a run that outlives its terminal
            codes[signal.SIGHUP] = EXIT_DONE
        for number, code in codes.items():
            self._loop.add_signal_handler(number, self._on_signal, number, code)
        try:
            yield
        finally:
            for number in codes:
                self._loop.remove_signal_handler(number)

    def started(self) -> None:
        """There is something to stop now: a reason ends it in good order."""
        self._starting = None

    def output_lost(self, why: str) -> None:
        """Nobody reads the output any more. Safe to call from another thread."""
        self.lost = why
        with contextlib.suppress(RuntimeError):  # the loop may be over already
            self._loop.call_soon_threadsafe(self._stop, why, EXIT_DONE)

    def _on_signal(self, number: signal.Signals, code: int) -> None:
        if number is not signal.SIGHUP:
            if self._insisted:
                self.leave_screen()
                note(f"{number.name} again, ending at once. {self.last_words() or 'Nothing had been placed'}")
                os._exit(EXIT_CHANGES)
            self._insisted = True
        self._stop(number.name, code)

    def _stop(self, reason: str, code: int) -> None:
        if self.reason:
            return
        self.reason, self.code = reason, code
        self.wanted.set()
        if self._starting is not None:
            self._starting.cancel()
