"""The stale guard: what rests on a stale book goes in time, whatever the feed does, and quoting resumes by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mmctl.core.book import Book
from mmctl.core.events import CancelRefused
from mmctl.core.freshness import BookAge
from mmctl.core.order import CancelOrder, CancelState, Layer, NewOrder, Side, State
from mmctl.core.report import Faulted, RoundDone, Skipped
from mmctl.engine.guard import POLL_S
from mmctl.engine.pair_view import view_of
from mmctl.errors import FeedUnreachable, NoBook

from .world import (
    BTC,
    T0_MS,
    VIRTUAL,
    D,
    FakeFeed,
    Sent,
    World,
    both,
    far,
    ghost,
    keep_all,
    lose_all,
    make_book,
    near,
    now_s,
    pair_spec,
    quoting,
    strangers,
    until,
)

pytestmark = VIRTUAL

SLACK_S = 0.1
"""How long after the quote timeout the last cancel may leave."""

STEP_S = 0.1
"""A book is stamped with its step, so it may be this much older than its reading."""


def one_sided(feed: FakeFeed) -> Book:
    return replace(feed.book(BTC), asks=())


def crossed(feed: FakeFeed) -> Book:
    book = feed.book(BTC)
    return replace(book, bids=book.asks[:3][::-1], asks=book.bids[:3][::-1])


def empty(feed: FakeFeed) -> Book:
    return replace(feed.book(BTC), bids=(), asks=())


def future(feed: FakeFeed) -> Book:
    book = feed.book(BTC)
    return replace(book, ts_ms=book.ts_ms + 60_000)


def serve(make: Callable[[FakeFeed], Book]) -> Callable[[FakeFeed], None]:
    return lambda feed: feed.serve(BTC, lambda: make(feed))


FAILURES: dict[str, Callable[[FakeFeed], None]] = {
    "silent": lambda feed: feed.silent(BTC),
    "unreachable": lambda feed: feed.fail(BTC, FeedUnreachable("connection refused")),
    "no book": lambda feed: feed.fail(BTC, NoBook("nothing under that key")),
    "hanging": lambda feed: feed.hang(BTC),
    "broken": lambda feed: feed.fail(BTC, ValueError("a bug of the feed")),
    "crossed": serve(crossed),
    "empty": serve(empty),
    "one-sided": serve(one_sided),
    "future": serve(future),
    "older": lambda feed: feed.serve(BTC, lambda: make_book(BTC, T0_MS - 60_000)),
}


async def left_in_time(world: World, failed_s: float, layer: Layer) -> None:
    """Every order of ``layer`` has been asked to go by its timeout and the slack, and not before its time."""
    timeout_s = world.pair.layers[layer].spec.quote_timeout_s
    mine = {order.client_id for order in world.pair.ledger.live() if order.layer is layer}
    assert mine
    before = len(world.venue.cancels())
    await asyncio.sleep(failed_s + timeout_s + SLACK_S + 1e-6 - now_s())
    cancels = {client_id: at_s for at_s, client_id in world.venue.cancels()[before:]}
    assert mine <= cancels.keys()
    late = [at_s - failed_s - timeout_s for client_id, at_s in cancels.items() if client_id in mine]
    assert max(late) <= SLACK_S + 1e-6
    assert min(late) >= -STEP_S - 1e-6


@pytest.mark.parametrize("interval_s", [0.3, 30.0])
@pytest.mark.parametrize("failure", [name for name in FAILURES if name != "broken"])
async def test_every_layer_is_cancelled_at_its_own_quote_timeout(
    state_dir: Path, failure: str, interval_s: float
) -> None:
    spec = pair_spec("BTC", near(interval_s=interval_s), far(interval_s=2 * interval_s))
    async with quoting(state_dir, spec) as world:
        await asyncio.sleep(20.03)
        assert len(world.venue.own()) == 10
        assert not world.faults(), "a long interval with a fresh feed never looks stale"
        last_read_s = max(at_s for at_s, _ in world.fake.reads)
        FAILURES[failure](world.fake)
        # A writer that dies leaves its last book, which nobody has read yet.
        failed_s = now_s() if failure == "silent" else last_read_s
        await left_in_time(world, failed_s, Layer.NEAR)
        assert len(world.venue.own(layer=Layer.FAR)) == 4, "each layer has its own timeout"
        await left_in_time(world, failed_s, Layer.FAR)
        await asyncio.sleep(0.1)
        assert not world.venue.own()
        placed = len(world.venue.placed())
        await asyncio.sleep(20)
        assert len(world.venue.placed()) == placed, "nothing is quoted on such a book"
        assert len(world.faults()) <= 2, "told once a layer"
        world.fake.mend(BTC)
        await until(lambda: len(world.venue.own()) == 10, 2 * interval_s + 1, 0.1)
        assert view_of(world.pair).quoting


async def test_a_feed_that_raises_what_it_should_not_delays_no_cancel(state_dir: Path) -> None:
    """A bug in the feed is a fault: near goes at once, far at its timeout, and the pair comes back by itself."""
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(20.03)
        last_read_s = max(at_s for at_s, _ in world.fake.reads)
        FAILURES["broken"](world.fake)
        await asyncio.sleep(1)
        assert not world.venue.own(layer=Layer.NEAR)
        await left_in_time(world, last_read_s, Layer.FAR)
        await asyncio.sleep(30)
        assert not world.venue.own()
        assert len(world.faults("ValueError")) < 10
        world.fake.mend(BTC)
        await until(lambda: len(world.venue.own()) == 10, 70, 0.1)


@pytest.mark.parametrize("timeouts", [(0.1, 0.1), (0.4, 1.3), (1.0, 2.0), (3.0, 3.2), (10.0, 10.05)])
async def test_any_pair_of_timeouts_is_kept(state_dir: Path, timeouts: tuple[float, float]) -> None:
    spec = pair_spec("BTC", near(quote_timeout_s=timeouts[0]), far(quote_timeout_s=timeouts[1]))
    async with quoting(state_dir, spec) as world:
        await until(lambda: len(world.venue.own()) == 10, 5)
        last_read_s = max(at_s for at_s, _ in world.fake.reads)
        world.fake.hang(BTC)
        known = {order.client_id: order.layer for order in world.pair.ledger.live()}
        await asyncio.sleep(12)
        cancels = {client_id: at_s for at_s, client_id in reversed(world.venue.cancels())}
        for client_id, layer in known.items():
            late = cancels[client_id] - last_read_s - world.pair.layers[layer].spec.quote_timeout_s
            assert -STEP_S - 1e-6 <= late <= SLACK_S + 1e-6, (layer, late)


async def test_a_frozen_book_is_stale_though_its_stamps_go_on(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(1.53)
        still = world.fake.book(BTC)
        changed_s = max(at_s for at_s, _ in world.fake.reads)
        world.fake.serve(BTC, lambda: replace(still, ts_ms=world.clock.wall_ms()))
        await asyncio.sleep(29)
        assert len(world.venue.own()) == 10
        await until(lambda: not world.venue.own(), 3)
        frozen_s = min(at_s for at_s, _ in world.venue.cancels(changed_s)) - changed_s
        assert frozen_s <= 30 + 1 + SLACK_S
        assert world.faults("frozen_book")
        await asyncio.sleep(30)
        assert not world.venue.own()
        world.fake.mend(BTC)
        await until(lambda: len(world.venue.own()) == 10, 5)


async def test_a_crossed_book_is_never_replaced_by_an_older_one(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        FAILURES["crossed"](world.fake)
        await asyncio.sleep(1)
        FAILURES["older"](world.fake)
        await asyncio.sleep(3)
        assert len(world.rounds()) == 1
        assert {one.reason for one in world.told(Skipped)} <= {"unusable_book", "stale_book"}


async def test_a_book_one_second_ahead_is_fine_and_further_is_named(state_dir: Path) -> None:
    def ahead(ms: int) -> Callable[[FakeFeed], Book]:
        return lambda feed: replace(feed.book(BTC), ts_ms=feed.book(BTC).ts_ms + ms)

    async with quoting(state_dir, before=lambda world: serve(ahead(900))(world.fake)) as world:
        await asyncio.sleep(3.5)
        assert len(world.rounds()) == 4
        assert world.rounds()[-1].book.age_ms == 0
        serve(ahead(5000))(world.fake)
        await asyncio.sleep(2)
        skipped = world.told(Skipped)
        assert {one.reason for one in skipped} == {"future_book"}
        assert any("s ahead" in one.detail for one in skipped)


async def test_the_wall_clock_may_jump_ahead(state_dir: Path) -> None:
    """The book is then old by its own time: its orders go at once, and quoting resumes with the clock."""
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        offset = world.clock._wall_offset_ms
        assert offset is not None
        still = world.fake
        real = still.book
        still.book = lambda key: replace(real(key), ts_ms=real(key).ts_ms - 60_000)  # type: ignore[method-assign]
        world.clock._wall_offset_ms = offset + 60_000
        jumped_s = now_s()
        await until(lambda: not world.venue.own(), 1)
        assert now_s() - jumped_s <= POLL_S + 0.06
        world.clock._wall_offset_ms = offset
        still.book = real  # type: ignore[method-assign]
        await until(lambda: len(world.venue.own()) == 6, 2)


async def test_an_order_that_was_in_flight_at_the_timeout_goes_as_soon_as_it_is_answered(state_dir: Path) -> None:
    async with quoting(state_dir, pair_spec("BTC", near(quote_timeout_s=0.5, interval_s=3.0))) as world:
        world.set_faults(latency_ms=1000)
        await asyncio.sleep(0.01)
        world.fake.silent(BTC)
        await until(lambda: any(order.state is State.OPEN for order in world.pair.ledger.live()), 3)
        opened_s = now_s()
        await until(world.venue.cancels, 1)
        assert now_s() - opened_s <= SLACK_S + 0.01
        await asyncio.sleep(5)


async def test_a_lost_cancel_of_the_guard_is_repeated_and_told_once(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        world.fake.silent(BTC)
        lose_all(world, arrives=False)
        world.set_faults(read_failure_rate=1.0)
        await asyncio.sleep(30)
        asked = [client_id for _, client_id in world.venue.cancels()]
        assert 6 * 4 <= len(asked) <= 6 * 6, "repeated, and no flood"
        keep_all(world)
        world.set_faults(read_failure_rate=0.0)
        await until(lambda: not world.venue.own(), 10)
        assert len(world.faults("stale_book")) == 1
        assert len(world.faults("query")) <= 2


async def test_a_cancel_that_finds_nothing_makes_no_flood(state_dir: Path) -> None:
    """The venue forgot an order: until that is proven its cancel is repeated at the guard's own pace."""
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        for order in world.pair.ledger.live():
            world.venue._exchange._open.pop(order.client_id)
        world.fake.silent(BTC)
        await asyncio.sleep(30)
        assert not world.pair.ledger.live()
        assert len(world.venue.cancels()) <= 6 * 15
        assert len(world.faults()) <= 6 + 6


async def test_an_order_that_turns_up_from_elsewhere_is_watched_too(state_dir: Path) -> None:
    """Nothing of ours rests, so the guard sleeps; an order of an earlier run appears on the user stream."""
    async with quoting(state_dir, pair_spec("BTC", near(interval_s=60.0))) as world:
        await asyncio.sleep(0.5)
        world.fake.silent(BTC)
        await until(lambda: not world.pair.ledger.live(), 5)
        await asyncio.sleep(1)
        late = ghost(next(strangers(7, Side.BUY)), Side.BUY, "95")
        world.venue.submit([late], [])
        await until(lambda: late.client_id in {one for _, one in world.venue.cancels()}, 2)
        await asyncio.sleep(0.5)
        assert not world.venue.own()
        assert not world.pair.strangers


@pytest.mark.parametrize("name", ["watch_book", "watch_halts", "settle_unknown", "compare_now_and_then", "read_ahead"])
async def test_a_guard_that_raises_is_told_and_starts_again(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from mmctl.engine import loop

    whole, calls = getattr(loop, name), []

    async def broken(*args: object) -> None:
        calls.append(now_s())
        if len(calls) < 4:
            raise RuntimeError("a bug of ours")
        await whole(*args)

    monkeypatch.setattr(loop, name, broken)
    async with quoting(state_dir) as world:
        await asyncio.sleep(10)
        assert len(calls) == 4
        assert len(world.faults("RuntimeError")) == 1, "told once while it is the same"
        assert world.venue.own() == world.target()
        world.fake.silent(BTC)
        world.set_faults(timeout_rate=0.0)
        await until(lambda: not world.venue.own(), 3)


async def test_the_stale_guard_works_while_a_round_waits_for_its_venue(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.53)
        old = {order.client_id for order in world.pair.ledger.live()}
        world.venue.stall()
        world.move("100.05")
        await asyncio.sleep(0.6)
        last_read_s = max(at_s for at_s, _ in world.fake.reads)
        world.fake.hang(BTC)
        far_ones = {order.client_id for order in world.pair.ledger.live() if order.layer is Layer.FAR}
        assert far_ones <= old
        await asyncio.sleep(last_read_s + 5 + SLACK_S - now_s() + 1e-6)
        assert far_ones <= {client_id for _, client_id in world.venue.cancels()}
        world.venue.resume()
        await asyncio.sleep(10)


async def test_reading_ahead_costs_little(state_dir: Path) -> None:
    """One more look shortly before the timeout, not a second feed."""
    spec = pair_spec("BTC", near(interval_s=60.0, quote_timeout_s=10.0))
    async with quoting(state_dir, spec) as world:
        await asyncio.sleep(59)
        assert not world.faults()
        assert len(world.fake.reads) <= 1 + 59 / 9.5 + 1


async def test_what_the_guard_did_is_told_with_its_reason(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        world.fake.fail(BTC, FeedUnreachable("connection refused"))
        await asyncio.sleep(3)
        (fault,) = world.told(Faulted)
        assert fault.kind == "stale_book"
        assert "connection refused" in fault.detail
        assert "6 near orders" in fault.action
        assert not view_of(world.pair).quoting
        assert {order.cancel for order in world.pair.ledger.live()} <= {CancelState.NONE}
        assert [one.layer for one in world.told(RoundDone)] == [Layer.NEAR]
        assert D(100) == world.fake.mids.get(BTC, D(100))


async def test_the_first_book_of_all_is_an_old_one_and_what_was_adopted_goes_at_once(state_dir: Path) -> None:
    """Before there was a book the time-out counts from the start; the first book can be older than that."""
    async with quoting(state_dir) as first:
        await until(lambda: len(first.venue.own()) == 6, 5)
        first.fake.hang(BTC)
        old = first.fake.book(BTC)
        await asyncio.sleep(0.5)
        first.pair.age = BookAge(30.0, now_s())  # as that of a new engine that has adopted them
        await asyncio.sleep(0.2)
        first.fake.serve(BTC, lambda: replace(old, ts_ms=old.ts_ms - 60_000))
        read_s = now_s() + await until(lambda: first.pair.age.book is not None, 5)
        await asyncio.sleep(0.15)
        assert {at_s for at_s, _ in first.venue.cancels(read_s - 0.2)}, "nothing was cancelled"
        assert len(first.venue.cancels(read_s - 0.2)) == 6


async def test_a_wall_clock_that_is_set_forward_makes_books_old_at_once(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await until(lambda: len(world.venue.own()) == 6, 5)
        world.fake.silent(BTC)
        wall_ms = world.clock.wall_ms
        set_s = now_s()
        world.clock.wall_ms = lambda: wall_ms() + 60_000  # type: ignore[method-assign]
        await asyncio.sleep(0.25)
        cancels = world.venue.cancels(set_s)
        assert len(cancels) == 6
        assert max(at_s for at_s, _ in cancels) <= set_s + SLACK_S + 1e-6


async def test_cancels_that_the_venue_refuses_are_not_repeated_ten_times_a_second(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await until(lambda: len(world.venue.own()) == 6, 5)
        whole = world.venue.submit

        def refusing(places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
            world.venue.sent.append(Sent(now_s(), tuple(places), tuple(cancels)))
            for cancel in cancels:
                refused = CancelRefused(cancel.client_id, False, "outside of the recvWindow")
                asyncio.get_running_loop().call_later(0.01, world.desk._on_event, cancel.symbol, refused)

        world.venue.submit = refusing  # type: ignore[method-assign]
        world.fake.silent(BTC)
        began_s = now_s()
        await asyncio.sleep(8)
        world.venue.submit = whole  # type: ignore[method-assign]
        asked = world.venue.cancels(began_s)
        assert asked
        assert len(asked) <= 6 * 10


async def spoils_its_end(*args: object) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise RuntimeError("a bug of ours")


@pytest.mark.parametrize("name", ["watch_book", "compare_now_and_then"])
async def test_a_guard_that_fails_while_it_is_cancelled_ends(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Otherwise a stop would wait for it for ever."""
    from mmctl.engine import loop

    monkeypatch.setattr(loop, name, spoils_its_end)
    async with quoting(state_dir) as world:
        await asyncio.sleep(1)
        async with asyncio.timeout(90):
            await world.stop()
        assert not world.venue.own()


async def test_a_turn_that_fails_while_it_is_cancelled_ends_the_run(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmctl.engine import loop

    monkeypatch.setattr(loop, "turn", spoils_its_end)
    async with quoting(state_dir) as world:
        await asyncio.sleep(1)
        async with asyncio.timeout(30):
            await world.end()
