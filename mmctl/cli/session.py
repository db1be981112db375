"""One quoting session in the foreground: start, show, wait for a reason to end, stop, and say how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from mmctl import __version__
from mmctl.bootstrap import Setup, VenueChoice, open_engine
from mmctl.cli.options import Output, note
from mmctl.cli.output import FRAME_EVERY_S, LineSink, LiveSink, QuietSink, Sink
from mmctl.core.order import Layer, Side
from mmctl.core.report import Report, RoundDone, Started, Summary
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.loop import Engine, Limits
from mmctl.errors import EXIT_CHANGES, EXIT_DONE, EXIT_NO_BOOK, EXIT_SIGINT, EXIT_VENUE, StateUnreadable
from mmctl.views import text

FOOTER_LEAVING = "Ctrl-C stops and leaves own orders standing"
FOOTER = "Ctrl-C stops and cancels all own orders"


class Stopper:
    """Why the session is to end: a signal, or an output that nobody reads any more.

    Before there is an engine a reason cancels the start; a second signal ends the process at once.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.lost = ""
        self.code = EXIT_DONE
        self.wanted = asyncio.Event()
        self.last_words: Callable[[], str] = lambda: ""
        self.leave_screen: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._starting: asyncio.Task[object] | None = asyncio.current_task()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals while the session lasts."""
        codes = {signal.SIGINT: EXIT_SIGINT, signal.SIGTERM: EXIT_DONE}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asked for a run that outlives its terminal
            codes[signal.SIGHUP] = EXIT_DONE
        for number, code in codes.items():
            self._loop.add_signal_handler(number, self._on_signal, number.name, code)
        try:
            yield
        finally:
            for number in codes:
                self._loop.remove_signal_handler(number)

    def started(self) -> None:
        """There is an engine now: a reason ends it in good order."""
        self._starting = None

    def output_lost(self, why: str) -> None:
        """Nobody reads the output any more. Safe to call from another thread."""
        self.lost = why
        with contextlib.suppress(RuntimeError):  # the loop may be over already
            self._loop.call_soon_threadsafe(self._stop, why, EXIT_DONE)

    def _on_signal(self, name: str, code: int) -> None:
        if self.reason:
            self.leave_screen()
            note(f"{name} again, ending at once. {self.last_words() or 'Nothing had been placed'}")
            os._exit(EXIT_CHANGES)
        self._stop(name, code)

    def _stop(self, reason: str, code: int) -> None:
        if self.reason:
            return
        self.reason, self.code = reason, code
        self.wanted.set()
        if self._starting is not None:
            self._starting.cancel()


async def quote(setup: Setup, choice: VenueChoice, limits: Limits, *, leave_orders: bool, output: Output) -> int:
    """Quote until a limit or a reason to stop; returns the exit code."""
    stopper = Stopper()
    with stopper.listening():
        sink = make_sink(output, leave_orders, stopper)
        stopper.leave_screen = sink.leave_screen
        report = _with_first_quotes(sink) if setup.profile.original else sink.report
        try:
            async with open_engine(setup, choice, report, sink.note) as engine:
                stopper.started()
                stopper.last_words = lambda: _last_words(engine)
                for started in _started(setup, engine):
                    report(started)
                summary, proven = await _until_stopped(engine, limits, sink, stopper, leave_orders)
                report(summary)
        except asyncio.CancelledError:
            if not stopper.reason:
                raise
            return stopper.code
        finally:
            sink.close()
    if stopper.lost:  # the summary had nowhere else to go
        note(f"{stopper.lost}: stopped\n{text.render(summary)}")
    return exit_code(summary, stopper, proven=proven, leave_orders=leave_orders)


async def _until_stopped(
    engine: Engine, limits: Limits, sink: Sink, stopper: Stopper, leave_orders: bool
) -> tuple[Summary, bool]:
    """Run the engine to its end and stop it; returns the summary, and whether the stop was proven."""
    drawing = asyncio.create_task(_draw(engine, sink, stopper))
    running = asyncio.create_task(engine.run(limits))
    waiting = asyncio.create_task(stopper.wanted.wait())
    try:
        # A screen that is no longer drawn would show a moment long gone: that, too, is a reason to stop.
        await asyncio.wait({running, waiting, drawing}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        running.cancel()
        ended = await asyncio.gather(running, return_exceptions=True)
        swept = await engine.stop(leave_orders=leave_orders)
        for fault in (ended[0], drawing.exception() if drawing.done() else None):
            if isinstance(fault, Exception):
                raise fault
        return engine.summary(swept), all(one.proven for one in swept.values())
    finally:
        drawing.cancel()
        await asyncio.gather(drawing, waiting, return_exceptions=True)


async def _draw(engine: Engine, sink: Sink, stopper: Stopper) -> None:
    while True:
        stopping = f"{stopper.reason}: stopping, own orders are being cancelled" if stopper.reason else ""
        sink.frame(engine.views(), stopping)
        await asyncio.sleep(FRAME_EVERY_S)


def exit_code(summary: Summary, stopper: Stopper, *, proven: bool, leave_orders: bool) -> int:
    """The exit code of a session: what remains counts first, then why it ended."""
    if not leave_orders:
        if any(pair.open_orders is None for pair in summary.pairs):
            return EXIT_VENUE
        if not proven or any(pair.open_orders for pair in summary.pairs):
            return EXIT_CHANGES
    if stopper.reason:
        return stopper.code
    return EXIT_DONE if summary.near_turns_with_book else EXIT_NO_BOOK


def make_sink(output: Output, leave_orders: bool, stopper: Stopper) -> Sink:
    """The sink of ``output`` on standard output."""
    if output is Output.JSON:
        from mmctl.views import jsonlines

        return LineSink(sys.stdout, jsonlines.encode, stopper.output_lost)
    if output is Output.TEXT:
        return QuietSink(sys.stdout, text.render, stopper.output_lost)
    from rich.console import Console

    return LiveSink(Console(), FOOTER_LEAVING if leave_orders else FOOTER, stopper.output_lost)


def _started(setup: Setup, engine: Engine) -> list[Started]:
    """What begins, an account each."""
    try:
        halts = tuple(str(halt) for halt in FileHaltLatch(setup.state_dir).halts())
    except StateUnreadable as error:
        halts = (str(error),)
    return [
        Started(
            version=__version__,
            profile=str(setup.profile.path),
            mode=desk.venue.mode,
            venue=desk.venue.name,
            account=desk.venue.account,
            pairs=tuple(pair.spec.name for pair in engine.pairs if pair.desk is desk),
            epoch=desk.epoch,
            halts=halts,
        )
        for desk in dict.fromkeys(pair.desk for pair in engine.pairs)
    ]


def _last_words(engine: Engine) -> str:
    """What may remain, for an end that does not wait to see."""
    left = [f"{pair.spec.name} {order.client_id}" for pair in engine.pairs for order in pair.ledger.live()]
    return f"{len(left)} own orders may remain" + (f": {', '.join(left)}" if left else "")


def _with_first_quotes(sink: Sink) -> Callable[[Report], None]:
    """Show what the original's margins come to, once a pair, before anybody trusts them."""
    shown: set[str] = set()

    def told(one: Report) -> None:
        if isinstance(one, RoundDone) and one.layer is Layer.NEAR and one.pair not in shown:
            shown.add(one.pair)
            best = {side: next((quote for quote in one.target if quote.side is side), None) for side in Side}
            texts = [
                f"{side} {one.instrument.price_text(quote.price)} x {one.instrument.qty_text(quote.qty)}"
                for side, quote in best.items()
                if quote is not None
            ]
            sink.note(
                f"{one.pair}: first near quotes: {', '.join(texts) or 'none'}; "
                f"the reference has bid {one.book.bid}, ask {one.book.ask}"
            )
        sink.report(one)

    return told
