"""The venue is the truth: adoption at the start, the comparison, the rollback, and what belongs to others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mmctl.core.events import Accepted
from mmctl.core.order import CancelOrder, Layer, NewOrder, Order, Side, encode_own_id
from mmctl.core.report import RoundDone, Skipped
from mmctl.errors import VenueUnreachable
from mmctl.ports import Listing

from .world import (
    T0_MS,
    VIRTUAL,
    D,
    World,
    both,
    far,
    foreign,
    ghost,
    ids,
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

EARLIER = T0_MS // 1000 - 1000
LATER = T0_MS // 1000 + 1_000_000


def planted(*orders: NewOrder) -> Callable[[World], None]:
    """These rest before the engine starts."""

    def plant(world: World) -> None:
        for order in orders:
            answer = world.venue._exchange.place(order, now_s(), world.clock.wall_ms())
            assert isinstance(answer.answer, Accepted)

    return plant


def old_ladder(epoch: int = EARLIER) -> list[NewOrder]:
    """What an earlier engine left: near's ladder at a mid of 100, but for its outermost levels."""
    bids, asks = strangers(epoch, Side.BUY), strangers(epoch, Side.SELL)
    return [ghost(next(bids), Side.BUY, price, qty="5") for price in ("99.89", "99.79")] + [
        ghost(next(asks), Side.SELL, price, qty="5") for price in ("100.12", "100.22")
    ]


async def test_own_open_orders_are_adopted_and_kept_where_they_fit(state_dir: Path) -> None:
    before = old_ladder()
    async with quoting(state_dir, before=planted(*before)) as world:
        await asyncio.sleep(0.5)
        (adopted,) = world.faults("adopted")
        assert adopted.detail.startswith("4 own orders")
        first = world.rounds()[0]
        assert {order.client_id for order in first.keep} == {order.client_id for order in before}
        assert [world.pair.instrument.price(order.price) for order in first.place] == [D("100.32"), D("99.69")]
        assert not world.venue.cancels(), "nothing is cancelled only because mmctl restarted"
        assert world.desk.epoch > EARLIER


async def test_what_does_not_fit_is_replaced_in_the_first_round(state_dir: Path) -> None:
    astray = ghost(next(strangers(EARLIER, Side.BUY)), Side.BUY, "99.50")
    async with quoting(state_dir, before=planted(astray)) as world:
        await asyncio.sleep(0.5)
        assert world.venue.own() == world.target()
        assert [client_id for _, client_id in world.venue.cancels()] == [astray.client_id]


async def test_the_epoch_is_above_every_adopted_one(state_dir: Path) -> None:
    async with quoting(state_dir, before=planted(*old_ladder(LATER))) as world:
        await asyncio.sleep(0.5)
        assert world.desk.epoch == LATER + 1
        assert world.pair.gate.superseded_by is None
        await asyncio.sleep(65)
        assert world.pair.gate.superseded_by is None
        assert world.venue.own() == world.target()


async def test_orders_of_a_ladder_that_is_off_are_cancelled_and_told(state_dir: Path) -> None:
    far_id = encode_own_id(Layer.FAR, Side.SELL, EARLIER, 3)
    left = ghost(far_id, Side.SELL, "103")
    async with quoting(state_dir, pair_spec("BTC", near()), before=planted(left)) as world:
        await until(lambda: far_id in {client_id for _, client_id in world.venue.cancels()}, 2)
        await asyncio.sleep(0.5)
        assert not world.venue.own(layer=Layer.FAR)
        assert len(world.venue.own(layer=Layer.NEAR)) == 6
        assert len(world.faults("unwanted")) == 1


async def test_foreign_orders_are_counted_and_never_touched(state_dir: Path) -> None:
    def others(world: World) -> None:
        foreign(world, Side.BUY, "99.89", "web_1")
        foreign(world, Side.SELL, "100.50", "N0B0000000")
        almost = next(strangers(EARLIER, Side.BUY))
        foreign(world, Side.BUY, "98", almost[:-1] + ("0" if almost[-1] != "0" else "1"))

    async with quoting(state_dir, both(), before=others) as world:
        for step in range(40):
            world.move(f"{D(100) + D(step % 5) / 50}")
            await asyncio.sleep(1)
        world.halt()
        await asyncio.sleep(2)
        listing = world.venue.open_now()
        assert len(listing.foreign) == 3
        assert not listing.own
        assert world.pair.foreign == 3
        assert not world.pair.ledger.find("web_1")


async def test_balances_that_foreign_orders_lock_are_not_ours_to_use(state_dir: Path) -> None:
    """There is money for the ladder's inner bids alone, once somebody else's order has taken its part."""

    def others(world: World) -> None:
        world.venue.deposit("USDT", D(1400) - D(10) ** 9)
        world.venue.place_foreign("BTCUSDT", Side.BUY, D(90), D(5))

    async with quoting(state_dir, before=others) as world:
        await asyncio.sleep(3)
        assert world.venue.prices()[Side.BUY] == [D("99.89")]
        assert not world.pair.totals.rejected
        assert not world.faults()
        refused = world.rounds()[-1].refused
        assert [(one.side, one.reason) for one in refused] == [(Side.BUY, "balance")] * 2


async def test_a_start_without_a_whole_listing_is_an_error(state_dir: Path) -> None:
    world = make_world(state_dir)
    world.set_faults(read_failure_rate=1.0)
    with pytest.raises(VenueUnreachable):
        await prepare(world)
    assert world.desk.epoch == 0
    await world.venue.close()


# The rollback.


async def test_own_orders_that_nobody_here_knows_go_after_two_listings(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        listings: list[Listing] = []
        whole = world.venue.open_orders

        async def listed(symbol: str | None) -> Listing:
            listings.append(await whole(symbol))
            return listings[-1]

        world.venue.open_orders = listed  # type: ignore[method-assign]
        lost = ghost(next(strangers(EARLIER, Side.BUY)), Side.BUY, "95")
        planted(lost)(world)
        await until(lambda: lost.client_id in {client_id for _, client_id in world.venue.cancels()}, 8)
        showing = [one for one in listings if lost.client_id in ids(one)]
        assert len(showing) == 2
        (told,) = world.faults("rollback")
        assert lost.client_id in told.detail
        await asyncio.sleep(0.1)
        assert lost.client_id not in ids(world.venue.open_now())
        assert world.venue.own() == world.target()


async def test_one_listing_alone_condemns_nothing(state_dir: Path) -> None:
    async with quoting(state_dir, pair_spec("BTC", near(), far(interval_s=100.0))) as world:
        await asyncio.sleep(0.5)
        lost = ghost(next(strangers(EARLIER, Side.BUY)), Side.BUY, "95")
        planted(lost)(world)
        world.pair.compare_wanted.set()
        await asyncio.sleep(0.5)
        world.venue._exchange.cancel(CancelOrder("BTCUSDT", lost.client_id), now_s())
        await asyncio.sleep(10)
        assert not world.venue.cancels()
        assert not world.faults("rollback")


async def test_a_failed_listing_is_never_an_empty_one(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        world.set_faults(read_failure_rate=1.0)
        await asyncio.sleep(60)
        assert len(world.pair.ledger.live()) == 10
        assert world.venue.own() == world.target()
        assert len(world.faults("listing")) == 1, "told once while it lasts"
        world.set_faults(read_failure_rate=0.0)
        await asyncio.sleep(20)
        world.set_faults(read_failure_rate=1.0)
        await asyncio.sleep(20)
        assert len(world.faults("listing")) == 2


async def test_an_order_placed_while_the_listing_was_on_its_way_is_no_ghost(state_dir: Path) -> None:
    spec = pair_spec("BTC", near(interval_s=0.1, force_refresh_num=0), far(interval_s=0.3, force_refresh_num=0))
    async with quoting(state_dir, spec) as world:
        world.set_faults(listing_lag_ms=300, latency_jitter_ms=80)
        await asyncio.sleep(30)
        assert not world.faults("rollback")
        assert not world.faults("order")


async def test_an_order_that_ended_unheard_is_found_by_the_schedule(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        gone = world.pair.ledger.live()[0]
        world.venue._exchange.cancel(CancelOrder("BTCUSDT", gone.client_id), now_s())
        await until(lambda: not world.pair.ledger.find(gone.client_id).is_live, 65, 0.1)  # type: ignore[union-attr]
        await asyncio.sleep(1.5)
        assert world.venue.own() == world.target()
        assert world.faults("listing")


# A younger engine.


async def test_an_engine_that_sees_a_later_epoch_places_no_more(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        younger = ghost(next(strangers(LATER, Side.BUY)), Side.BUY, "95")
        planted(younger)(world)
        await until(lambda: world.pair.gate.superseded_by, 5)
        placed = len(world.venue.placed())
        for step in range(10):
            world.move(f"{D(100) + D(step % 3) / 20}")
            await asyncio.sleep(1)
        assert len(world.venue.placed()) == placed
        assert younger.client_id in ids(world.venue.open_now()), "it is not ours to cancel"
        assert younger.client_id not in {client_id for _, client_id in world.venue.cancels()}
        assert len(world.faults("superseded")) == 1
        assert str(LATER) in world.faults("superseded")[0].detail
        assert {one.reason for one in world.told(Skipped)} == {"superseded"}


async def test_a_later_epoch_on_the_user_stream_is_seen_at_once(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        younger = ghost(next(strangers(LATER, Side.BUY)), Side.BUY, "95")
        world.venue.submit([younger], [])
        await asyncio.sleep(0.1)
        assert world.pair.gate.superseded_by == LATER
        assert world.pair.ledger.find(younger.client_id) is None
        await asyncio.sleep(5)
        assert younger.client_id in ids(world.venue.open_now())
        assert not world.pair.strangers


async def test_a_superseded_engine_stops_without_the_younger_ones_orders(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        younger = ghost(next(strangers(LATER, Side.BUY)), Side.BUY, "95")
        world.venue.submit([younger], [])
        await asyncio.sleep(1)
        swept = await world.stop()
        assert swept is not None
        assert swept.proven
        assert swept.others == 1
        assert ids(world.venue.open_now()) == {younger.client_id}


# Strangers: own ids on the user stream that this engine never sent.


async def test_an_earlier_order_that_lands_late_is_taken_in_and_told(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        late = ghost(next(strangers(EARLIER, Side.BUY)), Side.BUY, "99.20")
        world.venue.submit([late], [])
        await until(lambda: world.pair.ledger.find(late.client_id), 2)
        assert len(world.faults("adopted")) == 1
        await until(lambda: late.client_id not in ids(world.venue.open_now()), 2)
        assert world.venue.own() == world.target()


@pytest.mark.parametrize("kind", ["ended", "forgotten"])
async def test_a_stranger_that_is_over_is_asked_for_only_so_long(state_dir: Path, kind: str) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        asked = 0
        whole = world.venue.query

        async def query(symbol: str, client_id: str) -> object:
            nonlocal asked
            asked += 1
            return await whole(symbol, client_id)

        world.venue.query = query  # type: ignore[method-assign, assignment]
        late = ghost(next(strangers(EARLIER, Side.BUY)), Side.BUY, "95")
        if kind == "ended":
            planted(late)(world)
            world.venue._exchange.cancel(CancelOrder("BTCUSDT", late.client_id), now_s())
        world.venue._line._tell("BTCUSDT", Accepted(late.client_id, "7"))
        await asyncio.sleep(60)
        assert not world.pair.strangers
        assert 1 <= asked <= 12
        before = asked
        await asyncio.sleep(60)
        assert asked == before, "nobody asks for ever"


async def test_the_ledger_never_differs_for_long(state_dir: Path) -> None:
    """Whatever is done behind the engine's back, it is repaired by the next comparisons."""
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        for number, seen in enumerate(world.venue.open_now().own):
            if number % 2:
                world.venue._exchange.cancel(CancelOrder("BTCUSDT", seen.client_id), now_s())
        bids = strangers(EARLIER, Side.BUY)
        planted(*[ghost(next(bids), Side.BUY, price) for price in ("97", "96")])(world)
        await asyncio.sleep(70)
        assert {order.client_id for order in world.pair.ledger.live()} == ids(world.venue.open_now())
        assert world.venue.own() == world.target()


def placed_by(done: Sequence[RoundDone]) -> list[Order]:
    return [order for one in done for order in one.place]


async def test_an_adopted_order_above_the_maximum_only_shrinks(state_dir: Path) -> None:
    large = replace(ghost(next(strangers(EARLIER, Side.BUY)), Side.BUY, "99.89"), qty=D(50))
    async with quoting(state_dir, before=planted(large)) as world:
        await asyncio.sleep(1.5)
        assert large.client_id not in ids(world.venue.open_now())
        assert world.venue.own() == world.target()
        assert all(one.qty <= 10_020 for one in placed_by(world.rounds()))


async def test_a_listing_that_goes_on_lagging_is_told_once(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        whole = world.venue.open_orders

        async def short(symbol: str | None) -> Listing:
            listing = await whole(symbol)
            return replace(listing, own=listing.own[1:])

        world.venue.open_orders = short  # type: ignore[method-assign]
        for _ in range(4):
            world.pair.compare_wanted.set()
            await asyncio.sleep(3)
        assert len(world.faults("listing")) == 1
        vars(world.venue).pop("open_orders")
        world.pair.compare_wanted.set()
        await asyncio.sleep(3)
        world.venue.open_orders = short  # type: ignore[method-assign]
        world.pair.compare_wanted.set()
        await asyncio.sleep(3)
        assert len(world.faults("listing")) == 2, "after a whole one it is news again"
