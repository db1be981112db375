"""A server that says that it will go: the venue leaves it in time, loses no reply, and sends nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest

from mmctl.clock import SystemClock
from mmctl.core.events import Accepted, Unsettled
from mmctl.core.order import NewOrder, Side
from mmctl.sandbox.options import MarketKind, SandboxOptions
from mmctl.sandbox.server import Sandbox
from mmctl.venues.binance import BinanceUrls, BinanceVenue

from .binance_script import FAST, SILENCE, Open, Script, times
from .harness import Session

ACCOUNT = "main"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxOptions(market=MarketKind.EMPTY)) as one:
        yield one


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[Session]:
    urls = BinanceUrls(sandbox.rest_url, sandbox.ws_url, sandbox.stream_url)
    venue = BinanceVenue(
        SystemClock(), account=ACCOUNT, key=sandbox.key, secret=sandbox.secret, urls=urls, mode="sandbox",
        user_stream=False, times=times(recv_window_ms=10_000, request_timeout_s=8.0, read_timeout_s=8.0),
    )  # fmt: skip
    await venue.open()
    yield Session(venue, patience_s=4.0)
    await venue.close()


def bids(session: Session, count: int) -> list[NewOrder]:
    return [session.new(Side.BUY, f"{60_000 - number}", "0.01") for number in range(count)]


def sent_once(sandbox: Sandbox, session: Session) -> bool:
    placed = sandbox.exchange.accounts[ACCOUNT].placements
    return set(placed.values()) == {1} and len(placed) == len({heard.event.client_id for heard in session.heard})  # type: ignore[union-attr]


async def test_it_moves_to_a_new_connection_before_the_old_one_ends(sandbox: Sandbox, session: Session) -> None:
    sandbox.faults.set({"latency_ms": 1500})
    written = bids(session, 4)
    session.venue.submit(written, [])
    await asyncio.sleep(0.1)
    assert sandbox.ws_api.announce(sandbox.exchange.now_ms(), 5.0) == 1
    await session.until(lambda: not session.venue.over_socket)
    meanwhile = bids(session, 4)
    session.venue.submit(meanwhile, [])
    await session.until(lambda: session.venue.over_socket)
    assert not session.events(Accepted), "the old connection still owes its replies"
    after = bids(session, 4)
    session.venue.submit(after, [])
    await session.until(lambda: len(session.events(Accepted)) == 12)
    await session.until(lambda: len(sandbox.ws_api.sockets.open) == 1)
    assert session.venue.over_socket
    assert not session.events(Unsettled)
    assert sent_once(sandbox, session)


async def test_what_the_old_connection_never_answers_is_unsettled_at_its_cut(
    sandbox: Sandbox, session: Session
) -> None:
    sandbox.faults.set({"latency_ms": 1200})
    written = bids(session, 3)
    session.venue.submit(written, [])
    await asyncio.sleep(0.1)
    sandbox.ws_api.announce(sandbox.exchange.now_ms(), 0.3)
    await session.until(lambda: len(session.events(Unsettled)) == 3)
    await session.until(lambda: session.venue.over_socket)
    await asyncio.sleep(0.3)
    assert sent_once(sandbox, session)
    assert len(session.heard) == 3


async def test_the_control_address_says_it(sandbox: Sandbox, session: Session) -> None:
    url = f"{sandbox.control_url}/connections/shutdown"
    async with aiohttp.ClientSession() as client, client.post(url, json={"seconds": 0.2}) as reply:
        assert await reply.json() == {"told": 1}
    await session.until(lambda: sandbox.ws_api.sockets.opened == 2 and session.venue.over_socket)


async def test_a_connection_is_left_before_its_day_is_over(script: Script, open_venue: Open) -> None:
    session = await open_venue(
        user_stream=False, times=times(connection_s=0.3, quiet_s=0.1, probe_s=1.0, request_timeout_s=5.0)
    )
    (first,) = script.sockets
    script.on["order.place"] = lambda _: SILENCE
    session.venue.submit(bids(session, 1), [])
    await session.until(lambda: first in script.sockets and len(script.sockets) == 2, 3.0)
    assert not session.heard, "what was written to the old one is still awaited"
    await session.until(lambda: session.venue.over_socket)


async def test_servers_that_all_go_make_no_storm(script: Script, open_venue: Open) -> None:
    session = await open_venue(user_stream=False)
    goodbye = msgspec.json.encode({"event": {"e": "serverShutdown", "E": 1}})
    told: list[object] = []
    for _ in range(100):
        for socket in [one for one in script.sockets if one not in told]:
            told.append(socket)
            await socket.send_bytes(goodbye)
        await asyncio.sleep(0.01)
    assert 1 < len(told) <= 1 / (FAST.reconnect_first_s / 2)
    await session.until(lambda: session.venue.over_socket)


async def test_a_retired_connection_that_owes_nothing_any_more_is_closed(script: Script, open_venue: Open) -> None:
    session = await open_venue(user_stream=False)
    script.on["order.place"] = lambda _: SILENCE
    order = session.new(Side.BUY, "1")
    session.venue.submit([order], [])
    await session.until(lambda: script.count("order.place") == 1)
    await script.sockets[0].send_bytes(msgspec.json.encode({"event": {"e": "serverShutdown", "E": 1}}))
    await session.until(lambda: len(script.sockets) == 2)
    landing_s = FAST.landing_time_s
    await session.until(lambda: len(script.sockets) == 1, landing_s + 1)
    assert [type(event) for event in session.of(order.client_id)] == [Unsettled]
    assert script.count("order.place") == 1
