"""What the venue refuses: told once, backed off from, and tried again by itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from mmctl.core.events import Rejected
from mmctl.core.order import Layer, NewOrder, Side
from mmctl.core.report import Skipped
from mmctl.venues.mock_exchange import Placed

from .world import BTC, VIRTUAL, D, World, both, foreign, near, now_s, pair_spec, quoting, until

pytestmark = VIRTUAL


def refuse(world: World, code: str, share: int = 1) -> list[float]:
    """Every ``share``-th placement is refused from now on; returns when."""
    whole, refused, count = world.venue._exchange.place, [], 0

    def place(new: NewOrder, at_s: float, at_ms: int) -> Placed:
        nonlocal count
        count += 1
        if count % share == 0:
            refused.append(at_s)
            return Placed(Rejected(new.client_id, code, "the venue says no"))
        return whole(new, at_s, at_ms)

    world.venue._exchange.place = place  # type: ignore[method-assign]
    world.accept = lambda: setattr(world.venue._exchange, "place", whole)  # type: ignore[attr-defined]
    return refused


@pytest.mark.parametrize("code", ["balance", "filter_tick", "open_order_cap", "something_new"])
async def test_a_refusal_is_told_once_backed_off_from_and_recovers(state_dir: Path, code: str) -> None:
    async with quoting(state_dir, before=lambda world: refuse(world, code) and None) as world:
        await asyncio.sleep(600)
        assert len(world.faults()) == 1
        (fault,) = world.faults("rejected")
        assert code in fault.detail
        assert "the venue says no" in fault.detail
        assert "6 of the near ladder's orders" in fault.detail
        assert fault.action == "backing off for 1 s"
        assert world.pair.totals.rejected <= 6 * 16, "not a flood: 1, 2, 4, ... 60 s"
        assert world.pair.totals.rejected >= 6 * 8, "and not the end"
        assert {one.reason for one in world.told(Skipped)} == {"backing_off"}
        world.accept()  # type: ignore[attr-defined]
        await until(lambda: len(world.venue.own()) == 6, 65, 0.1)
        await asyncio.sleep(3)
        assert len(world.faults()) == 1
        refuse(world, code)
        world.move("100.05")
        await asyncio.sleep(2)
        assert len(world.faults()) == 2, "after a clean round it is told again"


async def test_a_missing_balance_is_known_before_it_is_refused(state_dir: Path) -> None:
    """No base currency at all: the bids stand alone, and nobody asks the venue for what it must refuse."""

    def spend(world: World) -> None:
        world.venue.deposit("BTC", -(D(10) ** 6))

    async with quoting(state_dir, before=spend) as world:
        await asyncio.sleep(120)
        assert len(world.venue.own()) == 3
        assert len(world.venue.placed_ids) == 3
        assert not world.faults()
        assert {one.reason for one in world.rounds()[-1].refused} == {"balance"}
        world.venue.deposit("BTC", D(100))
        await until(lambda: len(world.venue.own()) == 6, 2)


async def test_funds_that_vanish_unheard_are_one_fault_and_no_flood(state_dir: Path) -> None:
    """Somebody moved the money elsewhere, and the stream did not tell."""
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        wallet = world.venue._exchange.wallet
        wallet._free["BTC"] = D(0)
        world.move("100.05")
        await asyncio.sleep(300)
        assert len(world.faults("rejected")) == 1
        assert world.pair.totals.rejected < 60
        assert len(world.venue.prices()[Side.BUY]) == 3
        wallet._free["BTC"] = D(1000)
        await until(lambda: len(world.venue.own()) == 6, 65, 0.1)


@pytest.mark.parametrize("code", ["would_match", "venue_busy"])
async def test_a_refusal_that_the_next_book_mends_is_no_fault(state_dir: Path, code: str) -> None:
    async with quoting(state_dir) as world:
        refuse(world, code, share=2)
        await asyncio.sleep(3.5)
        assert not world.faults()
        assert len(world.rounds()) == 4
        assert world.rounds()[0].rejected == 3
        assert len(world.venue.own()) > 4


async def test_one_layers_refusals_do_not_hold_back_the_other(state_dir: Path) -> None:
    spec = pair_spec("BTC", near(), both().far)
    async with quoting(state_dir, spec) as world:
        whole = world.venue._exchange.place

        def place(new: NewOrder, at_s: float, at_ms: int) -> Placed:
            if new.client_id.startswith("F0"):
                return Placed(Rejected(new.client_id, "filter", "no far orders today"))
            return whole(new, at_s, at_ms)

        world.venue._exchange.place = place  # type: ignore[method-assign]
        await asyncio.sleep(30.5)
        assert len(world.rounds(Layer.NEAR)) == 31
        assert len(world.venue.own(layer=Layer.NEAR)) == 6
        assert {one.layer for one in world.told(Skipped)} == {Layer.FAR}


async def test_a_layer_that_backs_off_still_takes_away_what_the_book_has_left(state_dir: Path) -> None:
    """Half of the ladder is refused and the layer waits for a minute: the other half is not left to its fate."""
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        refuse(world, "filter", share=2)
        for step in range(60):
            world.fake.mids[BTC] = D(100) + D("0.037") * (step % 40)
            await asyncio.sleep(1)
            state = world.pair.layers[Layer.NEAR]
            if state.backoff_until_s > now_s() + 2:
                break
        assert state.backoff_until_s > now_s() + 2
        placed = len(world.venue.placed_ids)
        held = {order.client_id for order in world.pair.ledger.live()}
        assert held
        world.fake.mids[BTC] += D("0.05")
        await asyncio.sleep(1.5)
        assert len(world.venue.placed_ids) == placed
        assert not world.pair.ledger.live()
        skipped = world.told(Skipped)
        assert any("cancelling" in one.detail for one in skipped if one.reason == "backing_off")


async def test_the_accounts_open_orders_count_for_the_cap_of_the_pair(state_dir: Path) -> None:
    async with quoting(state_dir, replace(pair_spec(), max_open_orders=4)) as world:
        await asyncio.sleep(2)
        assert world.venue.prices() == {
            Side.BUY: [D("99.79"), D("99.89")],
            Side.SELL: [D("100.12"), D("100.22")],
        }
        assert {one.reason for one in world.rounds()[-1].refused} == {"open_order_cap"}
        assert not world.faults()


async def test_a_cap_of_the_venue_that_foreign_orders_fill_is_backed_off_from(state_dir: Path) -> None:
    """The foreign orders come after our last listing: the venue refuses, once, and the pair waits."""
    async with quoting(state_dir, max_open_orders=6) as world:
        await asyncio.sleep(0.5)
        for mid in ("99.87", "99.86", "100"):  # the best bid is filled
            world.move(mid)
        foreign(world, Side.BUY, "90")
        await asyncio.sleep(300)
        assert len(world.venue.own()) == 5
        assert world.pair.totals.rejected <= 4, "the next comparison counts the stranger in"
        assert len(world.faults("rejected")) <= 1


async def test_quotes_below_the_minimum_are_refused_with_a_reason_and_never_sent(state_dir: Path) -> None:
    async with quoting(state_dir, pair_spec("BTC", near(min_amount=D(10_000)))) as world:
        await asyncio.sleep(2)
        assert not world.venue.sent
        reasons = {one.reason for done in world.rounds() for one in done.refused}
        assert reasons == {"min_amount"}
        assert Decimal(1) not in world.venue.prices()[Side.BUY]
