"""The order of work: one batch a round, placements first, no wait for replies, and never a crossing.

The witness venue checks after all that happens to it that own orders do not cross, that none was prevented
from meeting another, and that no more than twice the ladder is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from mmctl.core.order import CancelOrder, Layer, NewOrder, Side, State
from mmctl.core.report import RoundDone

from .world import ROUND_TRIP_S, VIRTUAL, D, Sent, World, both, far, foreign, near, now_s, pair_spec, quoting

pytestmark = VIRTUAL


def changing(world: World) -> list[Sent]:
    """What was sent after the first ladder."""
    return [one for one in world.venue.sent[1:] if one.places or one.cancels]


async def test_placements_and_cancels_leave_together_in_one_batch(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        world.move("100.05")
        await asyncio.sleep(1)
        (sent,) = changing(world)
        assert (len(sent.places), len(sent.cancels)) == (6, 6)
        moved = world.rounds()[1]
        assert moved.send_ms == pytest.approx(1000 * ROUND_TRIP_S), "a round costs one round trip"
        assert world.venue.own() == world.target()


async def test_asks_and_bids_leave_in_turn_from_the_touch_outward(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        places = world.venue.sent[0].places
        assert [order.side for order in places] == [Side.SELL, Side.BUY] * 3
        asks = [order.price for order in places if order.side is Side.SELL]
        bids = [order.price for order in places if order.side is Side.BUY]
        assert asks == sorted(asks)
        assert bids == sorted(bids, reverse=True)


async def test_no_reply_is_awaited_between_the_placements_and_the_cancels(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        world.set_faults(latency_ms=400)
        world.move("100.25")
        await asyncio.sleep(0.7)
        (sent,) = changing(world)
        assert sent.places
        assert sent.cancels
        assert world.pair.ledger.live()
        assert {order.state for order in world.pair.ledger.live()} == {State.IN_FLIGHT, State.OPEN}
        await asyncio.sleep(2)


@pytest.mark.parametrize("lost", ["none", "places", "cancels", "all"])
async def test_whatever_replies_come_back_nothing_crosses(state_dir: Path, lost: str) -> None:
    """The market jumps by more than the ladder is wide, so that every new quote would meet an old one."""
    spec = pair_spec("BTC", near(quote_timeout_s=60.0, sell_margin_bps=D(0), buy_margin_bps=D(0)))
    async with quoting(state_dir, spec) as world:
        await asyncio.sleep(0.5)

        whole = world.venue.submit

        def split(places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
            """Each part of a batch keeps or loses its replies; half of what is lost never arrives."""
            for name, part in (("places", (places, ())), ("cancels", ((), cancels))):
                world.set_faults(timeout_rate=float(lost in (name, "all")))
                whole(*part)

        world.venue.submit = split  # type: ignore[method-assign]
        for step in range(12):
            world.move("100.60" if step % 2 == 0 else "100")
            await asyncio.sleep(2.5)
            world.venue.check()
            _no_ledger_crossing(world)
        world.venue.submit = whole  # type: ignore[method-assign]
        world.set_faults(timeout_rate=0.0)
        await asyncio.sleep(30)
        assert world.venue.own() == world.target()


def _no_ledger_crossing(world: World) -> None:
    live = world.pair.ledger.live()
    bids = [order.price for order in live if order.side is Side.BUY]
    asks = [order.price for order in live if order.side is Side.SELL]
    assert not bids or not asks or max(bids) < min(asks)


async def test_a_quote_that_would_cross_waits_for_the_cancel_and_is_decided_again(state_dir: Path) -> None:
    """After a jump the new bids lie above the old asks: these go first, and the newest book decides."""
    spec = pair_spec("BTC", near(buy_margin_bps=D(0), sell_margin_bps=D(0)))
    async with quoting(state_dir, spec) as world:
        began_s = now_s()
        await asyncio.sleep(0.5)
        old_asks = world.venue.prices()[Side.SELL]
        # Nobody's trade reaches the venue, so that the old asks still rest when the round comes.
        world.fake.mids[spec.follow] = D("100.50")
        asyncio.get_running_loop().call_at(began_s + 1.03, world.move, "100.45")  # the cancels have arrived
        await asyncio.sleep(0.7)
        first, again = world.rounds()[1:]
        assert (first.follow_up, again.follow_up) == (False, True)
        assert first.round == again.round == 2
        assert {one.reason for one in first.refused} == {"would_cross_own"}
        assert {wanted.order.side for wanted in first.cancel} >= {Side.SELL}
        assert first.book.bid == "100.49"
        assert again.book.bid == "100.44", "what waited is never sent from the old plan"
        placed = [order for sent in changing(world) for order in sent.places if order.side is Side.BUY]
        assert placed
        assert min(order.price for order in placed) > min(old_asks)
        assert {order.price for order in placed} <= {D("100.44"), D("100.34"), D("100.24")}


async def test_a_balance_for_one_ladder_moves_it_all_the_same(state_dir: Path) -> None:
    """There is no money for two ladders at once: new orders wait until the old ones have given theirs back."""
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        for asset in ("BTC", "USDT"):
            free = world.venue._exchange.wallet.free(asset)
            world.venue.deposit(asset, -free)
        await asyncio.sleep(0.2)
        world.move("100.05")
        await asyncio.sleep(1)
        first, again = world.rounds()[1:]
        assert {one.reason for one in first.refused} == {"balance"}
        assert len(first.cancel) == 6
        assert not first.place
        assert again.follow_up
        assert len(again.place) == 6
        assert not again.refused
        assert world.venue.own() == world.target()
        assert not world.faults()


async def test_an_open_order_cap_for_one_ladder_moves_it_all_the_same(state_dir: Path) -> None:
    async with quoting(state_dir, replace(pair_spec(), max_open_orders=7)) as world:
        most = 0

        def count(places: object, cancels: object) -> None:
            nonlocal most
            most = max(most, len(world.pair.ledger.live()))

        world.venue.before_submit = count
        await asyncio.sleep(0.5)
        for step in range(4):
            world.move("100.25" if step % 2 else "100")
            await asyncio.sleep(1)
        assert world.venue.own() == world.target()
        assert most <= 7
        assert any(one.reason == "open_order_cap" for done in world.rounds() for one in done.refused)


async def test_the_venues_cap_counts_foreign_orders(state_dir: Path) -> None:
    def others(world: World) -> None:
        for number in range(4):
            foreign(world, Side.BUY, f"{90 + number}", f"web_{number}")

    async with quoting(state_dir, before=others, max_open_orders=8) as world:
        await asyncio.sleep(0.2)
        world.move("100.25")
        await asyncio.sleep(2)
        assert world.pair.foreign == 4
        assert len(world.venue.own()) == 4
        assert not world.pair.totals.rejected, "the cap is known before it is hit"


async def test_an_unconfirmed_cancel_takes_the_place_of_a_new_quote(state_dir: Path) -> None:
    """Placing first is a loan of one ladder; cancels that are lost again and again make no second one."""
    spec = pair_spec("BTC", near(interval_s=6.0, quote_timeout_s=600.0))
    async with quoting(state_dir, spec) as world:
        await asyncio.sleep(1)
        whole = world.venue.submit

        def split(places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
            world.set_faults(timeout_rate=0.0)
            whole(places, ())
            world.set_faults(timeout_rate=1.0)
            whole((), cancels)

        world.venue.submit = split  # type: ignore[method-assign]
        for step in range(6):
            world.move(f"{D(100) + D('0.25') * (step + 1)}")
            await asyncio.sleep(6)
            assert len(world.pair.ledger.live()) <= 12
            assert len(world.venue.own()) <= 12
        assert any(one.reason == "unconfirmed_cancel" for done in world.rounds() for one in done.refused)


async def test_a_layers_round_cancels_the_other_layers_order_that_would_cross(state_dir: Path) -> None:
    """A kept order never blocks the other side for ever: near's round removes far's ask at once."""
    spec = pair_spec("BTC", near(), far(interval_s=30.0, quote_timeout_s=60.0))
    async with quoting(state_dir, spec) as world:
        began_s = now_s()
        await asyncio.sleep(0.5)
        world.fake.mids[spec.follow] = D("101.50")  # far's asks at 101.02 are below near's bids now
        asyncio.get_running_loop().call_at(began_s + 1.03, world.show)
        await asyncio.sleep(1)
        crossed = [wanted for one in world.rounds() for wanted in one.cancel if wanted.order.layer is Layer.FAR]
        assert crossed
        assert {wanted.reason for wanted in crossed} <= {"crosses_target", "crosses_touch"}
        assert world.venue.prices(layer=Layer.NEAR)[Side.BUY] == [D("101.18"), D("101.28"), D("101.38")]
        assert now_s() < 3


@pytest.mark.parametrize("seed", range(4))
async def test_a_round_never_quotes_past_the_limits(state_dir: Path, seed: int) -> None:
    """Every order that leaves is on tick and lot, within the maximum, and outside the reference's other touch."""
    spec = both()
    async with quoting(state_dir, spec) as world:
        for step in range(30):
            world.move(f"{D(100) + D(seed * step % 13 - 6) / 10}")
            await asyncio.sleep(0.37)
        for one in world.told(RoundDone):
            bid, ask = D(one.book.bid), D(one.book.ask)
            for order in one.place:
                price = one.instrument.price(order.price)
                assert price < ask if order.side is Side.BUY else price > bid
                assert one.instrument.amount(order.price, order.qty) <= D(1000)
                assert abs(price / ((bid + ask) / 2) - 1) <= Decimal("0.1")
        for placed in world.venue.placed():
            assert placed.price % D("0.01") == 0
            assert placed.qty % D("0.001") == 0
