"""What only a live pair has: the kill switch on fills, the position limit, and the basis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mmctl.core.book import Book
from mmctl.core.limits import LiveLimits
from mmctl.core.order import Layer, Side
from mmctl.core.report import Skipped
from mmctl.core.spec import PairSpec
from mmctl.errors import VenueUnreachable

from .world import BTC, VIRTUAL, D, World, both, make_book, now_s, pair_spec, quoting, until

pytestmark = VIRTUAL


def limited(**changes: object) -> PairSpec:
    limits = LiveLimits(max_position=D(1000), max_fills_per_min=100, max_basis_bps=D(50))
    return replace(pair_spec(), limits=replace(limits, **changes))  # type: ignore[arg-type]


def own_market(world: World, mid: str) -> None:
    """The maker venue's own market is around ``mid`` from now on."""

    async def depth(symbol: str) -> Book:
        return make_book(BTC, world.clock.wall_ms(), D(mid))

    world.venue.depth = depth  # type: ignore[method-assign]


def silence(world: World) -> None:
    async def depth(symbol: str) -> Book:
        raise VenueUnreachable("no depth")

    world.venue.depth = depth  # type: ignore[method-assign]


def beside(mid: str) -> Callable[[World], None]:
    return lambda world: own_market(world, mid)


async def test_in_the_right_market_it_quotes(state_dir: Path) -> None:
    async with quoting(state_dir, limited(), before=beside("100.2")) as world:
        await asyncio.sleep(30)
        assert len(world.venue.own()) == 6
        assert world.faults() == []


async def test_beyond_the_basis_nothing_is_quoted_and_what_rests_goes(state_dir: Path) -> None:
    async with quoting(state_dir, limited(), before=beside("100")) as world:
        await until(lambda: len(world.venue.own()) == 6)
        own_market(world, "101")
        await until(lambda: world.venue.own() == [], 6)
        await asyncio.sleep(3)
        assert world.venue.own() == []
        assert {one.reason for one in world.told(Skipped)} == {"basis"}
        (fault,) = world.faults("basis")
        assert "99.0 bps" in fault.detail
        own_market(world, "100.1")
        await until(lambda: len(world.venue.own()) == 6, 8)


async def test_an_own_market_that_cannot_be_read_stops_quoting_in_time(state_dir: Path) -> None:
    async with quoting(state_dir, limited(), before=beside("100")) as world:
        await until(lambda: len(world.venue.own()) == 6)
        silence(world)
        await asyncio.sleep(30)
        assert world.venue.own() == []
        assert len(world.faults("own_market")) == 1
        own_market(world, "100")
        await until(lambda: len(world.venue.own()) == 6, 8)


async def test_an_own_mid_from_before_a_suspension_is_not_quoted_on(state_dir: Path) -> None:
    async with quoting(state_dir, limited(), before=beside("100")) as world:
        await until(lambda: len(world.venue.own()) == 6)
        silence(world)
        since_s = now_s()
        world.clock.boot_s = lambda: now_s() + 3600  # type: ignore[method-assign]
        world.move("100.3")
        await asyncio.sleep(3)
        assert not [sent for sent in world.venue.sent if sent.places and sent.at_s >= since_s]
        assert "basis_unknown" in {one.reason for one in world.told(Skipped)}


async def test_without_its_own_market_a_pair_does_not_begin(state_dir: Path) -> None:
    async with quoting(state_dir, limited(), before=silence) as world:
        await asyncio.sleep(5)
        assert world.venue.placed() == []
        assert {one.reason for one in world.told(Skipped)} == {"basis_unknown"}


async def test_fills_that_come_too_fast_halt_the_pair_until_a_person_resumes(state_dir: Path) -> None:
    async with quoting(state_dir, limited(max_fills_per_min=2, max_basis_bps=D(500)), before=beside("100")) as world:
        await until(lambda: len(world.venue.own()) == 6)
        world.move("101")  # through all asks
        await until(lambda: world.faults("kill_switch"))
        await until(lambda: world.venue.own() == [])
        (halt,) = world.latch.halts()
        assert (halt.scope.symbol, halt.scope.layer) == ("BTCUSDT", None)
        assert "more than 2 fills" in halt.why
        world.move("100")
        await asyncio.sleep(120)
        assert world.venue.own() == []
        assert len(world.faults("kill_switch")) == 1
        world.resume()
        await until(lambda: len(world.venue.own()) == 6)


async def test_a_kill_switch_holds_from_its_first_moment_while_a_disk_hangs(state_dir: Path) -> None:
    going = asyncio.Event()

    async def slowly(work: Callable[[], object]) -> object:
        await going.wait()
        return work()

    limits = limited(max_fills_per_min=2, max_basis_bps=D(500))
    async with quoting(state_dir, limits, before=beside("100")) as world:
        world.desk.done_by = slowly  # type: ignore[assignment]
        await until(lambda: len(world.venue.own()) == 6)
        world.move("101")  # through all asks
        await until(lambda: world.pair.gate.may_be_halted())
        since_s = now_s()
        await until(lambda: world.venue.own() == [])
        assert (world.latch.halts(), world.faults("kill_switch")) == ((), [])
        world.move("100")
        await asyncio.sleep(10)
        assert not [sent for sent in world.venue.sent if sent.places and sent.at_s >= since_s]
        (fault,) = world.faults("kill_switch")
        assert "not written down yet" in fault.action
        going.set()
        await until(lambda: world.latch.halts())
        assert "is set" in world.faults("kill_switch")[-1].action
        await asyncio.sleep(10)
        assert world.venue.own() == []
        world.resume()
        await until(lambda: len(world.venue.own()) == 6)


async def test_an_engine_that_ends_waits_for_the_halt_that_it_writes_down(state_dir: Path) -> None:
    async def slowly(work: Callable[[], object]) -> object:
        await asyncio.sleep(1.5)
        return work()

    async with quoting(state_dir, limited(), before=beside("100")) as world:
        world.desk.done_by = slowly  # type: ignore[assignment]
        world.pair.gate.kill("too many fills", 1, lambda done: None)
    assert [halt.why for halt in world.latch.halts()] == ["too many fills"]


async def test_a_halted_ladder_keeps_no_kill_switch_from_the_other(state_dir: Path) -> None:
    spec = replace(both(), limits=LiveLimits(D(1000), max_fills_per_min=1, max_basis_bps=D(500)))
    async with quoting(state_dir, spec, before=beside("100")) as world:
        await until(lambda: len(world.venue.own()) == 10)
        world.halt(layer=Layer.NEAR)
        await until(lambda: len(world.venue.own()) == 4)
        world.move("104")  # through all far asks
        await until(lambda: world.faults("kill_switch"))
        await until(lambda: world.venue.own() == [])
        assert [halt.scope.layer for halt in world.latch.halts()] == [Layer.NEAR, None]


@pytest.mark.parametrize("limit", ["1", "10.5", "25"])
async def test_the_position_never_passes_its_limit(state_dir: Path, limit: str) -> None:
    async with quoting(state_dir, limited(max_position=D(limit)), before=beside("100")) as world:
        for step in range(40):
            world.move(str(D(100) - D(step) * D("0.05")))  # falls, so that bids fill
            await asyncio.sleep(1)
            bids = sum((order.qty - order.filled for order in world.pair.ledger.live() if order.side is Side.BUY), 0)
            worst = world.pair.ledger.position + bids * world.pair.instrument.lot_size
            assert worst <= D(limit)
        assert world.pair.totals.fills > 0 or D(limit) < 5
