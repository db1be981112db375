"""The engine: a quoting task for each pair with its guards beside it, and one way to stop.

Time is monotonic. A pair's turns keep to its own grid; a turn that was missed is not made up for. Nothing
that one pair waits for holds up another.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from mmctl.core.events import Seen
from mmctl.core.order import Layer, Order, State, decode_own_id
from mmctl.core.report import PairSummary, PairView, Summary
from mmctl.engine.basis import measure, watch_basis
from mmctl.engine.batch import Batch
from mmctl.engine.cycle import ANSWER_GRACE_S, READ_DEADLINE_S, settle, turn
from mmctl.engine.desk import AccountDesk
from mmctl.engine.guard import read_ahead, watch_answers, watch_book, watch_halts
from mmctl.engine.pair import Pair
from mmctl.engine.pair_record import pair_records
from mmctl.engine.pair_view import view_of
from mmctl.engine.reconcile import compare_now_and_then, settle_unknown
from mmctl.engine.recovery import look_outside, patiently, recover
from mmctl.engine.sweep import CANCEL_AGAIN_S, Sweeper
from mmctl.engine.swept import Scope, Swept
from mmctl.errors import MmctlError
from mmctl.ports import Clock, Feed

STAGGER_S = 0.01
"""How far apart the pairs of one engine start, within their near interval, so that many of them do not
all send at the same moment."""

STOP_DEADLINE_S = 60.0
"""How long a stop sweeps before it lists what remains."""

GUARD_RESTART_S = 1.0

PROGRESS_EVERY_S = 1.0
"""How often at least a quoting loop says that it goes on, however long its interval is."""

TURN_PATIENCE = 2
"""A turn reads and sends at most so often."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a run ends by itself: after so many turns of every pair's first layer, or so many seconds."""

    rounds: int | None = None
    for_s: float | None = None


class Engine:
    """Quotes the given pairs, each through its account's desk, until it is told to stop."""

    def __init__(self, pairs: Sequence[Pair], feed: Feed, clock: Clock) -> None:
        self.pairs = tuple(pairs)
        self._desks: tuple[AccountDesk, ...] = tuple(dict.fromkeys(pair.desk for pair in pairs))
        self._feed = feed
        self._clock = clock
        self._started_s = clock.monotonic()
        self._guards: list[asyncio.Task[None]] = []
        self._done: list[Pair] = []
        """The pairs that have taken all their turns while others still take theirs."""
        self._any_done = asyncio.Event()
        self._due_by_s: dict[Pair, float] = {}
        """The monotonic time by which each pair that still takes turns must have begun its next one."""
        self.lateness_s: deque[float] = deque(maxlen=5_000)
        """How late each of the newest turns began, in seconds."""

    def views(self) -> list[PairView]:
        """What the live view draws."""
        return [view_of(pair) for pair in self.pairs]

    def overdue(self) -> tuple[str, ...]:
        """The pairs whose turns do not go on: a watchdog must not hear that all is well."""
        now_s = self._clock.monotonic()
        return tuple(pair.spec.name for pair, by_s in self._due_by_s.items() if now_s > by_s)

    def place_no_more(self) -> None:
        """Send no placement from this moment on; ``stop`` is to follow, and no more turns are due."""
        self._due_by_s.clear()
        for pair in self.pairs:
            pair.gate.stopping = True

    async def prepare(self, next_epoch: Callable[[AccountDesk, int], int]) -> None:
        """Read balances, take up what earlier runs left, and take an epoch above all that were seen.

        Raises ``PairHeld`` where another engine quotes one of the pairs, ``VenueError`` where the venue cannot be read,
        ``StateUnreadable`` where the journal cannot, or where no epoch can be had.
        """
        for desk in self._desks:
            pairs = [pair for pair in self.pairs if pair.desk is desk]
            await desk.presence.claim([pair.spec.symbol for pair in pairs])
            recovering = asyncio.gather(*(recover(pair) for pair in pairs))
            limited = [measure(pair) for pair in pairs if pair.spec.limits is not None]
            _, seen, _, _ = await asyncio.gather(
                patiently(self._clock, desk.refresh_balances),
                recovering,
                asyncio.gather(*limited),
                look_outside(desk, pairs),
            )
            desk.epoch = next_epoch(desk, await desk.presence.floor(max(seen, default=0)))
            desk.presence.begin(desk.epoch, partial(pair_records, pairs))
            desk.scribe.started([pair.spec.symbol for pair in pairs])

    async def run(self, limits: Limits) -> None:
        """Quote until ``limits`` or cancellation; ``stop`` is to follow in either case."""
        # What is there by now stays to the end. A whole collection that looks at all of it would stop every pair
        # for more than a tenth of a second; of what a run itself leaves behind there is little.
        gc.freeze()
        for desk in self._desks:
            pairs = [pair for pair in self.pairs if pair.desk is desk]
            self._guard(pairs[0], "presence", desk.presence.run)
            self._guard(pairs[0], "halt guard", partial(watch_halts, pairs))
            self._guard(pairs[0], "answers guard", partial(watch_answers, pairs))
        for number, pair in enumerate(self.pairs):
            self._guard(pair, "stale guard", partial(watch_book, pair))
            self._guard(pair, "reading ahead", partial(read_ahead, pair, self._feed))
            self._guard(pair, "settling", partial(settle_unknown, pair))
            # These two ask the venue at intervals: not for all pairs at the same moment.
            self._guard(pair, "comparing", partial(compare_now_and_then, pair), start_in_s=number * STAGGER_S)
            if pair.spec.limits is not None:
                self._guard(pair, "basis guard", partial(watch_basis, pair), start_in_s=number * STAGGER_S)
        try:
            async with self._getting_on(self.pairs):
                await asyncio.gather(*(desk.presence.ready() for desk in self._desks))
            async with asyncio.timeout(limits.for_s), self._rest_get_on(), asyncio.TaskGroup() as quoting:
                for number, pair in enumerate(self.pairs):
                    quoting.create_task(self._quote(pair, number * STAGGER_S, limits.rounds))
        except TimeoutError:
            return
        finally:
            gc.unfreeze()

    async def stop(
        self, *, leave_orders: bool, deadline_s: float = STOP_DEADLINE_S, why: str = ""
    ) -> dict[AccountDesk, Swept]:
        """Stop placing, cancel all known own orders at once, and sweep until the venue is proven empty.

        ``why`` is for the journal. Returns how each account's sweep ended; nothing with ``leave_orders``.
        """
        self.place_no_more()
        swept: dict[AccountDesk, Swept] = {}
        try:
            if not leave_orders:
                sweeps = (self._sweep(desk, deadline_s) for desk in self._desks)
                async with self._getting_on(self.pairs):
                    told = await asyncio.gather(*sweeps, return_exceptions=True)
                results = dict(zip(self._desks, told, strict=True))
                swept = {desk: one for desk, one in results.items() if isinstance(one, Swept)}
                for one in results.values():  # what ended a sweep has ended no other account's
                    if isinstance(one, BaseException):
                        raise one
            return swept
        finally:
            for desk in dict.fromkeys(pair.desk for pair in self.pairs):
                symbols = [pair.spec.symbol for pair in self.pairs if pair.desk is desk]
                desk.scribe.ended(symbols, swept.get(desk), why)
            for task in self._guards:
                task.cancel()
            await asyncio.gather(*self._guards, return_exceptions=True)
            await asyncio.gather(*(pair.gate.written_down() for pair in self.pairs))
            gone = {desk for desk, one in swept.items() if one.proven}
            desks = dict.fromkeys(pair.desk for pair in self.pairs)
            await asyncio.gather(*(desk.presence.end(clean=leave_orders or desk in gone) for desk in desks))

    @asynccontextmanager
    async def _getting_on(self, pairs: Sequence[Pair]) -> AsyncIterator[None]:
        """Others see that ``pairs`` get on while they wait, are done, or stop, for a time that is bounded otherwise."""

        async def show() -> None:
            while True:
                for pair in pairs:
                    pair.got_on()
                await self._clock.sleep(PROGRESS_EVERY_S)

        async with _alongside(show()):
            yield

    @asynccontextmanager
    async def _rest_get_on(self) -> AsyncIterator[None]:
        """As ``_getting_on``, for the pairs that are done, once there is one."""

        async def show() -> None:
            await self._any_done.wait()
            async with self._getting_on(self._done):
                await asyncio.Event().wait()

        async with _alongside(show()):
            yield

    def summary(self, swept: dict[AccountDesk, Swept]) -> Summary:
        """The counts of the whole run, and what remains by the sweeps (by the ledger where none was made)."""
        totals = [pair.totals for pair in self.pairs]
        return Summary(
            rounds=sum(state.rounds for pair in self.pairs for state in pair.layers.values()),
            placed=sum(one.placed for one in totals),
            kept=sum(one.kept for one in totals),
            cancelled=sum(one.cancelled for one in totals),
            rejected=sum(one.rejected for one in totals),
            unknown=sum(one.unknown for one in totals),
            fills=sum(one.fills for one in totals),
            faults=sum(one.faults for one in totals),
            pairs=tuple(_pair_summary(pair, swept.get(pair.desk)) for pair in self.pairs),
            elapsed_ms=(self._clock.monotonic() - self._started_s) * 1000,
            near_turns_with_book=sum(one.near_turns_with_book for one in totals),
        )

    async def _sweep(self, desk: AccountDesk, deadline_s: float) -> Swept:
        pairs = [pair for pair in self.pairs if pair.desk is desk]
        sweeper = Sweeper(
            desk.venue,
            self._clock,
            Scope(tuple(pair.spec.symbol for pair in pairs), newest_epoch=desk.epoch),
            deadline_s=deadline_s,
            quiet=lambda: _are_quiet(pairs),
        )
        desk.tell_too(sweeper.on_event)
        batches = []
        for pair in pairs:
            orders = pair.cancellable(None, at_any_cost=True)
            batch = pair.cancel(orders, "stop")
            sweeper.asked([client_id for _, client_id in batch.unanswered])
            batches.append(batch)
            pair.doubts.set()
        # The listings are asked for as soon as the venue has answered; a lost answer is not waited for.
        await asyncio.gather(*(batch.answered(min(deadline_s, CANCEL_AGAIN_S)) for batch in batches))
        return await sweeper.run()

    def _guard(self, pair: Pair, name: str, work: Callable[[], Awaitable[None]], *, start_in_s: float = 0.0) -> None:
        self._guards.append(asyncio.create_task(self._guarded(pair, name, work, start_in_s)))

    async def _guarded(self, pair: Pair, name: str, work: Callable[[], Awaitable[None]], start_in_s: float) -> None:
        """Keep a guard at work: a fault of ours in it is told, near orders go, and it starts again."""
        told = ""
        if start_in_s:
            await self._clock.sleep(start_in_s)
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - saves the guard: without it orders would rest unwatched
                self._on_fault(pair, error, f"{name} starts again in {GUARD_RESTART_S:g} s", tell=repr(error) != told)
                told = repr(error)
                _end_if_cancelled()
            await self._clock.sleep(GUARD_RESTART_S)

    async def _quote(self, pair: Pair, start_in_s: float, rounds: int | None) -> None:
        """Take the pair's turns, near before far where both are due."""
        interval_s = min(state.spec.interval_s for state in pair.layers.values())
        start_s = self._clock.monotonic() + start_in_s % interval_s
        due_s = dict.fromkeys(pair.layers, start_s)
        counted = next(iter(pair.layers))
        patience_s = TURN_PATIENCE * (READ_DEADLINE_S + pair.desk.venue.request_timeout_s + ANSWER_GRACE_S)
        while True:
            layer = min(due_s, key=lambda one: (due_s[one], one is not counted))
            now_s = self._clock.monotonic()
            enough = rounds is not None and pair.layers[counted].turns >= rounds
            if enough and (layer is counted or due_s[layer] > now_s):
                self._due_by_s.pop(pair, None)
                self._done.append(pair)
                self._any_done.set()
                return
            self._due_by_s[pair] = max(now_s, due_s[layer]) + patience_s
            await self._wait_until(pair, due_s[layer])
            self.lateness_s.append(self._clock.monotonic() - due_s[layer])
            await self._take_turn(pair, layer)
            pair.got_on()
            interval_s = pair.layers[layer].spec.interval_s
            past = int((self._clock.monotonic() - due_s[layer]) / interval_s)
            due_s[layer] += interval_s * (past + 1)

    async def _wait_until(self, pair: Pair, due_s: float) -> None:
        """Wait for a turn, and show meanwhile that the loop still goes on."""
        pair.got_on()
        for _ in range(int((due_s - self._clock.monotonic()) / PROGRESS_EVERY_S)):
            await self._clock.sleep(PROGRESS_EVERY_S)
            pair.got_on()
        if due_s > self._clock.monotonic():
            await self._clock.sleep(due_s - self._clock.monotonic())

    async def _take_turn(self, pair: Pair, layer: Layer) -> None:
        try:
            await turn(pair, self._feed, layer)
        except Exception as error:  # noqa: BLE001 - saves the pair: its near orders go, and it backs off
            waits_s = [state.back_off(self._clock.monotonic(), faulted=True) for state in pair.layers.values()]
            batch = self._on_fault(pair, error, f"backing off for {min(waits_s):g} s")
            _end_if_cancelled()
            await settle(pair, batch)
        if layer is Layer.FAR:
            pair.compare_wanted.set()

    def _on_fault(self, pair: Pair, error: Exception, then: str, *, tell: bool = True) -> Batch:
        """A fault cancels the pair's near orders, and the venue is the truth after it."""
        orders = pair.cancellable(Layer.NEAR)
        if tell:
            pair.fault(_kind(error), str(error), f"cancelling {len(orders)} near orders, {then}")
        for state in pair.layers.values():
            state.last_alert = _kind(error)
        pair.compare_wanted.set()
        pair.doubts.set()
        return pair.cancel(orders, "fault")


def _end_if_cancelled() -> None:
    """A fault that comes while a task is cancelled takes the place of the cancellation, which is still to be obeyed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _kind(error: Exception) -> str:
    return error.kind if isinstance(error, MmctlError) else type(error).__name__


def _are_quiet(pairs: Sequence[Pair]) -> bool:
    """Whether no order of these pairs is live as far as their ledgers know; what is, is looked for on the venue."""
    busy = [pair for pair in pairs if pair.ledger.live()]
    for pair in busy:
        pair.compare_wanted.set()
    return not busy


@asynccontextmanager
async def _alongside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """``work`` goes on for as long as this is entered."""
    working = asyncio.create_task(work)
    try:
        yield
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _pair_summary(pair: Pair, swept: Swept | None) -> PairSummary:
    """What is left of one pair; ``open_orders`` is ``None`` where the last listing could not be read."""
    name, instrument, position = pair.spec.name, pair.instrument, pair.ledger.position
    if swept is None:
        return PairSummary(name, instrument, position, tuple(pair.ledger.live()))
    if swept.remaining is None:
        return PairSummary(name, instrument, position, None, swept.unread)
    left = [_as_order(pair, seen) for symbol, seen in swept.remaining if symbol == pair.spec.symbol]
    known = {order.client_id for order in left}
    unanswered = [one for one in pair.ledger.live() if one.state is not State.OPEN and one.client_id not in known]
    return PairSummary(name, instrument, position, (*left, *unanswered))


def _as_order(pair: Pair, seen: Seen) -> Order:
    """An order that a listing showed, as far as the listing tells it."""
    own = decode_own_id(seen.client_id)
    if own is None:
        raise ValueError(f"{seen.client_id} is not an own order")
    instrument = pair.instrument
    return Order(
        client_id=seen.client_id,
        layer=own.layer,
        side=seen.side,
        price=instrument.ticks(seen.price, seen.side),
        qty=instrument.lots(seen.qty),
        filled=instrument.lots(seen.filled),
        state=State.OPEN,
        order_id=seen.order_id,
        epoch=own.epoch,
    )
