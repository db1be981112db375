"""Room for cancels: what connects, asks and subscribes leaves it, and what the venue wants waited for ends on time."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from typing import cast

import pytest

from mmctl.clock import SystemClock
from mmctl.core.order import CancelOrder, NewOrder, Side, TimeInForce
from mmctl.venues.binance_clock import BinanceTimes, ServerClock
from mmctl.venues.binance_gate import RateGate
from mmctl.venues.binance_net import FrameSocket
from mmctl.venues.binance_reads import Reads
from mmctl.venues.binance_replies import ReplyReader
from mmctl.venues.binance_requests import Requests
from mmctl.venues.binance_rest import Rest
from mmctl.venues.binance_sender import Sender
from mmctl.venues.binance_ws import WsLink
from mmctl.wire.binance import CANCEL, CANCEL_ALL, CONNECT_WEIGHT, OPEN_ORDERS, PLACE, TIME, Call, Reply
from mmctl.wire.binance_limits import Kind, Limit
from mmctl.wire.binance_sign import Signer

pytestmark = pytest.mark.looptime


class Suspendable(SystemClock):
    """A clock whose machine can have been suspended."""

    def __init__(self) -> None:
        super().__init__(wall_offset_ms=1_700_000_000_000)
        self.suspended_s = 0.0

    def boot_s(self) -> float:
        return self.monotonic() + self.suspended_s

    def wall_ms(self) -> int:
        return super().wall_ms() + round(self.suspended_s * 1000)


class Nowhere:
    """A network on which every attempt fails, and is written down."""

    def __init__(self, clock: SystemClock) -> None:
        self.rest: Rest = self
        self.dice = random.Random(1)
        self.is_open = True
        self.attempts: list[float] = []
        self.asked: list[tuple[float, str]] = []
        self._clock = clock

    def open(self) -> None: ...

    async def connect(self) -> FrameSocket:
        self.attempts.append(self._clock.monotonic())
        return cast(FrameSocket, Silent())

    async def ask(self, call: Call, query: str, timeout_s: float) -> Reply:
        self.asked.append((self._clock.monotonic(), call.method))
        await asyncio.sleep(timeout_s)
        raise AssertionError("nobody waits so long here")

    async def close(self) -> None: ...


class Silent:
    close_code = None

    async def send_str(self, frame: str) -> None: ...

    async def receive_frame(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None: ...


TOO_MANY = Reply(429, b"", None, (), retry_after_ms=1_700_000_010_000, at_ms=1_700_000_000_000)
"""Ten seconds of quiet."""


async def test_a_connection_waits_for_the_budget() -> None:
    clock = Suspendable()
    network, gate = Nowhere(clock), RateGate(clock, ServerClock(clock))
    gate.ledger.set_limits([Limit(Kind.WEIGHT, 60, 10)])
    gate.spend(9)
    link = WsLink("ws://127.0.0.1/", network, clock, BinanceTimes(), gate, on_event=lambda body: None)
    opening = asyncio.create_task(link.open())
    await asyncio.sleep(1.0)
    assert network.attempts == [], "a connection weighs 2, and 1 is left"
    left_s = 60 - clock.wall_ms() / 1000 % 60
    await asyncio.sleep(left_s + 1.0)
    assert len(network.attempts) == 1, "the next interval has room"
    await opening
    await link.close()


async def test_a_hold_goes_on_while_the_machine_is_suspended() -> None:
    clock = Suspendable()
    gate = RateGate(clock, ServerClock(clock))
    gate.heed(TOO_MANY)
    assert gate.held_s(placing=False) > 9
    clock.suspended_s += 11
    assert gate.held_s(placing=False) == 0


def make_sender(clock: SystemClock, network: Nowhere, gate: RateGate, at_once: int = 8) -> Sender:
    signer, server, times = Signer("key", "secret"), ServerClock(clock), BinanceTimes()
    requests = Requests(lambda symbol, event: None)
    reads = Reads("binance", clock, server, gate, network.rest, signer, times, requests, lambda: True)
    reader = ReplyReader(signer, {}, reads.clock_words)
    return Sender(clock, server, gate, network.rest, signer, times, reads, requests, reader, lambda _: None, at_once)


async def test_held_cancels_leave_at_once_after_a_suspension() -> None:
    clock = Suspendable()
    network, gate = Nowhere(clock), RateGate(clock, ServerClock(clock))
    sender = make_sender(clock, network, gate)
    gate.heed(TOO_MANY)
    sender.cancel(CancelOrder("BTCUSDT", "N0B000000000000001XX"))
    await asyncio.sleep(1.0)
    assert network.asked == []
    clock.suspended_s += 11
    await asyncio.sleep(0.1)
    assert [method for _, method in network.asked] == ["order.cancel"]
    await sender.close()


async def test_held_cancels_leave_before_all_else() -> None:
    clock = Suspendable()
    network, gate = Nowhere(clock), RateGate(clock, ServerClock(clock))
    sender = make_sender(clock, network, gate, at_once=1)
    gate.heed(TOO_MANY)
    for number in range(2):
        sender.cancel(CancelOrder("BTCUSDT", f"N0B00000000000000{number}XX"))
    clock.suspended_s += 11
    assert gate.held_s(placing=False) == 0
    assert "cancels go first" in str(gate.refusal(OPEN_ORDERS, quoting=False))
    assert "cancels go first" in str(gate.refusal(PLACE, quoting=True))
    assert gate.wait_s(CONNECT_WEIGHT) > 0
    assert gate.refusal(CANCEL, quoting=False) is None
    await asyncio.sleep(0.1)
    assert len(network.asked) == 1
    assert gate.refusal(OPEN_ORDERS, quoting=False), "the other waits for its connection"
    await asyncio.sleep(BinanceTimes().request_timeout_s)
    assert gate.refusal(OPEN_ORDERS, quoting=False) is None, "the venue says nothing: no cancel is waited for for ever"
    await sender.close()


async def test_what_is_read_before_the_first_placement_leaves_room_for_cancels() -> None:
    clock = Suspendable()
    sender = make_sender(clock, Nowhere(clock), RateGate(clock, ServerClock(clock)))
    assert sender.quoting
    sender.place(_order())
    await asyncio.sleep(BinanceTimes().landing_time_s + 1)
    assert not sender.quoting, "it only stops now, and may use all that is there"
    await sender.close()


async def test_what_is_only_read_leaves_room_for_cancels() -> None:
    """A stop that lists the venue again and again does not use up what an engine's cancels need."""
    clock = Suspendable()
    network, gate = Nowhere(clock), RateGate(clock, ServerClock(clock))
    gate.ledger.set_limits([Limit(Kind.WEIGHT, 86_400, 1200)])
    gate.spend(960)  # by quoting
    listings = 0
    while gate.refusal(OPEN_ORDERS, quoting=False) is None:
        gate.take(OPEN_ORDERS)
        listings += 1
    assert listings == 20
    assert gate.wait_s(6) > 0, "a connection waits too"
    sender = make_sender(clock, network, gate)
    for number in range(120):
        sender.cancel(CancelOrder("BTCUSDT", f"N0B0000000000000{number:03}X"))
    assert gate.used() == {Limit(Kind.WEIGHT, 86_400, 1200): 1200}
    await sender.close()


async def test_cancels_that_are_repeated_leave_room_for_those_that_never_left() -> None:
    clock = Suspendable()
    network, gate = Nowhere(clock), RateGate(clock, ServerClock(clock))
    limit = Limit(Kind.WEIGHT, 86_400, 100)
    gate.ledger.set_limits([limit])
    sender = make_sender(clock, network, gate)
    for _ in range(120):
        sender.cancel(CancelOrder("BTCUSDT", "N0B000000000000001XX"))
    assert gate.used() == {limit: 95}
    for number in range(5):
        sender.cancel(CancelOrder("BTCUSDT", f"N0B00000000000010{number}XX"))
    assert gate.used() == {limit: 100}
    await sender.close()


async def test_the_time_that_a_cancel_needs_may_be_asked_for_whenever_a_cancel_may() -> None:
    clock = Suspendable()
    gate = RateGate(clock, ServerClock(clock))
    gate.ledger.set_limits([Limit(Kind.WEIGHT, 86_400, 1200)])
    gate.spend(1199)
    assert gate.refusal(TIME, quoting=True) is None
    assert gate.refusal(CANCEL_ALL, quoting=False) is None
    assert gate.refusal(OPEN_ORDERS, quoting=False) == "the budget is used up: 90% of 1200 request weight of 86400 s"


def _order() -> NewOrder:

    return NewOrder("BTCUSDT", "N0B000000000000001XX", Side.BUY, Decimal(1), Decimal(1), TimeInForce.GTX)


async def test_the_venues_time_goes_on_while_the_machine_is_suspended() -> None:
    clock = Suspendable()
    server = ServerClock(clock)
    before_ms = server.now_ms()
    clock.suspended_s += 4
    assert server.now_ms() - before_ms == 4000
    assert server.stepped_ms() == 0, "nobody set a clock"


async def test_held_cancels_leave_within_the_budget() -> None:
    clock = Suspendable()
    network, gate = Nowhere(clock), RateGate(clock, ServerClock(clock))
    sender = make_sender(clock, network, gate)
    gate.heed(TOO_MANY)
    for number in range(3):
        sender.cancel(CancelOrder("BTCUSDT", f"N0B00000000000000{number}XX"))
    gate.ledger.set_limits([Limit(Kind.WEIGHT, 86_400, 2)])
    clock.suspended_s += 11
    await asyncio.sleep(0.2)
    assert [method for _, method in network.asked] == ["order.cancel"] * 2
    await sender.close()
