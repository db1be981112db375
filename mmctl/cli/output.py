"""Where a verb's output goes, and never in the engine's way: a reader that stops reading stops no quoting.

Lines and frames are written by a thread of their own. Where the reader has gone for good (a closed pipe, a
lost terminal), whoever quotes is told, and stops.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import sys
import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from mmctl.cli.options import note, say, silence
from mmctl.core.report import Faulted, Report, Skipped, Started, Summary
from mmctl.views import text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from mmctl.core.report import PairView

CAPACITY = 10_000
"""Lines that wait for a slow reader; what comes after them is dropped, and counted."""

FRAME_EVERY_S = 0.25
LAST_WORDS_S = 2.0
"""How long the end waits for a reader that does not read."""

KEPT_FAULTS = 5
KEPT_NOTES = 50
LEAVE_SCREEN = b"\x1b[?1049l\x1b[?25h"


class Sink(Protocol):
    """Takes what the engine tells."""

    def report(self, report: Report) -> None:
        """Show one report. Never blocks, never raises."""

    def frame(self, views: Sequence[PairView], stopping: str) -> None:
        """Show the present state, where this sink draws one; ``stopping`` is why it is being stopped, or empty."""

    def note(self, line: str) -> None:
        """A line for the operator, where it is seen."""

    def leave_screen(self) -> None:
        """Give the terminal back, for an end that does not wait for ``close``."""

    def close(self) -> None:
        """Write out what is left, and give the terminal back."""


class LineSink:
    """One line a report, in order, on ``stream``; ``render`` makes them."""

    def __init__(self, stream: TextIO, render: Callable[[Report], str], on_lost: Callable[[str], None]) -> None:
        self._stream = stream
        self._render = render
        self._on_lost = on_lost
        self._lines: queue.Queue[str | None] = queue.Queue(CAPACITY)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="output", daemon=True)
        self._thread.start()

    def report(self, report: Report) -> None:
        try:
            self._lines.put_nowait(self._render(report))
        except queue.Full:
            self._dropped += 1

    def frame(self, views: Sequence[PairView], stopping: str) -> None:
        """Lines have no frames."""

    def note(self, line: str) -> None:
        note(line)

    def leave_screen(self) -> None:
        """Lines leave it as it is."""

    def close(self) -> None:
        ends_s = time.monotonic() + LAST_WORDS_S
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=LAST_WORDS_S)
        self._thread.join(max(0.0, ends_s - time.monotonic()))
        unread = self._dropped + self._lines.qsize()
        if self._thread.is_alive():
            give_up_stdout()
        if unread:
            note(f"{unread} lines of output were dropped: nobody read them")

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError) as error:
                silence(self._stream)
                self._on_lost(f"the output was closed ({getattr(error, 'strerror', '') or error})")
                return


class QuietSink(LineSink):
    """Text lines, but a skip that repeats the last one is told again only when its reason changes."""

    def __init__(self, stream: TextIO, render: Callable[[Report], str], on_lost: Callable[[str], None]) -> None:
        super().__init__(stream, render, on_lost)
        self._last_skips: dict[tuple[str, str], str] = {}

    def report(self, report: Report) -> None:
        if isinstance(report, Skipped):
            key = (report.pair, report.layer)
            if self._last_skips.get(key) == report.reason:
                return
            self._last_skips[key] = report.reason
        elif not isinstance(report, Started | Faulted | Summary):
            self._last_skips.pop((report.pair, getattr(report, "layer", "")), None)
        super().report(report)


class LiveSink:
    """The live screen, drawn by a thread that always takes the newest frame; what is to be kept follows as text.

    It begins with the first frame: until then the operator reads what is said on the way there.
    """

    def __init__(self, console: Console, footer: str, on_lost: Callable[[str], None]) -> None:
        self._console = console
        self._footer = footer
        self._on_lost = on_lost
        self._notes: list[str] = []
        self._faults: deque[Faulted] = deque(maxlen=KEPT_FAULTS)
        self._summary: Summary | None = None
        self._newest: Text | None = None
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._draw, name="screen", daemon=True)

    def report(self, report: Report) -> None:
        if isinstance(report, Faulted):
            self._faults.append(report)
        elif isinstance(report, Summary):
            self._summary = report

    def note(self, line: str) -> None:
        if self._thread.ident is None:
            note(line)
        elif len(self._notes) < KEPT_NOTES:
            self._notes.append(line)

    def frame(self, views: Sequence[PairView], stopping: str) -> None:
        from mmctl.views.live import screen

        width, height = self._console.size
        self._newest = screen(views, width, height, footer=stopping or self._footer)
        if self._thread.ident is None:
            self._thread.start()
        self._wake.set()

    def leave_screen(self) -> None:
        self._ended = True
        if self._thread.ident is not None:
            with contextlib.suppress(OSError, ValueError):
                os.write(self._console.file.fileno(), LEAVE_SCREEN)

    def close(self) -> None:
        self._ended = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(LAST_WORDS_S)
            if self._thread.is_alive():  # the terminal does not take what it is given: there is nobody to tell
                give_up_stdout()
                return
        for line in self._notes:
            note(line)
        for report in (*self._faults, self._summary):
            if report is not None:
                say(wrapped(text.render(report), self._console.width))

    def _draw(self) -> None:
        from rich.live import Live

        try:
            with Live(
                console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            ) as live:
                while not self._ended:
                    self._wake.wait()
                    self._wake.clear()
                    frame, self._newest = self._newest, None
                    if frame is not None:
                        live.update(frame, refresh=True)
        except OSError as error:
            silence(self._console.file)
            self._on_lost(f"the terminal was closed ({error.strerror})")
        except Exception as error:  # noqa: BLE001 - saves the operator from a screen that stands still unnoticed
            self._on_lost(f"the screen could not be drawn ({type(error).__name__}: {error})")


def wrapped(lines: str, width: int) -> str:
    """``lines`` broken between words where they are wider than the terminal."""
    return "\n".join(
        part
        for line in lines.splitlines()
        for part in textwrap.wrap(line, max(20, width), subsequent_indent="  ", break_on_hyphens=False) or [""]
    )


def say_wrapped(lines: str) -> None:
    """Say ``lines``, broken between words where standard output is a terminal."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    say(wrapped(lines, shutil.get_terminal_size().columns) if terminal else lines)


def give_up_stdout() -> None:
    """A thread that cannot write holds the lock of standard output: flushing it at the end would wait for ever."""
    sys.stdout = None
