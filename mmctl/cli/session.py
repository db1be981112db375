"""One quoting session in the foreground: start, show, wait for a reason to end, stop, and say how it ended."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import replace

from mmctl import __version__
from mmctl.bootstrap import Setup, VenueChoice, open_engine
from mmctl.cli.options import Output, note
from mmctl.cli.output import FRAME_EVERY_S, LineSink, LiveSink, QuietSink, Sink
from mmctl.cli.stopper import Stopper
from mmctl.cli.supervisor import Supervisor, keep_told, supervisor
from mmctl.core.order import Layer, Side
from mmctl.core.report import Faulted, Report, RoundDone, Started, Summary
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.loop import Engine, Limits
from mmctl.errors import EXIT_CHANGES, EXIT_DONE, EXIT_NO_BOOK, EXIT_VENUE, StateUnreadable
from mmctl.views import text

FOOTER_LEAVING = "Ctrl-C stops and leaves own orders standing"
FOOTER = "Ctrl-C stops and cancels all own orders"


async def quote(setup: Setup, choice: VenueChoice, limits: Limits, *, leave_orders: bool, output: Output) -> int:
    """Quote until a limit or a reason to stop; returns the exit code."""
    stopper = Stopper()
    watcher = supervisor(os.environ, note)
    with stopper.listening():
        sink = make_sink(output, leave_orders, stopper)
        stopper.leave_screen = sink.leave_screen
        counter = _FaultCounter(_with_first_quotes(sink) if setup.profile.original else sink.report)
        report = counter.report
        try:
            async with open_engine(setup, choice, report, sink.note) as engine:
                stopper.started()
                stopper.last_words = lambda: _last_words(engine)
                for started in _started(setup, engine):
                    report(started)
                watcher.ready(_status(engine, stopper))
                summary, proven, fault = await _until_stopped(engine, limits, sink, stopper, watcher, leave_orders)
                summary = replace(summary, faults=counter.faults)
                report(summary)
                if fault is not None:  # only now: what remains is told in any case
                    raise fault
        except asyncio.CancelledError:
            if not stopper.reason:
                raise
            return stopper.code
        finally:
            sink.close()
            watcher.close()
    if stopper.lost:  # the summary had nowhere else to go
        note(f"{stopper.lost}: stopped\n{text.render(summary)}")
    return exit_code(summary, stopper, proven=proven, leave_orders=leave_orders)


class _FaultCounter:
    """Counts the faults that are told, those of an account as those of a pair."""

    def __init__(self, report: Callable[[Report], None]) -> None:
        self._report = report
        self.faults = 0

    def report(self, one: Report) -> None:
        self.faults += isinstance(one, Faulted)
        self._report(one)


async def _until_stopped(
    engine: Engine, limits: Limits, sink: Sink, stopper: Stopper, watcher: Supervisor, leave_orders: bool
) -> tuple[Summary, bool, Exception | None]:
    """Run the engine to its end and stop it; returns the summary, whether the stop was proven, and what broke."""
    drawing = asyncio.create_task(_draw(engine, sink, stopper))
    telling = asyncio.create_task(keep_told(watcher, lambda: _status(engine, stopper), lambda: bool(engine.overdue())))
    running = asyncio.create_task(engine.run(limits))
    waiting = asyncio.create_task(stopper.wanted.wait())
    try:
        # A screen that is no longer drawn would show a moment long gone: that, too, is a reason to stop.
        await asyncio.wait({running, waiting, drawing}, return_when=asyncio.FIRST_COMPLETED)
        engine.place_no_more()
        watcher.stopping(_status(engine, stopper))
        waiting.cancel()
        running.cancel()
        ended = await asyncio.gather(running, return_exceptions=True)
        try:
            swept = await engine.stop(leave_orders=leave_orders, why=_why(stopper, ended[0]))
        except BaseException:
            sink.note(f"the stop broke off: {_last_words(engine)}")
            raise
        broken = (ended[0], drawing.exception() if drawing.done() else None)
        fault = next((one for one in broken if isinstance(one, Exception)), None)
        return engine.summary(swept), all(one.proven for one in swept.values()), fault
    finally:
        drawing.cancel()
        telling.cancel()
        await asyncio.gather(drawing, telling, waiting, return_exceptions=True)


def _why(stopper: Stopper, ended: object) -> str:
    """Why the run is over, for the journal: a signal, a lost output, a fault, or its limit."""
    if stopper.reason:
        return stopper.reason
    return f"{type(ended).__name__}: {ended}" if isinstance(ended, Exception) else "its limit"


def _status(engine: Engine, stopper: Stopper) -> str:
    """One line on all pairs, for who only wants to know whether it quotes."""
    if stopper.reason:
        return f"{stopper.reason}: stopping"
    views = engine.views()
    held = [f"{view.pair}: {view.status}" for view in views if not view.quoting]
    overdue = engine.overdue()
    parts = [f"{len(views) - len(held)} of {len(views)} pairs quoting"]
    return "; ".join([*parts, *([f"no turn of {', '.join(overdue)}"] if overdue else []), *held])


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
