"""A fault of ours in one pair: its near orders go, it backs off, it is told, and no other pair notices."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from mmctl.core.decide import Decision
from mmctl.core.order import CancelOrder, Layer, NewOrder, State
from mmctl.core.report import Skipped
from mmctl.engine.pair import MAX_BACKOFF_S

from .world import ROUND_TRIP_S, VIRTUAL, World, both, now_s, quoting, until

pytestmark = VIRTUAL


def break_decisions(world: World, pair: int = 0) -> list[float]:
    """Every decision of a pair raises from now on; returns when."""
    raised: list[float] = []

    def broken(*args: object, **kwargs: object) -> Decision:
        raised.append(now_s())
        raise ZeroDivisionError("a bug of ours")

    world.engine.pairs[pair].decider.decide = broken  # type: ignore[method-assign]
    return raised


def mend_decisions(world: World, pair: int = 0) -> None:
    vars(world.engine.pairs[pair].decider).pop("decide")


async def test_it_cancels_the_pairs_near_orders_and_leaves_far_and_other_pairs(state_dir: Path) -> None:
    async with quoting(state_dir, both("BTC"), both("ETH")) as world:
        await asyncio.sleep(0.5)
        break_decisions(world)
        await asyncio.sleep(1)
        assert not world.venue.own("BTCUSDT", Layer.NEAR)
        assert len(world.venue.own("BTCUSDT", Layer.FAR)) == 4
        assert len(world.venue.own("ETHUSDT")) == 10
        (fault,) = world.faults(pair="BTC-USDT")
        assert (fault.kind, fault.detail) == ("ZeroDivisionError", "a bug of ours")
        assert fault.action == "cancelling 6 near orders, backing off for 1 s"
        await asyncio.sleep(30)
        turns = world.turns_s(pair="ETH-USDT")
        late = [at_s - (turns[0] - ROUND_TRIP_S) - number for number, at_s in enumerate(turns)]
        assert max(late) <= ROUND_TRIP_S + 1e-6
        assert not world.faults(pair="ETH-USDT")


async def test_it_backs_off_for_longer_and_longer_and_recovers(state_dir: Path) -> None:
    async with quoting(state_dir, both("BTC")) as world:
        await asyncio.sleep(0.5)
        raised = break_decisions(world)
        await asyncio.sleep(240)
        pauses = [after - before for before, after in pairwise(raised)]
        assert len(raised) <= 14, "no flood"
        assert len(world.faults("ZeroDivisionError")) == len(raised)
        assert max(pauses) <= MAX_BACKOFF_S + 4
        assert max(pauses) > 30
        assert {one.reason for one in world.told(Skipped)} == {"backing_off"}
        mend_decisions(world)
        await until(lambda: len(world.venue.own()) == 10, MAX_BACKOFF_S + 5, 0.1)
        assert world.venue.own() == world.target()
        break_decisions(world)
        failed_s = now_s()
        await asyncio.sleep(3)
        fault = world.faults("ZeroDivisionError", after_s=failed_s)[0]
        assert "backing off for 1 s" in fault.action, "after a clean round it begins from the start"


async def test_the_venue_is_the_truth_after_it(state_dir: Path) -> None:
    async with quoting(state_dir, both("BTC")) as world:
        await asyncio.sleep(0.5)
        whole, listed = world.venue.open_orders, []

        async def open_orders(symbol: str | None) -> object:
            listed.append(now_s())
            return await whole(symbol)

        world.venue.open_orders = open_orders  # type: ignore[method-assign, assignment]
        await asyncio.sleep(0.1)
        listed.clear()
        break_decisions(world)
        await asyncio.sleep(0.6)
        assert listed


async def test_a_feed_of_the_wrong_kind_is_a_fault_and_no_end(state_dir: Path) -> None:
    from .world import BTC

    async with quoting(state_dir, both("BTC")) as world:
        await asyncio.sleep(0.5)
        world.fake.serve(BTC, lambda: None)  # type: ignore[arg-type, return-value]
        await asyncio.sleep(10)
        assert world.running is not None
        assert not world.running.done()
        world.fake.mend(BTC)
        await until(lambda: len(world.venue.own()) == 10, 70, 0.1)


async def test_a_venue_that_takes_nothing_ends_neither_turns_nor_guards(state_dir: Path) -> None:
    """Even the cancels that answer a fault fail; everything goes on, and comes back by itself."""
    async with quoting(state_dir, both("BTC"), both("ETH")) as world:
        await asyncio.sleep(0.5)
        whole = world.venue.submit

        def broken(places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
            if any(one.symbol == "BTCUSDT" for one in (*places, *cancels)):
                raise OSError("no socket")
            whole(places, cancels)

        world.venue.submit = broken  # type: ignore[method-assign]
        world.move("100.05")
        await asyncio.sleep(3)
        world.halt("BTCUSDT")  # guards cancel, and fail too
        await asyncio.sleep(3)
        assert world.running is not None
        assert not world.running.done()
        assert len(world.venue.own("ETHUSDT")) == 10
        assert len(world.faults(pair="BTC-USDT")) < 60
        world.venue.submit = whole  # type: ignore[method-assign]
        await until(lambda: not world.venue.own("BTCUSDT"), 8)
        world.resume()
        await until(lambda: len(world.venue.own("BTCUSDT")) == 10, 70, 0.1)
        await asyncio.sleep(0.5)
        unknown = [order for order in world.pair.ledger.live() if order.state is not State.OPEN]
        assert not unknown


async def test_a_fault_of_one_pair_never_ends_the_run_of_another(state_dir: Path) -> None:
    async with quoting(state_dir, both("BTC"), both("ETH")) as world:
        await asyncio.sleep(0.5)
        pair = world.engine.pairs[0]

        def broken(*args: object, **kwargs: object) -> object:
            raise RuntimeError("even this")

        pair.gate.cancel = broken  # type: ignore[method-assign]
        break_decisions(world)
        await asyncio.sleep(5)
        assert world.running is not None
        assert not world.running.done()
        assert len(world.rounds(pair="ETH-USDT")) == 6
        vars(pair.gate).pop("cancel")
