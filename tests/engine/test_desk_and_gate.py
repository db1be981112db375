"""The account's desk and the send gate: what pairs of one account share, and what may leave."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mmctl.bootstrap import coarser
from mmctl.core.events import Accepted, Balance, BalancesChanged, Gap
from mmctl.core.order import CancelOrder, Layer, NewOrder, Quote, Side, State, decode_own_id
from mmctl.core.report import Wanted
from mmctl.engine.cycle import observe
from mmctl.engine.pair_view import view_of
from mmctl.errors import VenueUnreachable
from mmctl.ports import Balances

from .world import VIRTUAL, D, World, both, far, instrument, make_world, near, now_s, pair_spec, prepare, quoting

pytestmark = VIRTUAL


async def test_ids_never_repeat_and_say_what_they_are(state_dir: Path) -> None:
    world = make_world(state_dir)
    await prepare(world)
    made = [world.desk.next_id(layer, side) for layer in Layer for side in Side for _ in range(50)]
    assert len(set(made)) == 200
    for client_id in made:
        own = decode_own_id(client_id)
        assert own is not None
        assert own.epoch == world.desk.epoch > 0
    await world.venue.close()


async def test_pairs_of_one_account_share_its_funds(state_dir: Path) -> None:
    """There is quote currency for one pair's bids: the second pair's wait, and none is refused by the venue."""

    def poor(world: World) -> None:
        world.venue.deposit("USDT", D(1700) - D(10) ** 9)

    async with quoting(state_dir, pair_spec("BTC"), pair_spec("ETH"), before=poor) as world:
        await asyncio.sleep(3)
        bids = [len(world.venue.prices(symbol)[Side.BUY]) for symbol in ("BTCUSDT", "ETHUSDT")]
        assert bids == [3, 0]
        assert not world.pair.totals.rejected
        assert not world.faults()


async def test_balances_that_change_during_their_reading_are_the_newer_ones(state_dir: Path) -> None:
    world = make_world(state_dir)
    await prepare(world)
    read = world.venue.balances

    async def slow() -> Balances:
        told = await read()
        world.desk._on_event("", BalancesChanged({"USDT": Balance(D(7), D(0))}))
        await asyncio.sleep(1)
        return told

    world.venue.balances = slow  # type: ignore[method-assign]
    await world.desk.refresh_balances()
    assert world.desk.budget.free("USDT") == 7
    assert world.desk.budget.free("BTC") == 10**6
    assert not world.desk._told_meanwhile
    await world.venue.close()


async def test_balances_that_could_not_be_read_are_still_due(state_dir: Path) -> None:
    world = make_world(state_dir)
    await prepare(world)
    read, asked = world.venue.balances, 0

    async def once_away() -> Balances:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise VenueUnreachable("no answer")
        return await read()

    world.venue.balances = once_away  # type: ignore[method-assign]
    await asyncio.sleep(61)
    with pytest.raises(VenueUnreachable):
        await world.desk.refresh_balances(60.0)
    await world.desk.refresh_balances(60.0)
    assert asked == 2
    await world.desk.refresh_balances(60.0)
    assert asked == 2
    await world.venue.close()


async def test_balances_are_read_again_on_a_schedule(state_dir: Path) -> None:
    """Money that came unheard is there after a while."""
    async with quoting(state_dir, both(), before=lambda world: world.venue.deposit("BTC", -(D(10) ** 6))) as world:
        await asyncio.sleep(2)
        world.venue._exchange.wallet._free["BTC"] = D(1000)
        assert not world.venue.prices()[Side.SELL]
        await asyncio.sleep(65)
        assert len(world.venue.prices()[Side.SELL]) == 5


async def test_balances_are_read_again_once_after_a_gap(state_dir: Path) -> None:
    """Money that came while the stream said nothing is there at once, and one reading is for all pairs."""

    def poor(world: World) -> None:
        world.venue.deposit("BTC", -(D(10) ** 6))

    async with quoting(state_dir, both("BTC"), both("ETH"), before=poor) as world:
        await asyncio.sleep(2)
        read, asked = world.venue.balances, 0

        async def counted() -> Balances:
            nonlocal asked
            asked += 1
            return await read()

        world.venue.balances = counted  # type: ignore[method-assign]
        world.venue._exchange.wallet._free["BTC"] = D(1000)
        world.desk._on_event("", Gap("the socket was cut"))
        await asyncio.sleep(3)
        assert len(world.venue.prices("BTCUSDT")[Side.SELL]) == 5
        assert asked == 1


async def test_a_gap_is_for_every_pair_of_the_account(state_dir: Path) -> None:
    async with quoting(state_dir, both("BTC"), both("ETH")) as world:
        await asyncio.sleep(0.5)
        world.desk._on_event("", Gap("the socket was cut"))
        assert [fault.pair for fault in world.faults("gap")] == ["BTC-USDT", "ETH-USDT"]
        await asyncio.sleep(0.5)
        assert not any(pair.compare_wanted.is_set() for pair in world.engine.pairs)


async def test_events_of_a_symbol_that_nobody_makes_are_no_fault(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        world.desk._on_event("XRPUSDT", BalancesChanged({}))
        world.desk._on_event("XRPUSDT", Accepted("web_1", "1"))
        world.desk._on_event("BTCUSDT", Accepted("web_1", "1"))
        assert not world.faults()
        assert not world.pair.strangers


async def test_the_gate_reserves_for_each_order_of_a_batch(state_dir: Path) -> None:
    """What the batch itself uses up is not there for the next order of it."""
    world = make_world(state_dir)
    world.venue.deposit("USDT", D(150) - D(10) ** 9)
    await prepare(world)
    await observe(world.pair, world.feed)
    quotes = [Quote(Layer.NEAR, Side.BUY, 9900 - step, 1000, step + 1) for step in range(3)]
    sent = await world.pair.gate.send(Layer.NEAR, quotes, [], decided_at_s=now_s())
    assert len(sent.placed) == 1
    assert [one.reason for one in sent.refused] == ["balance", "balance"]
    await asyncio.sleep(0.1)
    assert sent.batch.placed == 1
    assert world.pair.totals.rejected == 0
    await world.venue.close()


async def test_a_decision_from_before_a_suspension_places_nothing(state_dir: Path) -> None:
    world = make_world(state_dir)
    await prepare(world)
    await observe(world.pair, world.feed)
    quote, decided_s = Quote(Layer.NEAR, Side.BUY, 9900, 1000, 1), world.clock.boot_s()
    world.clock.boot_s = lambda: now_s() + 3600  # type: ignore[method-assign]
    sent = await world.pair.gate.send(Layer.NEAR, [quote], [], decided_at_s=decided_s)
    assert [one.reason for one in sent.refused] == ["old_decision"]
    await world.venue.close()


@pytest.mark.parametrize("hold", ["stopping", "superseded"])
async def test_what_holds_an_engine_lets_cancels_pass(state_dir: Path, hold: str) -> None:
    world = make_world(state_dir)
    await prepare(world)
    await observe(world.pair, world.feed)
    quote = Quote(Layer.NEAR, Side.BUY, 9900, 1000, 1)
    first = await world.pair.gate.send(Layer.NEAR, [quote], [], decided_at_s=now_s())
    await asyncio.sleep(0.1)
    if hold == "stopping":
        world.pair.gate.stopping = True
    else:
        world.pair.gate.superseded_by = 10**10
    order = world.pair.ledger.find(first.placed[0].client_id)
    assert order is not None
    assert order.state is State.OPEN
    second = await world.pair.gate.send(
        Layer.NEAR, [quote._replace(price=9800)], [Wanted(order, "price")], decided_at_s=now_s()
    )
    assert second.placed == ()
    assert [one.reason for one in second.refused] == [hold]
    await asyncio.sleep(0.1)
    assert second.batch.cancelled == 1
    assert not world.venue.own()
    await world.venue.close()


async def test_a_send_of_nothing_sends_nothing(state_dir: Path) -> None:
    world = make_world(state_dir)
    await prepare(world)
    assert await (await world.pair.gate.send(Layer.NEAR, [], [], decided_at_s=now_s())).batch.answered(0.1)
    assert await world.pair.gate.cancel([], "test").answered(0.1)
    assert not world.venue.sent
    await world.venue.close()


async def test_a_batch_that_fails_to_leave_keeps_its_reservations_until_its_fate_is_known(state_dir: Path) -> None:
    async with quoting(state_dir) as world:

        def broken(places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
            raise OSError("no socket")

        world.venue.submit = broken  # type: ignore[method-assign]
        await asyncio.sleep(0.5)
        vars(world.venue).pop("submit")
        assert len(world.desk.budget._reserved) == 6
        await asyncio.sleep(20)
        assert world.venue.own() == world.target()
        assert not world.desk.budget._reserved


async def test_the_view_says_what_is_so(state_dir: Path) -> None:
    async with quoting(state_dir, pair_spec("BTC", near(force_refresh_num=7), far())) as world:
        before = view_of(world.pair)
        assert before.book is None
        assert not before.quoting
        await asyncio.sleep(2.5)
        view = view_of(world.pair)
        assert view.quoting
        assert view.status == "quoting"
        assert len(view.orders) == 10
        assert view.placed == 10
        assert [layer.rounds for layer in view.layers] == [3, 1]
        assert view.layers[0].rounds_since_refresh == 3
        assert view.layers[0].force_refresh_num == 7
        assert (view.layers[1].previous_asks, view.layers[1].previous_bids) == (2, 2)


@pytest.mark.parametrize(
    ("decimals", "tick", "lot"),
    [((1, 2), "0.1", "0.01"), ((4, 8), "0.01", "0.001"), ((None, None), "0.01", "0.001"), ((0, 0), "1", "1")],
)
async def test_the_profiles_rounding_wins_where_it_is_coarser(
    decimals: tuple[int | None, int | None], tick: str, lot: str
) -> None:
    spec = replace(pair_spec(), price_decimals=decimals[0], qty_decimals=decimals[1])
    made = coarser(instrument(), spec)
    assert (made.tick_size, made.lot_size) == (D(tick), D(lot))


async def test_two_readings_of_balances_at_once_do_not_mix_what_they_are_told(state_dir: Path) -> None:
    world = make_world(state_dir)
    await prepare(world)
    first = asyncio.create_task(world.desk.refresh_balances())
    await asyncio.sleep(0.01)
    second = asyncio.create_task(world.desk.refresh_balances())
    await first
    world.desk._on_event("", BalancesChanged({"USDT": Balance(D(7), D(0))}))
    await second
    assert world.desk.budget.free("USDT") == 7
    assert not world.desk._told_meanwhile
    third, fourth = (asyncio.create_task(world.desk.refresh_balances()) for _ in range(2))
    await asyncio.sleep(0.01)
    fourth.cancel()
    await asyncio.gather(fourth, return_exceptions=True)
    world.desk._on_event("", BalancesChanged({"USDT": Balance(D(8), D(0))}))
    third.cancel()
    (ended,) = await asyncio.gather(third, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), ended
    await world.venue.close()
