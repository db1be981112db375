"""Bad input: one line that names the thing and the mend, the right exit code, no trace; as JSON one object."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from mmctl.cli.options import note

from .harness import PATIENT, QUICK, ROOT, Caller, Done, RedisServer, book_at, free_port, mmctl, put, quick_profile

TRACE = "Traceback"


def told_in_one_line(done: Done, code: int, *named: str) -> None:
    """The error is one line on standard error and names all of these; nothing else is shown."""
    assert (done.code, done.out) == (code, ""), done
    lines = [line for line in done.err.splitlines() if not line.startswith("mmctl: ")]
    assert len(lines) == 1, done
    assert lines[0].startswith("error: ")
    assert lines[0].endswith(")"), f"no mend: {lines[0]}"
    for name in named:
        assert name in lines[0]


def told_as_json(done: Done, code: int, *named: str) -> None:
    """The error is the only object on standard output."""
    assert done.code == code, done
    assert TRACE not in done.err
    (event,) = done.events
    assert (event["v"], event["event"]) == (1, "error")
    assert event["hint"]
    for name in named:
        assert name in f"{event['message']} ({event['hint']})"


BAD_USAGE = [
    (["bogus"], "bogus", "--help"),
    (["dry-run", "--bogus"], "--bogus", "--help"),
    (["dry-run", "extra"], "extra", "--help"),
    (["dry-run", "--rounds", "0"], "--rounds 0", "above zero"),
    (["dry-run", "--rounds", "many"], "--rounds many", "write --rounds 5"),
    (["dry-run", "--rounds", "1.5"], "--rounds 1.5", "whole number"),
    (["dry-run", "--for", "0s"], "--for 0s", "30s"),
    (["dry-run", "--for", "nan"], "--for nan", "30s"),
    (["dry-run", "--for", "-3s"], "--for", "30s"),
    (["dry-run", "--output", "xml"], "'xml' is not one of 'live', 'text', 'json'", "--help"),
    (["dry-run", "--output", "live"], "--output live", "text or json"),
    (["dry-run", "--feed", "kafka"], "'kafka'", "'redis', 'mock', 'binance'"),
    (["dry-run", "--feed", "redis"], "no address", "MMCTL_REDIS_URL"),
    (["dry-run", "--feed", "redis", "--redis-url", "localhost"], "--redis-url", "redis://HOST:PORT/DB"),
    (["diff", "--feed", "redis", "--redis-url", "http://:pAssw0rdOfRedis@h/0"], "--redis-url", "redis://HOST:PORT/DB"),
    (["show-book", "--feed", "redis", "--redis-url", "redis://h:99999/0"], "--redis-url", "redis://HOST:PORT/DB"),
    (["dry-run", "--profile", "nosuch"], "'nosuch'", "the nearest is"),
    (["dry-run", "--profile", "/no/such.toml"], "/no/such.toml", "profiles found"),
    (["dry-run", "--profile", "."], "'.'", "profiles found"),
    (["dry-run", "--profile", "./"], "folder", ".toml or .json"),
    (["dry-run", "--pair", "BTC-USDC"], "BTC-USDC", "the nearest is BTC-USDT"),
    (["cancel-near", "--venue", "krakn"], "krakn", "nearest"),
    (["cancel-near", "--venue", "mock"], "mock", "end that process"),
    (["cancel-all", "--venue", "binance"], "scope", "--all-symbols"),
    (["cancel-all", "--venue", "binance", "--all-symbols", "--pair", "BTCUSDT"], "scope", "--pair"),
    (["cancel-all", "--venue", "binance", "--all-symbols"], "no keys", "MMCTL_BINANCE_API_KEY"),
    (["cancel-all", "--venue", "okx_spot", "--all-symbols"], "'okx_spot'", "cancel on the venue itself"),
    (["cancel-all", "--venue", "binance", "--all-symbols", "--profile", "default"], "--profile", "leave one"),
    (["cancel-all", "--account", "second"], "--account second", "--pair"),
    (["cancel-all", "--all-symbols"], "--all-symbols", "--venue"),
    (["cancel-near", "--deadline", "soon"], "--deadline soon", "30s"),
]


@pytest.mark.parametrize(("arguments", "named", "mend"), BAD_USAGE, ids=[" ".join(row[0])[:50] for row in BAD_USAGE])
def test_wrong_usage_is_one_line_and_exit_2(call: Caller, arguments: list[str], named: str, mend: str) -> None:
    told_in_one_line(call(*arguments), 2, named, mend)
    if "--output" not in arguments and arguments != ["bogus"]:
        told_as_json(call(*arguments, "--output", "json"), 2, named, mend)
        told_as_json(call(*arguments, "--output=json"), 2, named, mend)


BAD_TOML = {
    "not TOML": ("feed = ", "line"),
    "unknown key": (QUICK + "price_decimal = 2\n", "pairs.BTC-USDT.price_decimal", "price_decimals"),
    "unknown key in a ladder": (
        QUICK.replace("max_amount = 2000", "max_amount = 2000\nmargin = 5"),
        "defaults.near.margin",
        "margin_bps",
    ),
    "no pair": ('feed = "mock"\n', "pairs", "[pairs.BASE-QUOTE]"),
    "not a number": (QUICK.replace("max_amount = 2000", 'max_amount = "many"'), "defaults.near.max_amount", "many"),
    "NaN": (QUICK.replace("max_amount = 2000", "max_amount = nan"), "defaults.near.max_amount", "NaN"),
    "infinite": (QUICK.replace("max_amount = 2000", "max_amount = inf"), "defaults.near.max_amount", "nfinit"),
    "out of bounds": (QUICK.replace("interval_s = 0.1", "interval_s = 0"), "defaults.near.interval_s", "0"),
    "negative margin": (
        QUICK.replace("buy_margin_bps = 5\n", "buy_margin_bps = -5\n"),
        "buy_margin_bps",
        "-5",
        "at least 0",
    ),
    "unknown venue": (QUICK + '[accounts.main]\nvenue = "krakn"\n', "accounts.main.venue", "krakn"),
    "unknown exchange": (QUICK.replace('"binance_spot"', '"binance_spt"'), "follow_exchange", "binance_spot"),
    "no decimals": (QUICK.replace("qty_decimals = 5", ""), "pairs.BTC-USDT.qty_decimals", "set qty_decimals"),
    "keys in the file": (
        QUICK + '[accounts.main]\nvenue = "binance"\napi_key = "keyOfTheFile"\n',
        "accounts.main.api_key",
        "environment",
    ),
}


@pytest.mark.parametrize("name", BAD_TOML)
def test_a_bad_profile_is_one_line_and_exit_2(call: Caller, tmp_path: Path, name: str) -> None:
    text, *named = BAD_TOML[name]
    path = quick_profile(tmp_path, text=text)
    told_in_one_line(call("dry-run", "--profile", path, "--rounds", "1"), 2, *named)
    told_as_json(call("diff", "--profile", path, "--output", "json"), 2, *named)


ORIGINAL = json.loads((ROOT / "tests/test_mm_params_bn.json").read_text())[0]
BAD_JSON = {
    "not JSON": ("[{", "line 1"),
    "an empty list": ("[]", "quick.json"),
    "a missing key": ([{key: ORIGINAL[key] for key in ORIGINAL if key != "Near Interval"}], "Near Interval"),
    "an unknown venue": ([ORIGINAL | {"Maker Exchange": "bitmax_spot"}], "Maker Exchange", "bitmax_spot"),
    "NaN": ([ORIGINAL | {"Near Max Amt Per Order": float("nan")}], "Near Max Amt Per Order"),
    "a negative margin": ([ORIGINAL | {"Near Buy Price Margin": -5}], "Near Buy Price Margin", "outward"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_a_bad_parameter_file_is_one_line_and_exit_2(call: Caller, tmp_path: Path, name: str) -> None:
    content, *named = BAD_JSON[name]
    text = content if isinstance(content, str) else json.dumps(content)
    path = quick_profile(tmp_path, "quick.json", text)
    told_in_one_line(call("dry-run", "--profile", path), 2, *named)
    told_as_json(call("dry-run", "--profile", path, "--output", "json"), 2, *named)


def test_an_unknown_key_of_the_parameter_file_is_a_warning(call: Caller, tmp_path: Path) -> None:
    path = quick_profile(tmp_path, "quick.json", json.dumps([ORIGINAL | {"Near Intervall": 3}]))
    done = call("show-book", "--profile", path, "--feed", "mock", "--output", "json")
    assert done.code == 0
    assert "mmctl: " in done.err
    assert "Near Intervall" in done.err
    # Without keys nothing of the account can be read: not shown is never shown as nothing.
    assert (done.events[0]["own"], done.events[0]["foreign"]) == (None, None)
    told_in_one_line(call("diff", "--profile", path, "--feed", "mock", "--output", "text"), 2, "no keys")


def test_an_unreadable_profile_is_one_line_and_exit_2(call: Caller, tmp_path: Path) -> None:
    path = tmp_path / "quick.toml"
    path.write_bytes(b"feed = '\xff\xfe'")
    told_in_one_line(call("diff", "--profile", str(path)), 2, "quick.toml", "UTF-8")
    path.chmod(0)
    try:
        path.read_bytes()
    except PermissionError:
        told_in_one_line(call("diff", "--profile", str(path)), 2, "quick.toml", "permissions")


def test_a_venue_without_an_adapter_can_be_dry_run_but_not_run(call: Caller, tmp_path: Path) -> None:
    path = quick_profile(tmp_path, text=QUICK + '[accounts.main]\nvenue = "okx_spot"\n')
    for arguments in (("run", "--rounds", "1"), ("cancel-near",), ("cancel-all",)):
        told_in_one_line(call(*arguments, "--profile", path), 2, "'okx_spot'", "adapter")
    done = call("dry-run", "--profile", path, "--rounds", "1", "--output", "json")
    assert done.code == 0
    assert "stands in for okx_spot; tick 0.01 and lot 0.00001" in done.err
    assert call("show-book", "--profile", path, "--output", "json").code == 0
    assert call("diff", "--profile", path, "--output", "json").code == 1


def test_a_live_venue_needs_its_limits_and_keys(call: Caller, tmp_path: Path) -> None:
    live = QUICK + '[accounts.main]\nvenue = "binance"\n'
    told_in_one_line(call("run", "--profile", quick_profile(tmp_path, text=live)), 2, "max_position", "all three")
    limits = "[defaults]\nmax_position = 1\nmax_fills_per_min = 10\nmax_basis_bps = 50\n"
    path = quick_profile(tmp_path, text=live.replace("[defaults]\n", limits))
    told_in_one_line(call("run", "--profile", path), 2, "no keys", "MMCTL_BINANCE_API_KEY")
    path = quick_profile(tmp_path, text=live.replace("[defaults]\n", limits.replace("max_basis_bps = 50\n", "")))
    told_in_one_line(call("dry-run", "--profile", path), 2, "max_basis_bps", "go together")


def test_real_money_is_never_quoted_on_a_made_up_book(
    call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMCTL_BINANCE_API_KEY", "keyOfTheEnvironment")
    monkeypatch.setenv("MMCTL_BINANCE_API_SECRET", "keyOfTheEnvironment")
    # Nobody is to be reached: not loopback, so live by its mode, and a name that can never be one.
    for what, scheme in {"REST": "https", "WS": "wss", "STREAM": "wss"}.items():
        monkeypatch.setenv(f"MMCTL_BINANCE_{what}_URL", f"{scheme}://nobody.invalid")
    limits = "[defaults]\nmax_position = 1\nmax_fills_per_min = 10\nmax_basis_bps = 50\n"
    live = QUICK.replace("[defaults]\n", limits) + '[accounts.main]\nvenue = "binance"\n'
    path = quick_profile(tmp_path, text=live)
    told_in_one_line(call("run", "--profile", path, "--feed", "mock"), 2, "made-up", "--feed redis or binance")


def test_an_unknown_variable_draws_a_warning(call: Caller, quick: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMCTL_STATEDIR", "/tmp")
    for arguments in (("diff", "--profile", quick), ("resume", "--profile", quick)):
        assert "MMCTL_STATEDIR is not read: the nearest known one is MMCTL_STATE_DIR" in call(*arguments).err


def test_an_unusable_state_folder_is_one_line(
    call: Caller, quick: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMCTL_STATE_DIR", str(tmp_path / "file"))
    told_in_one_line(call("dry-run", "--profile", quick, "--rounds", "1", "--output", "text"), 70, "MMCTL_STATE_DIR")
    told_in_one_line(call("resume", "--profile", quick), 70, "MMCTL_STATE_DIR")


# Redis


def feeds(profile: str, url: str) -> tuple[str, ...]:
    return ("--profile", profile, "--feed", "redis", "--redis-url", url)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Somebody listens there who never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture
def locked_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, "--requirepass", "pAssw0rdOfRedis")
    yield server
    server.kill()


def no_book_can_be_read(call: Caller, quick: str, url: str, *named: str) -> None:
    told_in_one_line(call("show-book", *feeds(quick, url)), 3, *named)
    told_as_json(call("show-book", *feeds(quick, url), "--output", "json"), 3, *named)
    told_in_one_line(call("diff", *feeds(quick, url)), 3, *named)
    done = call("dry-run", *feeds(quick, url), "--rounds", "2", "--output", "json")
    assert done.code == 3
    for skip in done.of("skip"):
        assert skip["reason"] == "feed_unreachable"
        assert all(name in skip["detail"] for name in named)
    assert len([skip for skip in done.of("skip") if skip["layer"] == "near"]) == 2
    assert done.events[-1]["event"] == "summary"
    text = call("dry-run", *feeds(quick, url), "--rounds", "2", "--output", "text")
    assert text.code == 3
    assert text.out.count("near skipped") == 1, "a reason that lasts is told once"


def test_redis_that_is_not_there(call: Caller, quick: str) -> None:
    port = free_port()
    no_book_can_be_read(call, quick, f"redis://:pAssw0rdOfRedis@127.0.0.1:{port}/0", f"127.0.0.1:{port}", "start Redis")


def test_redis_that_is_slow(call: Caller, quick: str, silent_port: int) -> None:
    text = Path(quick).read_text().replace("timeout_ms = 2000", "timeout_ms = 300")
    hasty = quick_profile(Path(quick).parent, "hasty.toml", text)
    no_book_can_be_read(call, hasty, f"redis://127.0.0.1:{silent_port}/0", f"127.0.0.1:{silent_port}", "answer")


def test_redis_that_wants_a_password(call: Caller, quick: str, locked_server: RedisServer) -> None:
    no_book_can_be_read(call, quick, locked_server.url, f"127.0.0.1:{locked_server.port}", "password")
    wrong = f"redis://:pAssw0rdOfRedis1@127.0.0.1:{locked_server.port}/0"
    no_book_can_be_read(call, quick, wrong, f"127.0.0.1:{locked_server.port}", "user and password")


USABLE = book_at(61800)
BAD_BOOKS = {
    # name: value, seconds ago, what is said
    "empty": ({"asks": [], "bids": []}, 0.0, "empty"),
    "crossed": ({"asks": [[61799, 1]], "bids": [[61800, 1]]}, 0.0, "crossed"),
    "one-sided": ({"asks": USABLE["asks"], "bids": []}, 0.0, "bid"),
    "stale": (USABLE, 30.0, "old"),
    "from the future": (USABLE, -5.0, "ahead of this clock"),
    "not JSON": ("{asks", 0.0, "JSON"),
}


@pytest.mark.parametrize("name", BAD_BOOKS)
def test_a_book_that_cannot_be_quoted_on(
    call: Caller, quick: str, server: RedisServer, books: redis.Redis, name: str
) -> None:
    value, ago_s, said = BAD_BOOKS[name]
    profile = quick_profile(Path(quick).parent, "once.toml", PATIENT.replace("interval_s = 0.1", "interval_s = 1"))
    put(books, value, ago_s=ago_s)
    done = call("diff", *feeds(profile, server.url))
    told_in_one_line(done, 3, said)
    put(books, value, ago_s=ago_s)
    done = call("show-book", *feeds(profile, server.url), "--output", "json")
    assert done.code == 3, done
    assert said in done.err + done.out
    put(books, value, ago_s=ago_s)
    done = call("dry-run", *feeds(profile, server.url), "--rounds", "1", "--output", "json")
    assert done.code == 3
    near = next(skip for skip in done.of("skip") if skip["layer"] == "near")
    assert said in near["detail"]
    assert done.of("summary")[0]["placed"] == 0
    assert not done.of("round")


def test_redis_without_a_book_names_the_key(call: Caller, quick: str, server: RedisServer) -> None:
    told_in_one_line(call("show-book", *feeds(quick, server.url)), 3, "binance_spot_depthbtcusdt0", "running")


def test_one_pair_without_a_book_hides_no_other(
    call: Caller, quick: str, server: RedisServer, books: redis.Redis
) -> None:
    two = PATIENT + "[pairs.ETH-USDT]\nprice_decimals = 2\nqty_decimals = 4\n"
    profile = quick_profile(Path(quick).parent, "two.toml", two)
    for verb, event in (("show-book", "book"), ("diff", "plan")):
        put(books, USABLE, symbol="ethusdt")
        done = call(verb, *feeds(profile, server.url), "--output", "json")
        assert done.code == 3
        assert [(one["event"], one.get("pair")) for one in done.events] == [("error", None), (event, "ETH-USDT")]


# Faults of our own


def test_a_fault_is_one_line_and_exit_70(call: Caller, quick: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("thing is broken")

    monkeypatch.setattr("mmctl.bootstrap.make_feed", broken)
    done = call("diff", "--profile", quick)
    told_in_one_line(done, 70, "RuntimeError: thing is broken", "--debug")
    told_as_json(call("diff", "--profile", quick, "--output", "json"), 70, "RuntimeError: thing is broken")
    traced = call("diff", "--profile", quick, "--debug")
    assert traced.code == 70
    assert TRACE in traced.err
    assert traced.err.splitlines()[-1] == "error: RuntimeError: thing is broken"


def test_a_fault_within_the_engine_is_one_line_too(call: Caller, quick: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmctl.engine.loop.Engine._quote", lambda *_: broken_turn())

    async def broken_turn() -> None:
        raise RuntimeError("thing is broken")

    done = call("dry-run", "--profile", quick, "--rounds", "1", "--output", "text")
    assert done.code == 70
    assert "error: RuntimeError: thing is broken" in done.err


def test_a_screen_that_cannot_be_made_stops_the_run(call: Caller, quick: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("nothing can be drawn")

    monkeypatch.setattr("mmctl.engine.loop.Engine.views", broken)
    done = call("dry-run", "--profile", quick, "--output", "text")
    assert done.code == 70
    assert "error: RuntimeError: nothing can be drawn" in done.err


def test_secrets_of_a_parameter_file_are_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: RedisServer
) -> None:
    keys = {"API KEY": "keyOfTheFile", "Secret": "secretOfTheFile", "Passphrase": "phraseOfTheFile"}
    path = quick_profile(tmp_path, "keys.json", json.dumps([ORIGINAL | keys]))
    monkeypatch.setenv("MMCTL_BINANCE_API_KEY", "keyOfTheEnvironment")
    monkeypatch.setenv("MMCTL_REDIS_URL", f"redis://:pAssw0rdOfRedis@127.0.0.1:{server.port}/0")
    for verb in (["dry-run", "--rounds", "1"], ["diff"], ["show-book"], ["run"], ["cancel-all"], ["resume"]):
        for feed in ([], ["--feed", "redis"]) if verb[0] not in ("cancel-all", "resume") else ([],):
            mmctl(*verb, *feed, "--profile", path, "--debug")


def test_a_note_of_what_others_wrote_leaves_the_terminal_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    note("engine \x1b[31m7\x07 says\nwhat it says")
    assert capsys.readouterr().err == "mmctl: engine  [31m7  says\nwhat it says\n"
