"""What is about to be placed is in the journal first; and what the journal remembers is gone on with after a kill."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from mmctl.core.entries import Entry, Kind, Recalled, Unfinished
from mmctl.core.events import CancelRefused, Ended, Fill, Seen
from mmctl.core.order import CancelOrder, Layer, NewOrder, Side, State
from mmctl.core.report import RoundDone
from mmctl.engine.pair_view import view_of
from mmctl.engine.reconcile import catch_up
from mmctl.errors import JournalUnwritable, VenueUnreachable
from mmctl.ports import Listing

from .world import (
    BTC,
    VIRTUAL,
    D,
    World,
    both,
    foreign,
    ghost,
    make_world,
    near,
    now_s,
    pair_spec,
    prepare,
    quoting,
    strangers,
    until,
)

pytestmark = VIRTUAL

OLD = next(strangers(1_600_000_000, Side.BUY))


def left_behind(price: str = "99.80", **changes: object) -> Unfinished:
    made = {
        "client_id": OLD,
        "layer": Layer.NEAR,
        "side": Side.BUY,
        "price": D(price),
        "qty": D(5),
        "epoch": 1_600_000_000,
        "intended_at_ms": 1_699_999_999_000,
        "accepted": False,
    }
    return Unfinished(**(made | changes))  # type: ignore[arg-type]


async def recovered(state_dir: Path, *unfinished: Unfinished, position: str = "0", last: str | None = None) -> World:
    world = make_world(state_dir, pair_spec())
    world.journal.recalled["BTCUSDT"] = Recalled(unfinished, D(position), last)
    await prepare(world)
    return world


async def test_every_order_is_in_the_journal_before_it_leaves(state_dir: Path) -> None:
    unwritten: list[str] = []

    def watch(world: World) -> None:
        def check(places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
            unwritten.extend(one.client_id for one in places if not world.journal.of(Kind.INTENT, one.client_id))

        world.venue.before_submit = check

    async with quoting(state_dir, both(), before=watch) as world:
        await asyncio.sleep(4)
        world.move("100.30")
        await asyncio.sleep(4)
        placed = world.venue.placed()
        assert len(placed) > 10
        assert not unwritten
        for order in placed:
            story = [one.kind for one in world.journal.entries if one.client_id == order.client_id]
            assert story[:3] == [Kind.INTENT, Kind.REQUEST, Kind.REPLY]


async def test_an_intent_tells_its_decision_and_the_book_it_came_from(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        decision = world.journal.of(Kind.DECISION)[0].body
        intents = world.journal.of(Kind.INTENT)
        assert len(intents) == 6
        assert {one.body["decision"] for one in intents} == {decision["decision"]}
        book = decision["book"]
        assert isinstance(book, dict)
        assert (book["bid"], book["ask"]) == ("99.99", "100.01")
        assert len(book["digest"]) == 16
        assert intents[0].body["price"] == "100.12"


async def test_a_slow_journal_holds_placements_and_no_cancel(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        world.journal.takes_s = 0.3
        world.move("100.05")
        await until(lambda: world.venue.cancels(after_s=0.9), 2)
        cancelled_s = world.venue.cancels(after_s=0.9)[0][0]
        await asyncio.sleep(0.5)
        placed_s = world.venue.sent[-1].at_s
        assert len(world.venue.sent[-1].places) == 6
        assert placed_s - cancelled_s == pytest.approx(0.295, abs=0.01)
        assert world.rounds()[-1].cancelled == 6
        assert world.venue.own() == world.target()


async def test_placements_leave_first_while_the_journal_is_quick(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        world.journal.takes_s = 0.002
        world.move("100.05")
        await asyncio.sleep(1)
        last = world.venue.sent[-1]
        assert (len(last.places), len(last.cancels)) == (6, 6)


async def test_a_journal_slower_than_the_interval_places_nothing(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        world.journal.takes_s = 1.5
        await asyncio.sleep(4)
        assert not world.venue.placed()
        assert {one.reason for one in world.rounds()[-1].refused} == {"old_decision"}
        assert {one.body["state"] for one in world.journal.of(Kind.END)} == {"not_sent"}
        world.journal.takes_s = 0
        await asyncio.sleep(2)
        assert world.venue.own() == world.target()
        assert not world.desk.budget._reserved


@pytest.mark.parametrize("shown", [False, True])
async def test_a_journal_that_cannot_be_written_stops_placing_and_nothing_else(state_dir: Path, shown: bool) -> None:
    """The engine goes on, cancels too, and quotes again when the journal does. ``shown``: known before the attempt."""
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        world.journal.broken = "the disk is full"
        world.journal.fault = "the disk is full" if shown else ""
        world.move("100.05")
        await asyncio.sleep(1)
        assert not world.venue.own(), "what the book had left is gone"
        placed = len(world.venue.placed())
        await asyncio.sleep(3)
        assert len(world.venue.placed()) == placed
        if shown:
            assert "the disk is full" in view_of(world.pair).status
        else:
            assert {one.reason for one in world.rounds()[-1].refused} == {"journal"}
        world.journal.broken = world.journal.fault = ""
        await asyncio.sleep(2)
        assert world.venue.own() == world.target()
        assert not world.desk.budget._reserved


async def test_a_halt_that_comes_while_the_journal_is_written_holds(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        world.journal.takes_s = 0.3
        await asyncio.sleep(0.1)
        world.halt()
        await asyncio.sleep(1)
        assert not world.venue.placed()
        assert {one.reason for one in world.rounds()[-1].refused} == {"halted"}
        assert not world.desk.budget._reserved


async def test_an_own_order_that_appears_while_the_journal_is_written_is_not_met(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        world.journal.takes_s = 0.3
        await asyncio.sleep(0.1)
        mine = next(strangers(1_600_000_000, Side.SELL))
        world.pair.on_event(Seen(mine, "1", Side.SELL, D("99.70"), D(1), D(0), now_s(), "BTCUSDT"))
        await until(lambda: world.told(RoundDone), 2)
        done = world.rounds()[-1]
        assert {one.reason for one in done.refused} >= {"would_cross_own"}
        assert all(order.side is Side.SELL or order.price < 9970 for order in done.place)
        world.venue.check()


async def test_an_order_that_ends_or_is_cancelled_while_the_journal_is_written_is_not_cancelled_again(
    state_dir: Path,
) -> None:
    """The batch goes without those cancels; its placements would else be in flight for ever, and never have left."""
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        ended, cancelled, *_ = world.pair.ledger.live()
        write = world.journal.commit

        async def commit(entries: Sequence[Entry]) -> None:
            await write(entries)
            world.pair.on_event(Ended(ended.client_id, ended.order_id, State.CANCELLED))
            world.pair.cancel([cancelled], "by_hand")
            world.journal.commit = write  # type: ignore[method-assign]

        world.journal.commit = commit  # type: ignore[method-assign]
        world.move("100.05")
        await asyncio.sleep(1)
        assert not world.faults("KeyError")
        sent = [client_id for _, client_id in world.venue.cancels()]
        assert ended.client_id not in sent
        assert sent.count(cancelled.client_id) == 1
        assert len(world.venue.placed()) == 12
        assert {order.state for order in world.pair.ledger.live()} == {State.OPEN}


async def test_a_turn_broken_off_while_the_journal_is_written_frees_what_it_reserved(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        world.journal.takes_s = 0.3
        await asyncio.sleep(0.1)
        await world.end()
        assert not world.desk.budget._reserved
        assert len(world.journal.of(Kind.END)) == 6
        await asyncio.sleep(1)
        assert not world.venue.placed()


async def test_an_order_of_unknown_end_counts_as_live_until_its_landing_time_is_over(state_dir: Path) -> None:
    """Its level is not quoted a second time, and nothing is placed that it could meet."""
    world = await recovered(state_dir, left_behind("99.89"))
    assert [order.state for order in world.pair.ledger.live()] == [State.UNKNOWN]
    began_s = now_s()
    world.start()
    await asyncio.sleep(5)
    assert D("99.89") not in world.venue.prices()[Side.BUY]
    assert len(world.venue.prices()[Side.BUY]) == 2
    await until(lambda: len(world.venue.prices()[Side.BUY]) == 3, 20)
    assert now_s() - began_s > world.venue.landing_time_s
    assert not world.venue.placed_ids.count(OLD)
    await world.stop()
    await world.venue.close()


async def test_an_order_of_unknown_end_that_landed_is_gone_on_with(state_dir: Path) -> None:
    world = make_world(state_dir, pair_spec())
    world.venue.submit([ghost(OLD, Side.BUY, "99.89", qty="5")], [])
    await asyncio.sleep(0.5)
    world.journal.recalled["BTCUSDT"] = Recalled((left_behind("99.89"),))
    await prepare(world)
    world.start()
    await asyncio.sleep(3)
    assert [order.client_id for order in world.pair.ledger.live() if order.price == 9989] == [OLD]
    assert len(world.venue.prices()[Side.BUY]) == 3
    assert OLD not in [client_id for _, client_id in world.venue.cancels()]
    await world.stop()
    await world.venue.close()


async def test_fills_of_a_run_that_was_killed_are_counted_once(state_dir: Path) -> None:
    """Three of five were bought and told; one more was bought while nobody listened."""
    known = left_behind(accepted=True, trades=(("7", D(3)),))
    world = await recovered(state_dir, known, position="3", last="7")
    ledger = world.pair.ledger
    assert ledger.position == 3

    def fill(trade_id: str, qty: str) -> Fill:
        return Fill(OLD, "1", trade_id, Side.BUY, D("99.80"), D(qty), D(0), "USDT", True, 0)

    world.pair.on_event(fill("7", "3"))
    assert ledger.position == 3
    world.pair.on_event(fill("8", "1"))
    assert ledger.position == 4
    order = ledger.find(OLD)
    assert order is not None
    assert ledger.instrument.qty(order.filled) == 4
    assert world.journal.of(Kind.FILL)[0].body["trade_id"] == "8"
    await world.venue.close()


async def test_a_trade_that_a_kill_left_out_counts_though_its_order_is_over(state_dir: Path) -> None:
    """The reply to a cancel was written, the trade before it not: the order is finished, its trade is not counted."""
    before, other = next(strangers(1_500_000_000, Side.BUY)), next(strangers(1_600_000_000, Side.SELL))
    world = make_world(state_dir, pair_spec())
    past = Recalled((), D(3), "9", read_from="7", counted=frozenset({"9"}), ended_epoch=1_500_000_000)
    world.journal.recalled["BTCUSDT"] = past
    for client_id in (OLD, before):
        world.journal.note(Entry(Kind.INTENT, 0, "mock", "main", symbol="BTCUSDT", client_id=client_id))
    asked_from: list[str | None] = []

    async def fills(symbol: str, after_trade_id: str | None) -> list[Fill]:
        asked_from.append(after_trade_id)
        told = [(before, "7.5"), (OLD, "8"), (OLD, "9"), (other, "10")]
        return [Fill(who, "1", number, Side.BUY, D(99), D(1), D(0), "USDT", True, 0) for who, number in told]

    world.venue.fills = fills  # type: ignore[method-assign]
    await prepare(world)
    assert asked_from == ["7"]
    assert world.pair.ledger.position == 4
    assert [one.body["trade_id"] for one in world.journal.of(Kind.FILL)] == ["8"]
    assert "1 fills had not been told" in world.faults("trades")[0].detail
    await catch_up(world.pair)
    assert world.pair.ledger.position == 4
    await world.venue.close()


async def test_a_gap_while_trades_are_read_is_another_one(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        pair, gaps, reads = world.pair, 1, 0

        async def fills(symbol: str, after_trade_id: str | None) -> list[Fill]:
            nonlocal gaps, reads
            reads += 1
            if gaps:
                gaps -= 1
                pair.on_gap("the socket was cut")
            return []

        world.venue.fills = fills  # type: ignore[method-assign]
        pair.on_gap("the socket was cut")
        await asyncio.sleep(5)
        assert reads == 2
        assert not pair.trades_missed


async def test_trades_are_read_by_one_at_a_time_and_those_who_wait_share_the_next_reading(state_dir: Path) -> None:
    """A reading that is under way may be from before the trade that somebody asks for."""
    world = make_world(state_dir)
    await prepare(world)
    reads = at_once = 0

    async def fills(symbol: str, after_trade_id: str | None) -> list[Fill]:
        nonlocal reads, at_once
        reads, at_once = reads + 1, at_once + 1
        assert at_once == 1
        await asyncio.sleep(0.1)
        at_once -= 1
        if reads == 2:
            raise VenueUnreachable("no trades")
        return []

    world.venue.fills = fills  # type: ignore[method-assign]
    ends = await asyncio.gather(*(catch_up(world.pair) for _ in range(4)), return_exceptions=True)
    assert [str(one) for one in ends if one] == ["no trades"]
    assert reads == 3, "the first, one that failed, and one for the two who waited still"
    await world.venue.close()


async def test_the_journal_is_told_how_far_trades_were_read_when_that_is_new(state_dir: Path) -> None:
    world = make_world(state_dir)
    await prepare(world)
    newest = "8"

    async def fills(symbol: str, after_trade_id: str | None) -> list[Fill]:
        return [Fill(OLD, "1", newest, Side.BUY, D(99), D(1), D(0), "USDT", True, 0)]

    world.venue.fills = fills  # type: ignore[method-assign]
    for number in ("8", "8", "9"):
        newest = number
        await catch_up(world.pair)
    assert [one.body["trade_id"] for one in world.journal.of(Kind.TRADES)] == ["8", "9"]
    await asyncio.sleep(3600)
    await catch_up(world.pair)
    assert len(world.journal.of(Kind.TRADES)) == 3, "old entries go"
    await world.venue.close()


async def test_what_the_stream_tells_while_trades_are_read_was_told(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        bid = next(order for order in world.pair.ledger.live() if order.side is Side.BUY)
        told = Fill(bid.client_id, "1", "9", Side.BUY, D("99"), D(1), D(0), "USDT", True, 0)

        async def fills(symbol: str, after_trade_id: str | None) -> list[Fill]:
            world.pair.on_event(told)
            return [told]

        world.venue.fills = fills  # type: ignore[method-assign]
        await catch_up(world.pair)
        assert world.pair.ledger.position == 1
        assert not world.faults("trades")


async def test_trades_of_this_run_are_no_earlier_runs(state_dir: Path) -> None:
    """The venue's trades could not be read for so long that the ledger has forgotten an order which it counted."""
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        forgotten = world.desk.next_id(Layer.NEAR, Side.BUY)
        world.journal.note(Entry(Kind.INTENT, 0, "mock", "main", symbol="BTCUSDT", client_id=forgotten))

        async def fills(symbol: str, after_trade_id: str | None) -> list[Fill]:
            return [Fill(forgotten, "1", "9", Side.BUY, D("99"), D(1), D(0), "USDT", True, 0)]

        world.venue.fills = fills  # type: ignore[method-assign]
        assert world.pair.past is not None
        await catch_up(world.pair)
        assert world.pair.ledger.position == 0


async def test_a_journal_that_cannot_be_read_starts_nothing(state_dir: Path) -> None:
    world = make_world(state_dir)
    world.journal.broken = "it is no database"
    with pytest.raises(JournalUnwritable):
        await prepare(world)
    await world.venue.close()


async def test_an_order_that_the_journal_knows_is_no_ghost(state_dir: Path) -> None:
    """Two listings show it and the ledger does not know it: another run of this journal placed it."""
    async with quoting(state_dir, pair_spec("BTC", near(bid_levels=3))) as world:
        await asyncio.sleep(0.5)
        mine = world.desk.next_id(Layer.NEAR, Side.BUY)
        world.journal.note(Entry(Kind.INTENT, 0, "mock", "main", symbol="BTCUSDT", client_id=mine))
        world.venue.submit([ghost(mine, Side.BUY, "95.00", qty="5")], [])
        world.pair.strangers.clear()
        await asyncio.sleep(0.1)
        world.pair.strangers.clear()
        world.pair.compare_wanted.set()
        await until(lambda: world.pair.ledger.find(mine), 10)
        assert not world.faults("rollback")


async def test_own_orders_outside_the_profile_are_told_and_left_alone(state_dir: Path) -> None:
    world = make_world(state_dir, pair_spec("BTC"), pair_spec("ETH"))
    world.venue.submit([ghost(OLD, Side.BUY, "90", "ETHUSDT")], [])
    foreign(world, Side.BUY, "90", symbol="ETHUSDT")
    await asyncio.sleep(0.5)
    world.engine.pairs = world.engine.pairs[:1]
    await prepare(world)
    (told,) = world.faults("outside_profile")
    assert "1 own orders" in told.detail
    assert "ETHUSDT" in told.detail
    assert world.venue.open_now("ETHUSDT").own
    await world.venue.close()


async def test_a_fill_that_nobody_told_is_found_on_a_schedule(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        told = world.venue._line.listener

        def deaf(symbol: str, event: object) -> None:
            if not isinstance(event, Fill):
                told(symbol, event)  # type: ignore[arg-type]

        world.venue.listen(deaf)
        world.move("100.13")
        await asyncio.sleep(0.5)
        world.move("100")
        fills = world.venue._exchange.fills_after("BTCUSDT", None)
        assert fills
        await until(lambda: world.faults("trades"), 90)
        assert world.pair.ledger.position == sum(one.qty if one.side is Side.BUY else -one.qty for one in fills)


async def test_the_receipt_of_a_shutdown_tells_what_was_cancelled(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        known = sorted(order.client_id for order in world.pair.ledger.live())
        assert len(known) == 10
        await world.stop()
        (receipt,) = world.journal.of(Kind.STOP)
        cancelled = receipt.body["cancelled"]
        assert isinstance(cancelled, list)
        assert sorted(cancelled) == known


async def test_an_order_that_a_lagging_listing_shows_once_more_is_not_counted_twice(state_dir: Path) -> None:
    """The journal has its end and its trade; the venue's first listing is older than both."""
    world = make_world(state_dir, pair_spec())
    world.journal.recalled["BTCUSDT"] = Recalled((), D(5), "7", trades={OLD: (("7", D(5)),)})
    await prepare(world)
    world.pair.on_event(Seen(OLD, "31", Side.BUY, D("99.89"), D(5), D(0), now_s(), "BTCUSDT"))
    assert world.pair.ledger.position == D(5)
    world.pair.on_event(Ended(OLD, "31", State.FILLED, D(5), "filled"))
    assert world.pair.ledger.position == D(5), "its trade was counted by the run that saw it"
    await world.venue.close()


async def test_one_lost_answer_ends_no_start(state_dir: Path) -> None:
    world = make_world(state_dir, pair_spec())
    lost, listed = [2, 2], world.venue.open_orders

    async def flaky(symbol: str | None) -> Listing:
        kind = 0 if symbol is None else 1
        if lost[kind]:
            lost[kind] -= 1
            raise VenueUnreachable("no answer")
        return await listed(symbol)

    world.venue.open_orders = flaky  # type: ignore[method-assign]
    await prepare(world)
    lost[1] = 3
    with pytest.raises(VenueUnreachable):
        await prepare(world)
    await world.venue.close()


async def test_cancels_that_are_refused_again_and_again_are_told_once(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        submit = world.venue.submit

        def refuse(places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
            submit(places, ())
            for one in cancels:
                asyncio.get_running_loop().call_soon(
                    world.venue._line.listener, one.symbol, CancelRefused(one.client_id, False, "quiet, please")
                )

        world.venue.submit = refuse  # type: ignore[method-assign]
        world.fake.silent(BTC)
        await asyncio.sleep(8)
        assert len([one for one in world.faults("order") if "quiet" in one.detail]) == 1
        vars(world.venue).pop("submit")
        await until(lambda: not world.venue.own(), 70)
