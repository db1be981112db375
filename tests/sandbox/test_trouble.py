"""Limits and faults: each does what it says, to whoever it is meant for."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import aiohttp
import pytest

from mmctl.errors import UsageError
from mmctl.sandbox.accounts import Account
from mmctl.sandbox.faults import Faults
from mmctl.sandbox.limits import BINANCE, FIRST_BAN_MS, PATIENCE, LimitRule, Limits, limit_rules
from mmctl.sandbox.options import STANDARD_ACCOUNTS, MarketKind, SandboxOptions
from mmctl.sandbox.refusals import Refusal
from tests.sandbox.clients import EMPTY, SYMBOL, Client, connected, line_of, sandbox_client
from tests.sandbox.test_matching import check_money, wealth

NOON = 1_700_000_040_000
"""The start of a full minute."""


def troubled(**faults: float) -> SandboxOptions:
    return SandboxOptions(market=MarketKind.EMPTY, faults=faults)


# Limits


def test_weight_is_counted_by_the_full_minute() -> None:
    limits = Limits((LimitRule("REQUEST_WEIGHT", "MINUTE", 1, 10),))
    limits.use(10, NOON)
    with pytest.raises(Refusal) as refused:
        limits.use(1, NOON + 100)
    assert (refused.value.status, refused.value.retry_after_ms) == (429, NOON + 60_000)
    limits.use(1, NOON + 60_000)
    assert limits.shown(None, NOON + 60_000)[0]["count"] == 1


def test_who_goes_on_asking_is_banned_and_then_for_longer() -> None:
    """What was on its way when the first 429 was said is not held against anybody."""
    now_s = 0.0
    limits = Limits((LimitRule("REQUEST_WEIGHT", "DAY", 1, 1),), monotonic=lambda: now_s)
    limits.use(1, NOON)
    statuses = []
    for number in range(50 + PATIENCE + 3):
        now_s = 0.0 if number < 50 else 0.2
        with pytest.raises(Refusal) as refused:
            limits.use(1, NOON)
        statuses.append(refused.value.status)
    assert statuses[:50] == [429] * 50
    statuses = statuses[49:]
    assert statuses == [429] * (PATIENCE + 1) + [418] * 3
    assert refused.value.retry_after_ms == NOON + FIRST_BAN_MS
    assert limits.disobeyed == 50 + PATIENCE + 2


def test_orders_are_counted_by_account_and_given_back_when_they_trade() -> None:
    limits = Limits((LimitRule("ORDERS", "SECOND", 10, 2),))
    one, other = (Account(spec) for spec in STANDARD_ACCOUNTS[:2])
    for _ in range(2):
        limits.use_order(one, NOON)
    with pytest.raises(Refusal, match="Too many new orders; current limit is 2 orders per 10 SECOND"):
        limits.use_order(one, NOON)
    limits.use_order(other, NOON)
    limits.on_first_fill(one, NOON + 1)
    limits.use_order(one, NOON + 9_999)
    limits.use_order(one, NOON + 10_000)
    limits.on_first_fill(one, NOON + 10_001)  # it may have been placed in the window before
    assert limits.orders(one, NOON + 10_001)[0]["count"] == 0
    limits.on_first_fill(one, NOON + 10_002)
    assert limits.orders(one, NOON + 10_002)[0]["count"] == 0  # nothing is given in advance


def test_limits_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    rule = {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 5}
    path.write_text(json.dumps([rule]))
    assert limit_rules(str(path)) == (LimitRule("ORDERS", "SECOND", 10, 5),)
    assert (limit_rules("binance"), limit_rules("off")) == (BINANCE, ())
    for wrong in ("[1]", json.dumps([rule | {"interval": "WEEK"}]), "no"):
        path.write_text(wrong)
        with pytest.raises(UsageError, match=r"--limits .*limits\.json"):
            limit_rules(str(path))
    with pytest.raises(UsageError):
        limit_rules(str(tmp_path / "none.json"))


async def test_limits_over_the_wire(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    weights = {"rateLimitType": "REQUEST_WEIGHT", "interval": "DAY", "intervalNum": 1, "limit": 100}
    orders = {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 2}
    path.write_text(json.dumps([weights, orders]))
    options = SandboxOptions(market=MarketKind.EMPTY, limits=str(path))
    async with sandbox_client(options) as client, connected(client) as line:
        info = await client.rest("GET", "/api/v3/exchangeInfo", signed=False)
        assert info.body["rateLimits"] == [weights, orders]
        assert info.headers["X-MBX-USED-WEIGHT-1D"] == "22"
        placed = await client.place("BUY", "60000.00")
        assert (placed.headers["X-MBX-ORDER-COUNT-1D"], placed.headers["X-MBX-USED-WEIGHT-1D"]) == ("1", "23")
        await line.place("BUY", "60000.00")
        late = await line.place("BUY", "60000.00")
        assert (late["status"], late["error"]["code"]) == (429, -1015)
        assert late["error"]["data"]["retryAfter"] > late["error"]["data"]["serverTime"]
        for _ in range(2):
            await client.rest("GET", "/api/v3/rateLimit/order")
        over = await client.rest("GET", "/api/v3/ping", signed=False)
        assert (over.status, over.body["code"]) == (429, -1003)
        assert 0 < int(over.headers["Retry-After"]) <= 86_400


async def test_limits_off_shows_none() -> None:
    async with sandbox_client(SandboxOptions(market=MarketKind.EMPTY, limits="off")) as client:
        info = await client.rest("GET", "/api/v3/exchangeInfo", signed=False)
        assert info.body["rateLimits"] == []
        assert not [name for name in info.headers if name.upper().startswith("X-MBX")]


# Faults


def test_settings_that_are_none() -> None:
    for wrong in ({"nonsense": 1.0}, {"drop": 1.5}, {"latency_ms": -1.0}):
        with pytest.raises(UsageError, match="--fault"):
            Faults(wrong, 1)


def test_the_same_seed_makes_the_same_trouble() -> None:
    one, same, other = (Faults({"drop": 0.3, "reply_lost": 0.2}, seed) for seed in (1, 1, 2))
    fates = [[faults.fate() for _ in range(50)] for faults in (one, same, other)]
    assert fates[0] == fates[1] != fates[2]


async def test_latency_delays_every_reply_and_none_waits_for_another() -> None:
    async with line_of(troubled(latency_ms=400)) as line:
        start = time.monotonic()
        numbers = [await line.send("ping", signed=False) for _ in range(20)]
        for number in numbers:
            await line.reply(number)
        assert 0.39 < time.monotonic() - start < 20 * 0.4
        start = time.monotonic()
        await asyncio.gather(*(line.client.rest("GET", "/api/v3/ping", signed=False) for _ in range(20)))
        assert 0.39 < time.monotonic() - start < 20 * 0.4


async def test_a_lost_reply_leaves_the_order_standing_and_a_lost_request_none() -> None:
    async with line_of(troubled(reply_lost=1)) as line:
        with pytest.raises(TimeoutError):
            await line.reply(await line.send("order.place", **order("there")), within_s=0.2)
        with pytest.raises(aiohttp.ClientError):
            await line.client.place("BUY", "60000.00", newClientOrderId="there-2")
        await line.client.control("/faults", clear=True, request_lost=1)
        with pytest.raises(TimeoutError):
            await line.reply(await line.send("order.place", **order("never")), within_s=0.2)
        with pytest.raises(aiohttp.ClientError):
            await line.client.place("BUY", "60000.00", newClientOrderId="never-2")
        await line.client.control("/faults", clear=True)
        assert await line.client.open_ids() == ["there", "there-2"]
        truth = await line.client.control("/truth")
        assert truth["accounts"]["main"]["placements"] == {"there": 1, "there-2": 1}
        assert (await line.client.control("/state"))["struck"] == {"reply_lost": 2, "request_lost": 2}


def order(client_id: str) -> dict[str, str]:
    return {
        "symbol": SYMBOL, "side": "BUY", "type": "LIMIT_MAKER", "price": "60000.00", "quantity": "0.01",
        "newClientOrderId": client_id,
    }  # fmt: skip


async def test_a_delayed_request_is_done_late_or_too_late() -> None:
    async with line_of(troubled(request_delayed=1, delay_ms=200)) as line:
        start = time.monotonic()
        number = await line.send("order.place", **order("late"), recvWindow=30_000)
        assert (await line.reply(number))["status"] == 200
        assert time.monotonic() - start > 0.19
        reply = await line.ask("order.place", **order("too-late"), recvWindow=50)
        assert reply["error"]["code"] == -1021


@pytest.mark.parametrize(("fault", "status"), [("too_many", 429), ("ban", 418)])
async def test_429_and_418_hold_for_everybody_until_their_time(fault: str, status: int) -> None:
    async with line_of(troubled(**{fault: 1.0, "retry_after_s": 1.5})) as line:
        reply = await line.ask("ping", signed=False)
        assert (reply["status"], reply["error"]["code"]) == (status, -1003)
        await line.client.control("/faults", clear=True)
        rest = await line.client.rest("GET", "/api/v3/ping", signed=False)
        assert rest.status == status
        assert rest.headers["Retry-After"] in ("1", "2")
        await asyncio.sleep(0.1)
        assert (await line.ask("ping", signed=False))["status"] == status
        await asyncio.sleep(1.45)
        assert (await line.ask("ping", signed=False))["status"] == 200
        state = await line.client.control("/state")
        assert state["disobeyed"] == 2
        assert 100 <= state["disobeyed_late_ms"] < 1500, "of the later of them"
        assert state["disobeyed_by"] == {"ping": state["disobeyed_late_ms"]}


async def test_server_errors_leave_it_open_whether_it_was_done() -> None:
    async with line_of(troubled(server_error=1)) as line:
        statuses = {}
        for number in range(12):
            reply = await line.ask("order.place", **order(f"o{number}"))
            statuses[f"o{number}"] = reply["status"], reply["error"]["code"]
        await line.client.control("/faults", clear=True)
        done = set(await line.client.open_ids())
        assert {statuses[name] for name in done} == {(504, -1007)}
        assert {status for name, status in statuses.items() if name not in done} == {(503, -1001)}


async def test_dropped_sockets() -> None:
    async with sandbox_client(EMPTY) as client:
        for number in range(8):
            async with connected(client) as line:
                await line.ask("ping", signed=False)
                await client.control("/faults", drop=1)
                with pytest.raises(ConnectionError):
                    await line.ask("order.place", **order(f"d{number}"))
                await client.control("/faults", clear=True)
        done = set(await client.open_ids())
        assert 0 < len(done) < 8, "cut before some were done, and after others"
        async with connected(client) as line:
            assert await client.control("/connections/drop", kind="ws_api") == {"dropped": 1}
            with pytest.raises(ConnectionError):
                await line.ask("ping", signed=False)


async def test_user_events_twice_and_out_of_order() -> None:
    async with line_of(troubled(event_repeated=1)) as line:
        await line.subscribe()
        await line.place("BUY", "60000.00")
        one, again = await line.told(2)
        assert one == again
    async with line_of(troubled(event_reordered=0.5)) as line:
        await line.subscribe()
        for _ in range(10):
            await line.place("BUY", "60000.00")
        await asyncio.sleep(0.6)
        numbers = [event["I"] for event in await line.told(10)]
        assert sorted(numbers) == list(range(1, 11))
        kinds = [event["e"] for event in line.events]
        assert kinds != ["executionReport", "outboundAccountPosition"] * 10


async def test_listings_that_lag_show_the_past() -> None:
    async with sandbox_client(EMPTY) as client:
        await client.place("BUY", "60000.00", newClientOrderId="old")
        await asyncio.sleep(1.1)
        await client.control("/faults", listing_lag_ms=1000)
        await client.place("BUY", "60000.00", newClientOrderId="new")
        await client.rest("DELETE", "/api/v3/order", symbol=SYMBOL, origClientOrderId="old")
        assert await client.open_ids() == ["old"]
        await asyncio.sleep(1.1)
        assert await client.open_ids() == ["new"]


async def test_partial_fills_come_in_bursts() -> None:
    async with line_of(troubled(partial_burst=1)) as line:
        await line.subscribe()
        await line.place("BUY", "60000.00", "0.1", newClientOrderId="own")
        trades = [event for event in await line.told(5) if event["x"] == "TRADE"]
        assert len(trades) >= 4
        assert len({event["t"] for event in trades}) == len(trades)


async def test_a_clock_that_is_off() -> None:
    async with sandbox_client(troubled(clock_offset_ms=90_000)) as client:
        server = (await client.rest("GET", "/api/v3/time", signed=False)).body["serverTime"]
        assert 89_000 < server - client.now_ms() < 91_000
        assert (await client.rest("GET", "/api/v3/account")).body["code"] == -1021
        client.offset_ms = 90_000
        assert (await client.rest("GET", "/api/v3/account")).status == 200


async def test_maintenance_closes_everything_and_ends() -> None:
    async with sandbox_client(EMPTY) as client, connected(client) as line:
        await line.ask("ping", signed=False)
        assert await client.control("/maintenance", on=True) == {"maintenance": True}
        with pytest.raises(ConnectionError):
            await line.ask("ping", signed=False)
        assert line.events[-1]["e"] == "serverShutdown"
        assert (await client.rest("GET", "/api/v3/ping", signed=False)).status == 503
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.session.ws_connect(client.sandbox.ws_url)
        await client.control("/maintenance", on=False)
        assert (await client.rest("GET", "/api/v3/ping", signed=False)).status == 200


EVERYTHING = {
    "latency_ms": 2, "jitter_ms": 5, "reply_lost": 0.02, "request_lost": 0.02, "request_delayed": 0.02, "delay_ms": 50,
    "too_many": 0.005, "ban": 0.005, "retry_after_s": 0.05, "server_error": 0.02, "drop": 0.02, "stall": 0.02,
    "stall_s": 0.1, "event_repeated": 0.05, "event_reordered": 0.05, "listing_lag_ms": 50, "partial_burst": 0.5,
}  # fmt: skip


async def test_with_every_fault_at_once_the_exchange_itself_stays_right() -> None:
    options = SandboxOptions(seed=11, limits="off", faults=EVERYTHING)
    async with sandbox_client(options) as client:
        exchange = client.sandbox.exchange
        before = wealth(exchange)
        await asyncio.gather(*(one_trader(client, number) for number in range(4)))
        check_money(exchange, before)
        assert exchange.counters.placed > 20
        truth = await client.control("/truth")
        assert truth["accounts"]["main"]["placed_twice"] == []
        assert len(truth["accounts"]["main"]["open_orders"]) == len(exchange.accounts["main"].orders)


async def one_trader(client: Client, number: int) -> None:
    """Places and cancels for a while over whatever connection it can get; loses some of it."""
    for turn in range(4):
        try:
            async with connected(client) as line:
                await line.send("userDataStream.subscribe.signature")
                for step in range(15):
                    await line.send("order.place", **order(f"t{number}-{turn}-{step}"))
                    await asyncio.sleep(0.01)
                await line.send("openOrders.cancelAll", symbol=SYMBOL)
                await asyncio.sleep(0.1)
        except (aiohttp.ClientError, ConnectionError):
            continue
