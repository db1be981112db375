"""The stop verbs on a live venue: ``mmctl sandbox`` in another process, with whatever goes wrong on the way to it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from mmctl.core.order import Layer, Side, encode_own_id
from mmctl.venues.binance_clock import BinanceTimes
from mmctl.wire import binance as wire
from mmctl.wire.binance_sign import Signer

from .harness import (
    MMCTL,
    PATIENCE_S,
    ROOT,
    Caller,
    Done,
    environment,
    finished,
    free_port,
    mmctl,
    waited_until,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
QUIET_TIMES = BinanceTimes(recv_window_ms=1000, settle_s=0.2, request_timeout_s=10.0)
"""A landing time that a test can wait for. One test below keeps to the real one."""


@dataclass
class Exchange:
    """A sandbox in a process of its own."""

    rest_url: str
    ws_url: str
    stream_url: str
    control_url: str
    key: str
    secret: str

    @property
    def addresses(self) -> dict[str, str]:
        return {
            "MMCTL_BINANCE_REST_URL": self.rest_url,
            "MMCTL_BINANCE_WS_URL": self.ws_url,
            "MMCTL_BINANCE_STREAM_URL": self.stream_url,
        }

    def control(self, path: str, **asked: object) -> Any:
        body = json.dumps(asked).encode() if asked else None
        with urlopen(Request(self.control_url + path, data=body), timeout=PATIENCE_S) as reply:
            return json.load(reply)

    def place(self, client_id: str, symbol: str = "BTCUSDT", price: str = "50000.00", side: str = "BUY") -> str:
        """An order of the account, whoever it is from."""
        asked = {"symbol": symbol, "side": side, "price": price, "quantity": "0.01", "newClientOrderId": client_id}
        self.control("/orders", **asked)
        return client_id

    def ladder(self, layer: Layer, count: int, symbol: str = "BTCUSDT", epoch: int = 7) -> set[str]:
        first = 1 + 100_000 * SYMBOLS.index(symbol) + 10_000 * (layer is Layer.FAR)
        price = {"BTCUSDT": 50_000, "ETHUSDT": 2000}[symbol] - 100 * (layer is Layer.FAR)
        ids = [encode_own_id(layer, Side.BUY, epoch, first + number) for number in range(count)]
        return {self.place(one, symbol, f"{price - number / 100:.2f}") for number, one in enumerate(ids)}

    def open_ids(self) -> set[str]:
        return {one["clientOrderId"] for one in self.control("/truth")["accounts"]["main"]["open_orders"]}

    @property
    def asked(self) -> int:
        """How many requests it has answered."""
        return int(self.control("/state")["asked"])

    def reset(self) -> None:
        faults = self.control("/faults")
        self.control("/faults", clear=True)
        if faults["too_many"] or faults["ban"]:  # nobody here is to be the one who asks too soon
            time.sleep(faults["retry_after_s"])
        for symbol in SYMBOLS:
            query = Signer(self.key, self.secret).query(wire.stamped({"symbol": symbol}, time.time_ns() // 1_000_000))
            url = f"{self.rest_url}{wire.CANCEL_ALL.path}?{query}"
            try:
                urlopen(Request(url, method="DELETE", headers={"X-MBX-APIKEY": self.key}), timeout=PATIENCE_S).close()
            except HTTPError as error:  # there was nothing to cancel
                error.close()


@pytest.fixture(scope="module")
def shared_exchange() -> Iterator[Exchange]:
    command = [*MMCTL, "sandbox", "--port", "0", "--seed", "7", "--limits", "off", "--output", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        names = ("rest_url", "ws_url", "stream_url", "control_url", "api_key", "api_secret")
        yield Exchange(*(said[name] for name in names))
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def exchange(shared_exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> Exchange:
    """An exchange with nothing on it, which this process finds by its environment."""
    shared_exchange.reset()
    for name, value in shared_exchange.addresses.items():
        monkeypatch.setenv(name, value)
    return shared_exchange


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for strangers for long."""
    monkeypatch.setattr("mmctl.venues.binance_stop.TIMES", QUIET_TIMES)
    monkeypatch.setattr("mmctl.cli.stop_targets.STRANGER_INTERVAL_S", 0.1)


def profile(folder: Path, exclusive: bool = False, more: str = "") -> str:
    """A profile with an account on the exchange that the environment names."""
    path = folder / "live.toml"
    path.write_text(
        f"""
feed = "mock"
[accounts.main]
venue = "binance"
exclusive = {str(exclusive).lower()}
[defaults.near]
interval_s = 0.2
[defaults.far]
interval_s = 0.3
[pairs.BTC-USDT]
[pairs.ETH-USDT]
{more}
"""
    )
    return str(path)


def stopped(done: Done) -> dict[str, Any]:
    assert [one["event"] for one in done.events] == ["stopped"], done
    return done.events[0]


# An engine in one process, the stop in another


@contextmanager
def engine(folder: Path, env: dict[str, str]) -> Iterator[Callable[[Callable[[dict[str, Any]], bool]], None]]:
    """``mmctl run`` on the sandbox's profile; gives what waits until the engine tells something new."""
    out = folder / "engine.jsonl"
    command = [*MMCTL, "run", "--profile", str(ROOT / "profiles" / "sandbox.toml"), "--pair", "BTC-USDT"]
    told = 0

    def wait_for(wanted: Callable[[dict[str, Any]], bool]) -> None:
        nonlocal told
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            whole = out.read_text().rpartition("\n")[0].splitlines()
            for number in range(told, len(whole)):
                if wanted(json.loads(whole[number])):
                    told = number + 1
                    return
            told = len(whole)
            assert process.poll() is None, out.read_text()[-2000:]
            time.sleep(0.05)
        raise AssertionError(f"not told: {out.read_text()[-2000:]}")

    with (
        out.open("w") as stream,
        subprocess.Popen([*command, "--output", "json"], stdout=stream, stderr=subprocess.DEVNULL, env=env) as process,
    ):
        try:
            yield wait_for
            process.terminate()
            assert process.wait(timeout=PATIENCE_S) == 0, out.read_text()[-2000:]
        finally:
            process.kill()


def is_quoted(layer: str) -> Callable[[dict[str, Any]], bool]:
    return lambda one: one["event"] == "round" and one["layer"] == layer and one["outcome"]["placed"] > 0


@pytest.mark.long
def test_a_stop_in_another_process_and_a_resume(exchange: Exchange, tmp_path: Path) -> None:
    env = environment()
    of_profile = ("--profile", str(ROOT / "profiles" / "sandbox.toml"), "--output", "json")
    with engine(tmp_path, env) as wait_for:
        wait_for(is_quoted("near"))
        while not any(one.startswith("F0") for one in exchange.open_ids()):
            wait_for(is_quoted("far"))
        done = mmctl("cancel-near", *of_profile, env=env)
        one = stopped(done)
        assert (done.code, one["halt"], one["remaining"], one["proof"]) == (0, "set", [], "acknowledged"), done
        # None, where the engine has seen the halt and was first.
        assert all(each.startswith("N0") for each in one["cancelled"])
        assert one["far_left"] > 0
        assert one["first_empty_ms"] < 10_000, "long before the deadline"
        assert {each[:2] for each in exchange.open_ids()} == {"F0"}
        wait_for(lambda one: one["event"] == "skip" and (one["layer"], one["reason"]) == ("near", "halted"))
        assert mmctl("resume", *of_profile, env=env).code == 0
        wait_for(is_quoted("near"))
        done = mmctl("cancel-all", *of_profile, env=env)
        assert (done.code, stopped(done)["remaining"]) == (0, []), done
        assert exchange.open_ids() == set()


# Where to stop, and with which keys


def test_near_goes_and_the_rest_stays(exchange: Exchange, quick: None, call: Caller, tmp_path: Path) -> None:
    near = exchange.ladder(Layer.NEAR, 5)
    far = exchange.ladder(Layer.FAR, 3)
    exchange.place("web_1")
    done = call("cancel-near", "--profile", profile(tmp_path), "--output", "json")
    one = stopped(done)
    assert (done.code, one["halt"], one["remaining"], one["foreign"], one["far_left"]) == (0, "set", [], 1, 3), done
    assert set(one["cancelled"]) == near
    assert one["position"]["BTC-USDT"].startswith("20.")
    assert exchange.open_ids() == far | {"web_1"}


def test_a_profile_that_is_broken_elsewhere_stops_all_the_same(
    exchange: Exchange, quick: None, call: Caller, tmp_path: Path
) -> None:
    broken = profile(tmp_path, more='collar_bps = "wide"\nnonsense = 1\n[mock]\nseed = -3\n')
    assert call("diff", "--profile", broken).code == 2
    exchange.ladder(Layer.NEAR, 2, "ETHUSDT")
    exchange.ladder(Layer.FAR, 2)
    done = call("cancel-all", "--profile", broken, "--pair", "eth/usdt", "--output", "json")
    assert (done.code, stopped(done)["pairs"], len(stopped(done)["cancelled"])) == (0, ["ETH-USDT"], 2), done
    done = call("cancel-all", "--profile", broken, "--output", "json")
    assert (done.code, len(stopped(done)["cancelled"])) == (0, 2), done
    assert exchange.open_ids() == set()
    assert call("resume", "--profile", broken).out.count("lifted halt") == 2


def test_the_originals_file_stops_with_its_own_keys(
    exchange: Exchange, quick: None, call: Caller, tmp_path: Path
) -> None:
    entry = {"Maker Exchange": "binance_spot", "Maker Symbol": "BTCUSDT", "Near Interval": "0.2", "Far Interval": "?"}
    path = tmp_path / "original.json"
    path.write_text(json.dumps([entry | {"API KEY": exchange.key, "Secret": exchange.secret}, {"Maker Exchange": 3}]))
    exchange.ladder(Layer.NEAR, 2)
    done = call("cancel-all", "--profile", str(path), "--pair", "BTCUSDT", "--deadline", "3s", "--output", "json")
    assert len(stopped(done)["cancelled"]) == 2, done
    assert "entry 2: its venue or symbol cannot be read" in done.err
    assert exchange.key not in done.out + done.err


def test_a_file_that_is_no_profile_names_the_other_way(call: Caller, tmp_path: Path) -> None:
    for name, text in (
        ("bad.toml", "[accounts.main\n"),
        ("bad.json", "{"),
        ("empty.toml", "[accounts.a]\nvenue = 3\n"),
    ):
        path = tmp_path / name
        path.write_text(text)
        for verb in ("cancel-all", "resume"):
            done = call(verb, "--profile", str(path))
            assert done.code == 2
            assert "--venue NAME --account NAME --all-symbols" in done.err
            assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("scope", [("--all-symbols",), ("--pair", "btc-usdt", "--pair", "ETHUSDT")])
@pytest.mark.parametrize("prefix", ["MMCTL_BINANCE_", "MMCTL_BINANCE_DESK_2_"])
def test_without_a_profile_keys_are_enough(
    exchange: Exchange,
    quick: None,
    call: Caller,
    monkeypatch: pytest.MonkeyPatch,
    scope: tuple[str, ...],
    prefix: str,
) -> None:
    monkeypatch.setenv(f"{prefix}API_KEY", exchange.key)
    monkeypatch.setenv(f"{prefix}API_SECRET", exchange.secret)
    monkeypatch.setenv("MMCTL_PROFILE", "/no/such.toml")
    exchange.ladder(Layer.NEAR, 2)
    exchange.ladder(Layer.FAR, 2, "ETHUSDT")
    where = ("--venue", "binance", "--account", "desk-2", *scope, "--output", "json")
    done = call("cancel-all", *where)
    assert (done.code, len(stopped(done)["cancelled"]), stopped(done)["account"]) == (0, 4, "desk-2"), done
    assert exchange.open_ids() == set()
    lifted = call("resume", *where)
    assert (lifted.code, len(lifted.events[0]["lifted"])) == (0, 1 if scope == ("--all-symbols",) else 2)


def test_the_account_that_is_named_has_the_key_that_is_named(
    exchange: Exchange, call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMCTL_BINANCE_API_KEY", exchange.key)
    monkeypatch.setenv("MMCTL_BINANCE_DESK_API_KEY", "keyOfTheEnvironment")
    done = call("cancel-all", "--venue", "binance", "--account", "desk", "--all-symbols")
    assert (done.code, done.out) == (2, "")
    assert "MMCTL_BINANCE_DESK_API_SECRET is not" in done.err


# What a venue may do to a stop


def test_a_wrong_key_is_told_at_once(exchange: Exchange, call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMCTL_BINANCE_API_KEY", "keyOfTheEnvironment")
    monkeypatch.setenv("MMCTL_BINANCE_API_SECRET", "secretOfTheFile")
    began_s = time.monotonic()
    done = call("cancel-all", "--venue", "binance", "--all-symbols", "--output", "json")
    one = stopped(done)
    assert (done.code, one["remaining"], one["foreign"], one["halt"]) == (4, None, None, "set"), done
    assert "check the API key" in one["unread"]
    assert "\n" not in one["unread"]
    assert time.monotonic() - began_s < 30, "long before the deadline"


def test_a_key_that_may_not_trade_is_told(exchange: Exchange, call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    name = encode_own_id(Layer.NEAR, Side.BUY, 7, 1)
    asked = {"symbol": "BTCUSDT", "side": "BUY", "price": "50000.00", "quantity": "0.01", "newClientOrderId": name}
    try:
        exchange.control("/orders", account="readonly", **asked)
    except HTTPError as error:
        error.close()
        pytest.skip("the sandbox places nothing for an account that may not trade")
    monkeypatch.setenv("MMCTL_BINANCE_API_KEY", "mmctlSandboxreadonlyKeyThatIsNoSecret".ljust(64, "0"))
    monkeypatch.setenv("MMCTL_BINANCE_API_SECRET", "mmctlSandboxreadonlySecretThatIsNoSecret".ljust(64, "0"))
    done = call("cancel-all", "--venue", "binance", "--all-symbols", "--deadline", "3s", "--output", "json")
    assert (done.code, len(stopped(done)["remaining"])) == (1, 1), done
    assert "the venue last refused a cancel" in done.err


def test_a_venue_that_cannot_be_reached(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"127.0.0.1:{free_port()}"
    for name, url in (("REST", f"http://{place}"), ("WS", f"ws://{place}/ws-api/v3"), ("STREAM", f"ws://{place}")):
        monkeypatch.setenv(f"MMCTL_BINANCE_{name}_URL", url)
    done = call("cancel-all", "--venue", "binance", "--all-symbols", "--deadline", "1s", "--output", "json")
    one = stopped(done)
    assert (done.code, one["remaining"], one["foreign"], one["proof"]) == (4, None, None, "not_proven"), done
    assert f"{place} cannot be reached" in one["unread"]


def test_a_venue_that_takes_connections_and_says_nothing(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmctl.venues.binance_stop.TIMES", replace(QUIET_TIMES, request_timeout_s=PATIENCE_S))
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MMCTL_BINANCE_REST_URL", f"http://{place}")
        began_s = time.monotonic()
        done = call("cancel-all", "--venue", "binance", "--all-symbols", "--deadline", "0.5s", "--output", "json")
    assert (done.code, stopped(done)["remaining"]) == (4, None), done
    assert time.monotonic() - began_s < PATIENCE_S / 2, "nor is an answer waited for"


def test_plain_http_is_for_this_machine_only(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMCTL_BINANCE_API_KEY", "keyOfTheEnvironment")
    monkeypatch.setenv("MMCTL_BINANCE_API_SECRET", "secretOfTheFile")
    monkeypatch.setenv("MMCTL_BINANCE_REST_URL", "http://api.example.org")
    done = call("cancel-all", "--venue", "binance", "--all-symbols")
    assert (done.code, done.out) == (2, "")
    assert "is not encrypted" in done.err
    monkeypatch.setenv("MMCTL_BINANCE_REST_URL", "")
    monkeypatch.setenv("MMCTL_BINANCE_WS_URL", "ws://127.0.0.1:1/ws-api/v3")
    done = call("cancel-all", "--venue", "binance", "--all-symbols")
    assert (done.code, "MMCTL_BINANCE_REST_URL is not set" in done.err) == (2, True), "never the live one by accident"


@pytest.mark.parametrize(
    "faults",
    [
        {"too_many": 0.2, "retry_after_s": 2},
        {"drop": 0.3},
        {"reply_lost": 0.1, "request_lost": 0.1},
        {"server_error": 0.3},
        {"listing_lag_ms": 700},
        {"clock_offset_ms": 60_000},
        {"clock_offset_ms": -60_000},
    ],
    ids=lambda faults: "+".join(faults),
)
def test_it_is_proven_whatever_goes_wrong_on_the_way(
    exchange: Exchange, quick: None, call: Caller, tmp_path: Path, faults: dict[str, float]
) -> None:
    exchange.ladder(Layer.NEAR, 6)
    exchange.ladder(Layer.FAR, 6, "ETHUSDT")
    time.sleep(faults.get("listing_lag_ms", 0) / 1000)
    exchange.control("/faults", **faults)
    done = call("cancel-all", "--profile", profile(tmp_path), "--deadline", "60s", "--output", "json")
    one = stopped(done)
    assert (done.code, one["remaining"], one["proof"]) == (0, [], "waited"), done
    assert exchange.open_ids() == set()
    state = exchange.control("/state")
    assert state["disobeyed_late_ms"] < 1500, "nothing leaves before Retry-After has passed, once it was heard"


# Foreign orders, and bulk cancels


@pytest.mark.parametrize("verb", ["cancel-near", "cancel-all"])
def test_foreign_orders_go_only_where_that_is_said(
    exchange: Exchange, quick: None, call: Caller, tmp_path: Path, verb: str
) -> None:
    exchange.ladder(Layer.NEAR, 2)
    exchange.place("web_1")
    exchange.place("x-1_web-2", "ETHUSDT", "2000.00")
    where = ("--profile", profile(tmp_path), "--output", "json")
    done = call(verb, *where)
    assert (done.code, stopped(done)["foreign"]) == (0, 2), done
    assert exchange.open_ids() == {"web_1", "x-1_web-2"}
    far = exchange.ladder(Layer.FAR, 2)
    done = call(verb, *where, "--include-foreign")
    assert (done.code, stopped(done)["foreign"]) == (0, 0), done
    assert {"web_1", "x-1_web-2"} <= set(stopped(done)["cancelled"])
    assert exchange.open_ids() == (far if verb == "cancel-near" else set())


def test_an_exclusive_account_is_cancelled_in_bulk(
    exchange: Exchange, quick: None, call: Caller, tmp_path: Path
) -> None:
    own = exchange.ladder(Layer.NEAR, 20) | exchange.ladder(Layer.FAR, 20, "ETHUSDT")
    before = exchange.asked
    done = call("cancel-all", "--profile", profile(tmp_path, exclusive=True), "--output", "json")
    assert (done.code, set(stopped(done)["cancelled"])) == (0, own), done
    assert exchange.asked - before < 30, "forty cancels were not sent"


def test_near_is_never_cancelled_in_bulk(exchange: Exchange, quick: None, call: Caller, tmp_path: Path) -> None:
    near, far = exchange.ladder(Layer.NEAR, 3), exchange.ladder(Layer.FAR, 3)
    done = call("cancel-near", "--profile", profile(tmp_path, exclusive=True), "--output", "json")
    assert (done.code, set(stopped(done)["cancelled"])) == (0, near), done
    assert exchange.open_ids() == far


def test_a_resume_waits_for_the_end_of_a_stop(
    exchange: Exchange, quick: None, call: Caller, tmp_path: Path, state_dir: Path
) -> None:
    path = profile(tmp_path)
    exchange.ladder(Layer.NEAR, 1)
    command = [*MMCTL, "cancel-near", "--profile", path, "--deadline", "30s", "--output", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        waited_until(lambda: not exchange.open_ids())
        held = call("resume", "--profile", path)
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
    assert held.code == 5
    assert "a stop is sweeping binance, account main" in held.err
    assert call("resume", "--profile", path).out.startswith("lifted halt 1")


# What it takes to start


def test_a_stop_imports_little(exchange: Exchange, tmp_path: Path) -> None:
    heavy = ("aiohttp", "pydantic", "pydantic_settings", "rich", "redis", "http.client")
    script = (
        "import sys; from mmctl.cli import run_cli;"
        f"code = run_cli(['cancel-all', '--profile', {profile(tmp_path)!r}, '--output', 'json']);"
        f"print(code, *(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    seen = finished(0, done.stdout, done.stderr)
    assert seen.err.splitlines()[-1] == "0"
