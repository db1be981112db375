"""The venue of a stop against the sandbox: hundreds of cancels on few connections, however far away the venue is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mmctl.clock import SystemClock
from mmctl.core.events import CancelRefused, Ended
from mmctl.core.order import CancelOrder, Layer, Side, encode_own_id
from mmctl.errors import VenueUnreachable
from mmctl.sandbox.asking import order as order_asked
from mmctl.sandbox.options import MarketKind, SandboxOptions
from mmctl.sandbox.server import Sandbox
from mmctl.venues.binance_clock import BinanceTimes
from mmctl.venues.binance_stop import BinanceStopVenue

from .harness import Session

SYMBOL = "BTCUSDT"
ORDERS = 128
TIMES = BinanceTimes(recv_window_ms=400, settle_s=1.0, request_timeout_s=10.0)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxOptions(market=MarketKind.EMPTY, limits="off")) as one:
        yield one


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[Session]:
    venue = BinanceStopVenue(
        SystemClock(), account="main", key=sandbox.key, secret=sandbox.secret, rest_url=sandbox.rest_url, times=TIMES
    )
    yield Session(venue, patience_s=8.0)
    await venue.close()


def rest_orders(sandbox: Sandbox, count: int) -> list[str]:
    market, account = sandbox.exchange.market(SYMBOL), sandbox.exchange.accounts["main"]
    ids = [encode_own_id(Layer.NEAR, Side.BUY, 7, number) for number in range(count)]
    for number, client_id in enumerate(ids):
        asked = {"side": "BUY", "type": "LIMIT_MAKER", "price": f"{60_000 - number}", "quantity": "0.001"}
        sandbox.exchange.place(
            account, market, order_asked({**asked, "newClientOrderId": client_id}, market, lambda: "")
        )
    return ids


async def test_cancels_that_wait_for_a_connection_are_signed_when_they_leave(
    sandbox: Sandbox, session: Session
) -> None:
    sandbox.exchange.market(SYMBOL).average = 6_000_000
    ids = rest_orders(sandbox, ORDERS)
    sandbox.faults.set({"latency_ms": 200})
    session.venue.submit([], [CancelOrder(SYMBOL, client_id) for client_id in ids])
    await session.until(lambda: len(session.heard) >= ORDERS)
    assert not session.events(CancelRefused)
    assert len(session.events(Ended)) == ORDERS
    assert not sandbox.exchange.accounts["main"].orders


async def test_a_stop_learns_of_a_venue_that_allows_less_before_it_has_used_that_up(tmp_path: Path) -> None:
    """REST tells what is used, and the limit only with the symbols: one lower than assumed would be met otherwise."""
    limits = tmp_path / "limits.json"
    limits.write_text('[{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1200}]')
    async with Sandbox(SandboxOptions(market=MarketKind.EMPTY, limits=str(limits))) as sandbox:
        venue = BinanceStopVenue(
            SystemClock(), account="main", key=sandbox.key, secret=sandbox.secret, rest_url=sandbox.rest_url
        )
        for _ in range(2):  # a minute may end in between, once
            if sandbox.limits.shown(None, sandbox.exchange.now_ms())[0]["count"] < 650:
                sandbox.limits.use(650, sandbox.exchange.now_ms())  # by an engine at the same address
            await venue.open_orders(SYMBOL)
            await asyncio.sleep(0.2)

        async def list_on() -> None:
            for _ in range(400):
                await venue.open_orders(SYMBOL)

        with pytest.raises(VenueUnreachable, match="90% of 1200 request weight"):
            await list_on()
        session = Session(venue, patience_s=8.0)
        venue.submit([], [CancelOrder(SYMBOL, encode_own_id(Layer.NEAR, Side.BUY, 7, 1))])
        await session.until(lambda: len(session.heard) == 1)
        assert [event.not_found for event in session.events(CancelRefused)] == [True], "the venue was asked"
        assert not sandbox.limits.exceeded
        await venue.close()
