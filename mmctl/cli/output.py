"""Where a verb's output goes, and never in the engine's way: a reader that stops reading stops no quoting.

Lines and frames are written by a thread of their own. Where the reader has gone for good (a closed pipe, a
lost terminal), whoever quotes is told, and stops.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from mmctl.core.report import Faulted, Report, Skipped, Started, Summary

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


class Sink(Protocol):
    """Takes what the engine tells."""

    def report(self, report: Report) -> None:
        """Show one report. Never blocks, never raises."""

    def frame(self, views: Sequence[PairView], stopping: str) -> None:
        """Show the present state, where this sink draws one; ``stopping`` is why it is being stopped, or empty."""

    def close(self) -> None:
        """Write out what is left, and give the terminal back."""


class LineSink:
    """One line a report, in order, on ``stream``; ``render`` makes them."""

    def __init__(self, stream: TextIO, render: Callable[[Report], str], on_lost: Callable[[], None]) -> None:
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

    def close(self) -> None:
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=LAST_WORDS_S)
        self._thread.join(LAST_WORDS_S)
        if self._dropped:
            print(f"mmctl: {self._dropped} lines of output were dropped: nobody read them", file=sys.stderr)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                silence(self._stream)
                self._on_lost()
                return


class QuietSink(LineSink):
    """Text lines, but a skip that repeats the last one is told again only when its reason changes."""

    def __init__(self, stream: TextIO, render: Callable[[Report], str], on_lost: Callable[[], None]) -> None:
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
    """The live screen, drawn by a thread that always takes the newest frame; the summary follows as text."""

    def __init__(self, console: Console, footer: str, on_lost: Callable[[], None]) -> None:
        self._console = console
        self._footer = footer
        self._on_lost = on_lost
        self._after: deque[Report] = deque(maxlen=KEPT_FAULTS)
        self._summary: Summary | None = None
        self._newest: Text | None = None
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._draw, name="screen", daemon=True)
        self._thread.start()

    def report(self, report: Report) -> None:
        if isinstance(report, Faulted):
            self._after.append(report)
        elif isinstance(report, Summary):
            self._summary = report

    def frame(self, views: Sequence[PairView], stopping: str) -> None:
        from mmctl.views.live import screen

        width, height = self._console.size
        self._newest = screen(views, width, height, footer=stopping or self._footer)
        self._wake.set()

    def close(self) -> None:
        from mmctl.views import text

        self._ended = True
        self._wake.set()
        self._thread.join(LAST_WORDS_S)
        if self._thread.is_alive():
            return  # the terminal does not take what it is given: there is nobody to tell
        for report in (*self._after, self._summary):
            if report is not None:
                with contextlib.suppress(OSError):
                    self._console.file.write(text.render(report) + "\n")
                    self._console.file.flush()

    def _draw(self) -> None:
        from rich.live import Live

        try:
            with Live(console=self._console, screen=True, auto_refresh=False, redirect_stderr=False) as live:
                while not self._ended:
                    self._wake.wait()
                    self._wake.clear()
                    frame, self._newest = self._newest, None
                    if frame is not None:
                        live.update(frame, refresh=True)
        except OSError:
            silence(self._console.file)
            self._on_lost()


def silence(stream: object) -> None:
    """Point a stream whose reader has gone at nothing, so that no later flush fails."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())  # type: ignore[attr-defined]
        os.close(nothing)
