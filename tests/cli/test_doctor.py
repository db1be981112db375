"""``mmctl doctor``: one line for each thing that is right or wrong, and no fault hides another."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from mmctl.cli import examine
from mmctl.cli.examine import DEADLINE_S
from mmctl.cli.examine_venue import ASK_TIMEOUT_S
from mmctl.core.order import Layer
from mmctl.engine.halt import FileHaltLatch
from mmctl.ports import HaltScope
from mmctl.sandbox.control import Control
from mmctl.sandbox.options import STANDARD_ACCOUNTS, AccountSpec, SandboxOptions, account
from mmctl.sandbox.server import Sandbox
from mmctl.venues import binance_probe

from .harness import PATIENCE_S, Caller, Done, RedisServer, book_at, free_port, put, waited_until

_T = TypeVar("_T")
_MAIN, _SECOND, _READ_ONLY, _WITHDRAW = STANDARD_ACCOUNTS
_POOR = replace(account("poor", 1005), balances={"USDT": Decimal(5000), "BTC": Decimal("0.00001")})

PROFILE = """
feed = "binance"
[accounts.main]
venue = "binance"
rest_url = "{rest}"
ws_url = "{ws}"
stream_url = "{stream}"
exclusive = true
[redis]
timeout_ms = 5000
[defaults]
follow_exchange = "binance_spot"
{limits}
[defaults.near]
buy_margin_bps = 5
sell_margin_bps = 5
max_amount = {max_amount}
min_amount = {min_amount}
[defaults.far]
buy_margin_bps = 20
sell_margin_bps = 20
max_amount = 1000
[pairs.BTC-USDT]
{pair}
"""
LIMITS = "max_position = 1\nmax_fills_per_min = 30\nmax_basis_bps = 50"


class Exchange:
    """A sandbox in a thread of its own, so that the command can run in this one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        accounts = (*STANDARD_ACCOUNTS, _POOR)
        self.sandbox = self.wait(Sandbox(SandboxOptions(seed=7, accounts=accounts)).__aenter__())

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do that in the sandbox's own thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def do(self, act: Callable[[Sandbox], _T]) -> _T:
        """Act on the sandbox in its own thread."""
        done: Future[_T] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(act(self.sandbox)))
        return done.result(PATIENCE_S)

    def fault(self, **settings: float) -> None:
        self.do(lambda sandbox: sandbox.faults.set(settings))

    def close(self) -> None:
        self.wait(self.sandbox.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()


@pytest.fixture(scope="module")
def shared_exchange() -> Iterator[Exchange]:
    exchange = Exchange()
    yield exchange
    exchange.close()


@pytest.fixture
def exchange(shared_exchange: Exchange) -> Iterator[Exchange]:
    yield shared_exchange
    shared_exchange.do(lambda sandbox: sandbox.faults.clear())


class Clinic:
    """Writes a profile for the exchange and has it examined."""

    def __init__(self, call: Caller, folder: Path, exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
        self._call, self._folder, self._env = call, folder, monkeypatch
        sandbox = exchange.sandbox
        self.fields = {"rest": sandbox.rest_url, "ws": sandbox.ws_url, "stream": sandbox.stream_url, "limits": LIMITS}
        self.fields |= {"max_amount": "500", "min_amount": "10", "pair": "price_decimals = 2\nqty_decimals = 5"}
        monkeypatch.setattr(examine, "DEADLINE_S", 20.0)  # of a busy machine nothing is to be said
        monkeypatch.setattr("mmctl.cli.examine_venue.ASK_TIMEOUT_S", 20.0)

    def keys(self, one: AccountSpec, secret: str = "") -> None:
        self._env.setenv("MMCTL_BINANCE_API_KEY", one.key)
        self._env.setenv("MMCTL_BINANCE_API_SECRET", secret or one.secret)

    def __call__(self, *arguments: str, **fields: str) -> Seen:
        path = self._folder / "clinic.toml"
        path.write_text(PROFILE.format(**(self.fields | fields)))
        start_s = time.monotonic()
        done = self._call("doctor", "--profile", str(path), "--output", "json", *arguments)
        assert time.monotonic() - start_s < 15, "it waited for its deadline"
        for one in (_MAIN, _SECOND, _READ_ONLY, _WITHDRAW, _POOR):
            assert one.key not in done.out + done.err
            assert one.secret not in done.out + done.err
        return Seen(done)


class Seen:
    """The lines of one run, and how it ended."""

    def __init__(self, done: Done) -> None:
        assert done.err == ""
        assert all(one["v"] == 1 for one in done.events)
        assert all(one["hint"] for one in done.events if one.get("status") == "fail"), "a failure without its mend"
        *self.checks, last = done.events
        self.code = done.code
        assert {one["event"] for one in self.checks} == {"check"}
        counts = {word: [one["status"] for one in self.checks].count(word) for word in ("fail", "warn")}
        wanted = {"v": 1, "event": "doctor", "ok": not counts["fail"]}
        assert last == wanted | {"failed": counts["fail"], "warned": counts["warn"]}

    def names(self, status: str) -> set[str]:
        return {one["name"] for one in self.checks if one["status"] == status}

    def of(self, name: str, status: str) -> str:
        """Detail and hint of the one line of that name and status."""
        (found,) = [one for one in self.checks if one["name"] == name and one["status"] == status]
        return f"{found['detail']} ({found['hint']})"


@pytest.fixture
def as_it_is(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> float:
    """When a test began that has the deadlines which an operator has."""
    monkeypatch.setattr(examine, "DEADLINE_S", DEADLINE_S)
    monkeypatch.setattr("mmctl.cli.examine_venue.ASK_TIMEOUT_S", ASK_TIMEOUT_S)
    return time.monotonic()


@pytest.fixture
def clinic(call: Caller, tmp_path: Path, exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    return Clinic(call, tmp_path, exchange, monkeypatch)


# All is well


def test_nothing_is_wrong(clinic: Clinic) -> None:
    seen = clinic()
    assert (seen.code, seen.names("fail"), seen.names("warn"), seen.names("skip")) == (0, set(), set(), set())
    assert "SANDBOX" in seen.checks[0]["detail"]
    assert seen.checks[0]["name"] == "mode"
    assert "account 1001 may trade and may not withdraw" in seen.of("key", "ok")
    names = "profile environment state halts feed book venue clock socket key orders symbol filters order_cap limits"
    assert {*names.split(), "test_order", "balance", "mode"} == seen.names("ok")


def test_the_same_as_text(call: Caller, clinic: Clinic, tmp_path: Path) -> None:
    clinic()
    done = call("doctor", "--profile", str(tmp_path / "clinic.toml"))
    lines = done.out.splitlines()
    assert (done.code, lines[-1]) == (0, "All is well.")
    assert lines[0].startswith("ok    mode main: SANDBOX: play money, binance at 127.0.0.1:")
    assert all(line.startswith("ok    ") for line in lines[:-1])


def test_nothing_is_placed_or_written(clinic: Clinic, exchange: Exchange, state_dir: Path) -> None:
    before = exchange.do(lambda sandbox: sandbox.exchange.accounts["main"].placements.copy())
    clinic()
    assert exchange.do(lambda sandbox: sandbox.exchange.accounts["main"].placements) == before
    assert not state_dir.exists()


def test_a_mock_says_that_it_is_one(call: Caller, quick: str) -> None:
    seen = Seen(call("doctor", "--profile", quick, "--output", "json"))
    assert seen.code == 0
    assert "MOCK" in seen.of("mode", "ok")
    assert "a mock" in seen.of("venue", "ok")
    assert {"key", "balance"} == seen.names("skip")


# The key


def test_a_wrong_key_hides_nothing_that_needs_none(clinic: Clinic) -> None:
    clinic.keys(replace(_MAIN, key="k" * 64))
    seen = clinic()
    assert (seen.code, seen.names("fail")) == (4, {"key"})
    assert "-2015" in seen.of("key", "fail")
    assert {"orders", "test_order", "balance"} == seen.names("skip")
    assert {"symbol", "filters", "clock"} <= seen.names("ok")


def test_a_wrong_secret(clinic: Clinic) -> None:
    clinic.keys(_MAIN, "s" * 64)
    seen = clinic()
    assert (seen.code, seen.names("fail")) == (4, {"key"})
    assert "check the API secret" in seen.of("key", "fail")


def test_half_a_key(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMCTL_BINANCE_API_KEY", _MAIN.key)
    seen = clinic()
    assert (seen.code, seen.names("fail")) == (2, {"key"})
    assert "MMCTL_BINANCE_API_SECRET is not" in seen.of("key", "fail")
    assert "filters" in seen.names("ok")


def test_a_key_with_a_line_end(clinic: Clinic) -> None:
    clinic.keys(replace(_MAIN, key=_MAIN.key + "\r"))
    seen = clinic()
    assert (seen.code, seen.names("fail")) == (2, {"key"})
    assert "a control character" in seen.of("key", "fail")


def test_a_key_that_may_not_trade(clinic: Clinic) -> None:
    clinic.keys(_READ_ONLY)
    seen = clinic()
    assert (seen.code, seen.names("fail"), seen.names("skip")) == (4, {"key"}, {"test_order"})
    assert "may not trade" in seen.of("key", "fail")


def test_a_key_that_may_withdraw(clinic: Clinic) -> None:
    clinic.keys(_WITHDRAW)
    seen = clinic()
    assert (seen.code, seen.names("warn")) == (0, {"key"})
    assert "mmctl never withdraws" in seen.of("key", "warn")


def test_a_venue_that_does_not_tell_what_a_key_may_do(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Binance's test network: then the order that is not placed shows it."""
    monkeypatch.setattr(binance_probe, "RIGHTS", replace(binance_probe.RIGHTS, path="/sapi/v1/none"))
    clinic.keys(_READ_ONLY)
    seen = clinic()
    assert "does not tell" in seen.of("key", "ok")
    assert "permissions" in seen.of("test_order", "fail")
    assert seen.code == 4


# The venue


@pytest.mark.parametrize(("offset_ms", "status", "code"), [(60_000, "fail", 4), (-60_000, "fail", 4), (900, "warn", 0)])
def test_a_clock_that_is_off(clinic: Clinic, exchange: Exchange, offset_ms: int, status: str, code: int) -> None:
    exchange.fault(clock_offset_ms=offset_ms)
    waited_until(lambda: exchange.do(lambda sandbox: sandbox.exchange.clock_offset_ms) == offset_ms)
    seen = clinic()
    side = "behind" if offset_ms > 0 else "ahead of"
    assert f"{side} the venue's" in seen.of("clock", status)
    assert "NTP" in seen.of("clock", status)
    # The key is right, and nothing else is blamed.
    assert (seen.code, seen.names("fail") | seen.names("warn")) == (code, {"clock"})


def test_an_address_that_nobody_answers(clinic: Clinic) -> None:
    port = free_port()
    seen = clinic(rest=f"http://127.0.0.1:{port}", ws=f"ws://127.0.0.1:{port}/ws-api/v3")
    assert (seen.code, {"venue", "socket"} <= seen.names("fail")) == (4, True)
    assert f"127.0.0.1:{port} cannot be reached" in seen.of("venue", "fail")
    assert {"clock", "key", "orders", "symbol", "filters", "balance"} <= seen.names("skip")
    assert "limits" in seen.names("ok")
    assert "127.0.0.1" not in seen.of("key", "skip")


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


def test_servers_that_hang_cost_their_deadline_once(clinic: Clinic, as_it_is: float) -> None:
    with silent() as port:
        at = f"127.0.0.1:{port}"
        arguments = ("--feed", "redis", "--redis-url", f"redis://{at}/0")
        seen = clinic(*arguments, rest=f"http://{at}", ws=f"ws://{at}/ws-api/v3", stream=f"ws://{at}")
    assert (seen.code, seen.names("fail")) == (4, {"feed", "venue", "socket"})
    assert "did not answer" in seen.of("venue", "fail")
    assert time.monotonic() - as_it_is < 6, "three seconds, and a machine that is busy"


def test_a_silent_name_server(clinic: Clinic, as_it_is: float, monkeypatch: pytest.MonkeyPatch) -> None:
    over, resolve = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "exchange.invalid":
            over.wait(20)
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    at = "exchange.invalid"
    seen = clinic(rest=f"https://{at}", ws=f"wss://{at}/ws-api/v3", stream=f"wss://{at}")
    over.set()
    assert time.monotonic() - as_it_is < 6, "three seconds, and a machine that is busy"
    assert "LIVE" in seen.checks[0]["detail"]
    assert {"feed", "venue", "socket"} <= seen.names("fail")


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>a page</html>")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_a_server_that_is_not_binance(clinic: Clinic) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever).start()
    try:
        seen = clinic(rest=f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()
    assert "of an unknown shape" in seen.of("venue", "fail")
    assert seen.code == 4


def test_an_address_that_keys_may_not_go_to(clinic: Clinic) -> None:
    seen = clinic(rest="http://example.org")
    assert "is not encrypted" in seen.of("mode", "fail")
    assert (seen.code, {"mode", "venue"} <= seen.names("fail")) == (2, True)


def test_a_venue_without_an_adapter(clinic: Clinic, tmp_path: Path, call: Caller) -> None:
    clinic()
    path = tmp_path / "okx.toml"
    path.write_text((tmp_path / "clinic.toml").read_text().replace('venue = "binance"', 'venue = "okx_spot"'))
    seen = Seen(call("doctor", "--profile", str(path), "--feed", "mock", "--output", "json"))
    assert "no adapter" in seen.of("venue", "fail")
    assert seen.code == 2


# Symbols, filters and what the account holds


def test_a_symbol_that_is_not_listed(clinic: Clinic) -> None:
    other = '[pairs.NOT-THERE]\nfollow_symbol = "BTCUSDT"\n'
    seen = clinic(pair=f"price_decimals = 2\nqty_decimals = 5\n{other}")
    assert (seen.code, seen.names("fail")) == (4, {"symbol"})
    assert "NOTTHERE is not listed" in seen.of("symbol", "fail")
    (about,) = [one for one in seen.checks if one["status"] == "fail"]
    assert about["pair"] == "NOT-THERE"
    assert "BTCUSDT is trading" in seen.of("symbol", "ok")


def test_a_symbol_that_does_not_trade(clinic: Clinic, exchange: Exchange) -> None:
    def status(sandbox: Sandbox, word: str) -> None:
        sandbox.exchange.markets["BTCUSDT"].rules.status = word

    exchange.do(lambda sandbox: status(sandbox, "BREAK"))
    try:
        seen = clinic()
    finally:
        exchange.do(lambda sandbox: status(sandbox, "TRADING"))
    assert "its status is BREAK" in seen.of("symbol", "fail")
    assert seen.code == 4


@pytest.mark.parametrize(
    ("fields", "name", "status", "words"),
    [
        ({"pair": "price_decimals = 4"}, "filters", "warn", "price_decimals 4 is finer than the venue's tick 0.01"),
        ({"pair": "qty_decimals = 8"}, "filters", "warn", "qty_decimals 8 is finer than the venue's lot 0.00001"),
        ({"min_amount": "2"}, "filters", "warn", "near.min_amount 2 is under the venue's minimum 5"),
        ({"max_amount": "4", "min_amount": "0"}, "filters", "fail", "near.max_amount 4 leaves no order"),
        ({"pair": "max_open_orders = 30"}, "order_cap", "warn", "the ladders have 20 orders, max_open_orders is 30"),
        ({"pair": "max_open_orders = 19"}, "order_cap", "fail", "quote fewer levels"),
        ({"limits": ""}, "limits", "fail", "set max_position, max_fills_per_min and max_basis_bps"),
        ({"limits": LIMITS.replace("= 1\n", "= 0.01\n")}, "limits", "warn", "the outer levels will be missing"),
    ],
)
def test_what_does_not_fit(clinic: Clinic, fields: dict[str, str], name: str, status: str, words: str) -> None:
    seen = clinic(**fields)
    assert words in seen.of(name, status)
    assert (seen.code, seen.names("fail")) == ((2, {name}) if status == "fail" else (0, set()))


def test_too_little_of_everything(clinic: Clinic) -> None:
    """Some of the ladder's bids can be placed; not one ask can."""
    clinic.keys(_POOR)
    seen = clinic()
    assert "5000 USDT, full ladders need 7500" in seen.of("balance", "warn")
    assert "fund the account with BTC" in seen.of("balance", "fail")
    assert seen.code == 4


def test_foreign_orders_on_an_exclusive_account(clinic: Clinic, exchange: Exchange) -> None:
    market: dict[str, str] = {"account": "second", "symbol": "BTCUSDT", "newClientOrderId": "web_1", "side": "BUY"}
    market |= {"price": "50000", "quantity": "0.01", "type": "LIMIT", "timeInForce": "GTC"}
    exchange.wait(Control(exchange.sandbox).place(dict(market)))
    clinic.keys(_SECOND)
    seen = clinic()
    assert "1 foreign orders are open (BTCUSDT)" in seen.of("orders", "warn")
    assert any("999500 USDT" in one["detail"] for one in seen.checks if one["name"] == "balance")


# The feed


def test_a_redis_that_refuses(clinic: Clinic) -> None:
    seen = clinic("--feed", "redis", "--redis-url", f"redis://:hidden@127.0.0.1:{free_port()}/0")
    assert (seen.code, seen.names("fail"), seen.names("skip")) == (3, {"feed"}, {"book"})
    assert "cannot be reached" in seen.of("feed", "fail")
    assert "hidden" not in str(seen.checks)


@pytest.mark.parametrize(("arguments", "name"), [((), "feed"), (("--redis-url", "nonsense"), "redis")])
def test_no_address_of_redis(clinic: Clinic, arguments: tuple[str, ...], name: str) -> None:
    seen = clinic("--feed", "redis", *arguments)
    assert name in seen.names("fail")
    assert (seen.code, "key" in seen.names("ok")) == (2, True)


@pytest.mark.parametrize(
    ("ago_s", "words"), [(20.0, "s old, the quote timeout is 5 s"), (-30.0, "ahead of this clock")]
)
def test_a_stale_book(clinic: Clinic, server: RedisServer, books: redis.Redis, ago_s: float, words: str) -> None:
    put(books, book_at(61800), ago_s=ago_s)
    seen = clinic("--feed", "redis", "--redis-url", server.url)
    assert (seen.code, seen.names("fail")) == (3, {"book"})
    assert words in seen.of("book", "fail")
    assert "answers" in seen.of("feed", "ok")


def test_no_book_at_all(clinic: Clinic, server: RedisServer) -> None:
    seen = clinic("--feed", "redis", "--redis-url", server.url)
    assert (seen.code, seen.names("fail"), seen.names("skip")) == (3, {"book"}, {"writer_clock"})


@pytest.mark.parametrize(("ago_s", "status"), [(0.0, "ok"), (-0.8, "warn"), (1.5, "warn")])
def test_the_clock_of_who_writes_the_books(
    clinic: Clinic, server: RedisServer, books: redis.Redis, ago_s: float, status: str
) -> None:
    over = threading.Event()

    def write() -> None:
        client = redis.Redis(port=server.port)
        while not over.wait(0.1):
            put(client, book_at(61800), ago_s=ago_s)
        client.close()

    writer = threading.Thread(target=write)
    writer.start()
    waited_until(lambda: books.dbsize() > 2)
    try:
        seen = clinic("--feed", "redis", "--redis-url", server.url)
    finally:
        over.set()
        writer.join()
    said = seen.of("writer_clock", status)
    assert seen.code == 0
    assert ago_s == 0 or ("ahead" if ago_s < 0 else "behind") in said


# This machine


def test_a_profile_that_does_not_load_hides_nothing_else(
    call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMCTL_REDIS_ULR", "redis://127.0.0.1/0")
    path = tmp_path / "broken.toml"
    path.write_text('feed = "mokc"\n')
    seen = Seen(call("doctor", "--profile", str(path), "--output", "json"))
    assert (seen.code, seen.names("fail"), seen.names("skip")) == (2, {"profile"}, {"feed", "venue"})
    assert "MMCTL_REDIS_ULR is not read" in seen.of("environment", "warn")


def test_the_warnings_of_a_profile(clinic: Clinic) -> None:
    seen = clinic(max_amount="500\ndiff_per_round_bps = 7")
    assert (seen.code, seen.names("warn")) == (0, {"profile"})
    assert "diff_per_round_bps" in seen.of("profile", "warn")


def test_a_fault_of_our_own_hides_nothing(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    async def feed_checks(*_: object) -> list[Any]:
        raise ZeroDivisionError("with something secret")

    monkeypatch.setattr(examine, "feed_checks", feed_checks)
    seen = clinic()
    assert (seen.code, seen.names("fail")) == (70, {"feed"})
    assert "ZeroDivisionError (run again" in seen.of("feed", "fail")
    assert {"key", "filters"} <= seen.names("ok")


def test_a_pair_that_is_not_there(clinic: Clinic) -> None:
    seen = clinic("--pair", "DOGE-EUR")
    assert (seen.code, seen.names("fail")) == (2, {"pairs"})


def test_halts_in_force_are_shown(clinic: Clinic, state_dir: Path) -> None:
    state_dir.mkdir()
    latch = FileHaltLatch(state_dir)
    latch.set(HaltScope("binance", "main", "BTCUSDT", Layer.NEAR), by="me", at_ms=1_700_000_000_000, why="a test")
    latch.set(HaltScope("binance", "other"), by="me", at_ms=1_700_000_000_000, why="not ours")
    seen = clinic()
    assert (seen.code, seen.names("warn")) == (0, {"halts"})
    assert "near of BTCUSDT" in seen.of("halts", "warn")


def test_a_state_folder_that_is_none(clinic: Clinic, state_dir: Path) -> None:
    state_dir.write_text("a file")
    seen = clinic()
    assert {"state"} <= seen.names("fail")
    assert "is not a folder" in seen.of("state", "fail")
