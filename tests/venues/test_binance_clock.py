"""The venue's time under virtual time: measured again on a schedule, and no step of this machine's clock moves it."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from urllib.parse import parse_qs

import looptime
import pytest

from mmctl.clock import SystemClock
from mmctl.errors import VenueError, VenueUnreachable
from mmctl.venues.binance_clock import LEAST_BETWEEN_S, MEASURE_EVERY_S, BinanceTimes, ClockKeeper, ServerClock
from mmctl.venues.binance_gate import RateGate
from mmctl.venues.binance_reads import Reads
from mmctl.venues.binance_requests import Requests
from mmctl.venues.binance_rest import Lost
from mmctl.wire import binance as wire
from mmctl.wire.binance import Call, Reply
from mmctl.wire.binance_limits import Kind, Told
from mmctl.wire.binance_sign import Signer

pytestmark = pytest.mark.looptime(noop_cycles=0)
START_MS = 1_700_000_000_000


class SteppingClock(SystemClock):
    """A machine whose wall clock can be set while the monotonic one goes on."""

    def __init__(self) -> None:
        super().__init__(START_MS)  # all of its clocks are the loop's
        self.set_by_ms = 0

    def wall_ms(self) -> int:
        return START_MS + round(self.monotonic() * 1000) + self.set_by_ms


class FakeRest:
    """The venue's REST: its clock, and what it was sent."""

    def __init__(self, clock: SteppingClock) -> None:
        self._clock = clock
        self.ahead_ms = 0
        self.latency_s = 0.01
        self.asked: list[tuple[str, float]] = []
        self.stamps: list[int] = []
        self.answer: Reply | None = None
        self.down = False

    def now_ms(self) -> int:
        return START_MS + round(self._clock.monotonic() * 1000) + self.ahead_ms

    async def ask(self, call: Call, query: str, timeout_s: float) -> Reply:
        self.asked.append((call.method, self._clock.monotonic()))
        await asyncio.sleep(self.latency_s / 2)
        if self.down:
            raise Lost("the venue cannot be reached", handed=False)
        if self.answer is not None:
            return self.answer
        if call.signed:
            self.stamps.append(int(parse_qs(query)["timestamp"][0]) - self.now_ms())
        body = b'{"serverTime":%d}' % self.now_ms() if call is wire.TIME else b"[]"
        await asyncio.sleep(self.latency_s / 2)
        return Reply(200, body)

    def times(self) -> list[float]:
        """When a measurement began."""
        return [
            at_s for index, at_s in enumerate(at for method, at in self.asked if method == "time") if index % 3 == 0
        ]


class World:
    """The parts that keep the time, as ``BinanceVenue`` joins them."""

    def __init__(self) -> None:
        self.clock = SteppingClock()
        self.rest = FakeRest(self.clock)
        self.server = ServerClock(self.clock)
        self.gate = RateGate(self.clock, self.server)
        signer, times = Signer("key", "secret"), BinanceTimes()
        self.reads = Reads(
            "binance", self.clock, self.server, self.gate, self.rest, signer, times,
            Requests(lambda symbol, event: None), lambda: True,
        )  # fmt: skip
        self.keeper = ClockKeeper(self.clock, self.server, self.reads.measure_clock)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> World:
        await self.reads.measure_clock(self.clock.monotonic())
        self._task = asyncio.create_task(self.keeper.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.reads.stop()

    def error_ms(self) -> int:
        """How far off our idea of the venue's time is."""
        return self.server.now_ms() - self.rest.now_ms()


async def test_it_is_measured_again_on_a_schedule_and_costs_little(looptime: looptime.LoopTimeEventLoop) -> None:
    async with World() as world:
        await asyncio.sleep(10 * MEASURE_EVERY_S + 30)
        measured = world.rest.times()
        assert len(measured) == 11
        assert all(59 <= later - earlier <= 63 for earlier, later in pairwise(measured))
        assert len(world.rest.asked) == 33  # of weight 1 each, of 6000 a minute


@pytest.mark.parametrize("jump_ms", [-2000, -900, 900, 2000, 5000])
async def test_a_venue_clock_that_jumps_within_the_window_is_noticed_within_a_minute(jump_ms: int) -> None:
    async with World() as world:
        await asyncio.sleep(5)
        world.rest.ahead_ms = jump_ms
        assert abs(world.error_ms() + jump_ms) <= 10
        await asyncio.sleep(MEASURE_EVERY_S + 2)
        assert abs(world.error_ms()) <= 10


@pytest.mark.parametrize("step_ms", [-3_600_000, -2000, -300, 300, 2000, 3_600_000])
async def test_a_step_of_this_machines_clock_moves_no_time_stamp(step_ms: int) -> None:
    async with World() as world:
        await world.reads.listing("BTCUSDT")
        world.clock.set_by_ms = step_ms
        await world.reads.listing("BTCUSDT")
        assert abs(world.error_ms()) <= 10
        assert abs(world.server.offset_ms + step_ms) <= 10  # what is told of this machine's clock is true all the same
        await asyncio.sleep(LEAST_BETWEEN_S + 2)
        assert len(world.rest.times()) == 2  # and it made sure soon
        await asyncio.sleep(LEAST_BETWEEN_S + 2)
        assert len(world.rest.times()) == 2  # once
        await world.reads.listing("BTCUSDT")
        assert all(-30 <= ahead_ms <= 10 for ahead_ms in world.rest.stamps)
        assert len(world.rest.stamps) == 3


async def test_a_new_connection_has_it_measured_soon_and_a_flutter_makes_no_flood() -> None:
    async with World() as world:
        await asyncio.sleep(20)
        for _ in range(200):
            world.keeper.want()
            await asyncio.sleep(0.1)
        assert 2 <= len(world.rest.times()) <= 4


async def test_nothing_is_measured_while_the_venue_wants_quiet() -> None:
    async with World() as world:
        await asyncio.sleep(1)
        world.rest.answer = Reply(429, b"", None, (), world.rest.now_ms() + 200_000, world.rest.now_ms())
        with pytest.raises(VenueError):
            await world.reads.listing("BTCUSDT")
        world.rest.answer = None
        sent = len(world.rest.asked)
        held_s = world.gate.held_s(placing=False)
        await asyncio.sleep(held_s - 0.5)
        assert len(world.rest.asked) == sent
        await asyncio.sleep(LEAST_BETWEEN_S + 2)
        assert len(world.rest.asked) == sent + 3


async def test_nothing_is_measured_over_budget() -> None:
    async with World() as world:
        ticket = world.gate.take(wire.TIME)
        world.gate.ledger.settle(ticket, [Told(Kind.WEIGHT, 60, 6000)], world.server.now_ms())
        with pytest.raises(VenueUnreachable, match="budget"):
            await world.reads.measure_clock(world.clock.monotonic())


async def test_a_venue_that_is_away_keeps_the_time_that_is_known() -> None:
    async with World() as world:
        world.rest.down = True
        await asyncio.sleep(5 * MEASURE_EVERY_S)
        assert abs(world.error_ms()) <= 10
        world.rest.down, world.rest.ahead_ms = False, 1500
        await asyncio.sleep(LEAST_BETWEEN_S + 2)
        assert abs(world.error_ms()) <= 10


async def test_a_slow_answer_does_not_make_it_worse_but_a_jump_is_seen_through_it() -> None:
    async with World() as world:
        known_ms = world.server.now_ms() - round(world.clock.monotonic() * 1000)
        world.rest.latency_s = 0.8
        await asyncio.sleep(MEASURE_EVERY_S + 5)
        assert world.server.now_ms() - round(world.clock.monotonic() * 1000) == known_ms
        assert world.server.round_trip_ms == 10
        world.rest.ahead_ms = 3000
        await asyncio.sleep(MEASURE_EVERY_S + 5)
        assert abs(world.error_ms()) <= 400
