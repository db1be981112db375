"""Profiles: where they are found, what they come to, and one line for every mistake."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from mmctl.core.book import BookKey
from mmctl.core.order import TimeInForce
from mmctl.core.spec import LayerSide, Strategy
from mmctl.errors import UsageError
from mmctl.markets import VENUES, fold, has_adapter, nearest, shares_market, split_symbol
from mmctl.profile import Profile, load_profile, profiles_with_live_venue, select_pairs

ROOT = Path(__file__).parents[1]

NEAR = "[pairs.BTC-USDT.near]\nbuy_margin_bps = 5\nsell_margin_bps = 6.5\nmax_amount = 1000\n"
SMALL = f"[pairs.BTC-USDT]\nprice_decimals = 2\n{NEAR}"


@pytest.fixture(autouse=True)
def own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's config folder that is nobody's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("platformdirs.user_config_path", lambda *_, **__: tmp_path / "config" / "mmctl")
    return tmp_path / "config" / "mmctl"


def load(tmp_path: Path, text: str) -> Profile:
    (tmp_path / "p.toml").write_text(text, encoding="utf-8")
    return load_profile("p.toml", environ={}, cwd=tmp_path)


def refused(tmp_path: Path, text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
    assert caught.value.exit_code == 2
    return caught.value


# What a good file comes to


def test_a_small_profile_has_every_default(tmp_path: Path) -> None:
    profile = load(tmp_path, SMALL)
    assert (profile.feed, profile.warnings, profile.original) == ("mock", (), False)
    assert [(a.name, a.venue, a.keys) for a in profile.accounts.values()] == [("main", "mock", None)]
    (pair,) = profile.pairs
    assert (pair.name, pair.base, pair.quote, pair.symbol) == ("BTC-USDT", "BTC", "USDT", "BTCUSDT")
    assert (pair.follow, pair.far, pair.shares_market) == (BookKey("mock", "BTCUSDT"), None, False)
    assert (pair.collar_bps, pair.max_open_orders, pair.frozen_after_s) == (1000, 200, 30)
    assert (pair.price_decimals, pair.qty_decimals) == (2, None)
    near = pair.near
    assert near is not None
    assert (near.interval_s, near.strategy, near.side) == (3, Strategy.MIRROR, LayerSide.BOTH)
    assert (near.time_in_force, near.qty_tolerance) == (TimeInForce.GTX, Decimal("0.5"))
    assert profile.mock.start_prices == {pair.follow: Decimal(100)}
    assert not profile.several_accounts


def test_money_is_exact(tmp_path: Path) -> None:
    text = SMALL.replace("6.5", "0.1").replace("1000", "123456789.123456789")
    near = load(tmp_path, text).pairs[0].near
    assert near is not None
    assert near.sell_margin_bps == Decimal("0.1")
    assert near.max_amount == Decimal("123456789.123456789")


def test_defaults_merge_field_by_field(tmp_path: Path) -> None:
    text = """
        [defaults]
        collar_bps = 500
        [defaults.near]
        buy_margin_bps = 5
        sell_margin_bps = 5
        max_amount = 100
        [defaults.far]
        buy_margin_bps = 20
        sell_margin_bps = 20
        max_amount = 100
        [pairs.BTC-USDT]
        near = { max_amount = 200, strategy = "Spread", side = "sell" }
        [pairs.ETH-USDT]
        collar_bps = 600
        far = false
    """
    btc, eth = load(tmp_path, text).pairs
    assert (btc.collar_bps, eth.collar_bps) == (500, 600)
    assert btc.near is not None
    assert btc.far is not None
    assert (btc.near.max_amount, btc.near.buy_margin_bps) == (200, 5)
    assert (btc.near.strategy, btc.near.side, btc.far.strategy) == (Strategy.SPREAD, LayerSide.ASK, Strategy.SPREAD)
    assert eth.far is None
    assert eth.near is not None
    assert eth.near.max_amount == 100


def test_own_orders_in_the_followed_market_are_told(tmp_path: Path) -> None:
    text = '[accounts.main]\nvenue = "binance"\n' + SMALL
    profile = load(tmp_path, text)
    assert profile.pairs[0].follow == BookKey("binance_spot", "BTCUSDT")
    assert profile.pairs[0].shares_market
    assert "feed: the mock feed" in profile.warnings[0]
    elsewhere = load(tmp_path, text.replace("price_dec", 'follow_exchange = "okx_spot"\nprice_dec'))
    assert not elsewhere.pairs[0].shares_market


@pytest.mark.parametrize(
    ("accounts", "pair", "chosen"),
    [
        ('[accounts.desk]\nvenue = "mock"\n', "", "desk"),
        ('[accounts.main]\nvenue = "mock"\n[accounts.b]\nvenue = "okx_spot"\n', "", "main"),
        ('[accounts.main]\nvenue = "mock"\n[accounts.b]\nvenue = "okx_spot"\n', 'account = "b"\n', "b"),
    ],
)
def test_the_account_of_a_pair(tmp_path: Path, accounts: str, pair: str, chosen: str) -> None:
    profile = load(tmp_path, accounts + SMALL.replace("price", pair + "price"))
    assert profile.pairs[0].account == chosen
    assert profile.pairs[0].venue == profile.accounts[chosen].venue


@pytest.mark.parametrize(
    ("levels", "diff", "warned"),
    [
        ("", 5, True),
        ("", 4.9, False),
        ("", 0, False),
        ("bid_levels = 0\n", 5, False),
        ('side = "ASK"\n', 6.5, True),
    ],
)
def test_a_difference_not_below_the_margin_warns(tmp_path: Path, levels: str, diff: float, warned: bool) -> None:
    warnings = load(tmp_path, f"{SMALL}{levels}diff_per_round_bps = {diff}\n").warnings
    assert [w.split(" is not")[0] for w in warnings] == (
        [f"p.toml: pairs.BTC-USDT.near.diff_per_round_bps: {diff}"] if warned else []
    )


def test_mock_table(tmp_path: Path) -> None:
    text = SMALL + "[mock]\nreject_rate = 0.25\nmaker_fee_bps = -1\n[mock.balances]\nUSDT = 10.5\n"
    mock = load(tmp_path, text.replace("price_dec", "mock_price = 61800\nprice_dec")).mock
    assert (mock.reject_rate, mock.maker_fee_bps, mock.balances) == (0.25, -1, {"USDT": Decimal("10.5")})
    assert mock.start_prices == {BookKey("mock", "BTCUSDT"): Decimal(61800)}


# One line for every mistake: file, place, value; the mend as a hint

BAD = [
    ("", "p.toml: pairs: there is no pair", "[pairs.BASE-QUOTE]"),
    ("[pairs]", "p.toml: pairs: there is no pair", "[pairs.BASE-QUOTE]"),
    ("feed = \n", "p.toml: not TOML: Invalid value (at line 1, column 8)", ""),
    ("a = 1\nb = [1, 2", "p.toml: not TOML: Unclosed array (at the end, line 2)", ""),
    ("a = 1e99999999999999999999", "too many digits", ""),
    (f"a = {'1' * 5000}", "too many digits", ""),
    (f"a = {'[' * 5000}", "without end", ""),
    ("fed = 1\n" + SMALL, "p.toml: fed: unknown key", "nearest known key is feed"),
    ("[mock]\nlatency = 1\n" + SMALL, "p.toml: mock.latency: unknown key", "latency_ms"),
    ("[redis]\ntimeout = 1\n" + SMALL, "p.toml: redis.timeout: unknown key", "timeout_ms"),
    ("[accounts.main]\nvenu = 'mock'\n" + SMALL, "p.toml: accounts.main.venu: unknown key", "is venue"),
    ("[defaults]\ncolar_bps = 1\n" + SMALL, "p.toml: defaults.colar_bps: unknown key", "collar_bps"),
    ("[defaults.near]\nintervals = 1\n" + SMALL, "p.toml: defaults.near.intervals: unknown key", "interval_s"),
    (SMALL.replace("price_dec", "prize_dec"), "p.toml: pairs.BTC-USDT.prize_decimals: unknown", "price_decimals"),
    (SMALL.replace("max_am", "mx_am"), "p.toml: pairs.BTC-USDT.near.mx_amount: unknown key", "max_amount"),
    (SMALL.replace("price_dec", "interval_s = 3\nprice_dec"), "pairs.BTC-USDT.interval_s: unknown", "BTC-USDT.near]"),
    (SMALL.replace("price_dec", "max_positon = 3\nprice_dec"), "BTC-USDT.max_positon: unknown key", "max_position"),
    (SMALL.replace("price_dec", "max_position = 3\nprice_dec"), "BTC-USDT.max_fills_per_min: is missing", "together"),
    (SMALL.replace("max_amount = 1000", ""), "pairs.BTC-USDT.near.max_amount: is missing", "quote currency"),
    (SMALL.replace("max_amount = 1000", "max_amount = 0"), "near.max_amount: 0 is out of bounds", "above 0"),
    (SMALL.replace("6.5", "-6.5"), "near.sell_margin_bps: -6.5 is out of bounds", "at least 0"),
    (SMALL.replace("6.5", "9e9"), "sell_margin_bps: 9000000000 is out of bounds", "at most 5000"),
    (SMALL.replace("6.5", "1e900"), "sell_margin_bps: 1E+900 is out of bounds", "basis points"),
    (SMALL.replace("6.5", "1e-900"), "has more decimals than any market", "basis points"),
    (SMALL.replace("6.5", "nan"), "sell_margin_bps: NaN is not a finite number", "basis points"),
    (SMALL.replace("6.5", "-inf"), "sell_margin_bps: -Infinity is not a finite number", "basis points"),
    (SMALL.replace("6.5", "'6.5'"), "sell_margin_bps: '6.5' is not a number", "basis points"),
    (SMALL.replace("6.5", "true"), "sell_margin_bps: true is not a number", "basis points"),
    (SMALL.replace("6.5", "[1]"), "sell_margin_bps: a list is not a number", "basis points"),
    (SMALL + "interval_s = nan\n", "interval_s: NaN is not a finite number", "seconds"),
    (SMALL + "interval_s = 0.01\n", "interval_s: 0.01 is out of bounds", "at least 0.05, at most 3600"),
    (SMALL + "interval_s = 0\n", "near.interval_s: 0 is out of bounds", "near = false"),
    (SMALL + "ask_levels = 101\n", "ask_levels: 101 is out of bounds", "at most 100"),
    (SMALL + f"ask_levels = 0x1{'0' * 5000}\n", "ask_levels: ", "at most 100"),
    (SMALL + "ask_levels = 2.5\n", "ask_levels: 2.5 is not a whole number", "number of asks"),
    (SMALL + "qty_tolerance = 1\n", "qty_tolerance: 1 is out of bounds", "at most 0.99"),
    (SMALL + "qty_multiplier = 0\n", "qty_multiplier: 0 is out of bounds", "factor"),
    (SMALL + "side = 'LEFT'\n", "near.side: 'LEFT' is not known", "one of BOTH, BID, ASK"),
    (SMALL + "time_in_force = 'IOC'\n", "time_in_force: 'IOC' is not known", "GTC, GTX"),
    (SMALL + "strategy = 1\n", "strategy: 1 is not known", "mirror, spread"),
    (SMALL.replace("= 5\n", "= 0\n") + "strategy = 'SPREAD'\n", "near.buy_margin_bps: 0 is no margin", "above 0"),
    (SMALL.replace("price_dec", "far = true\nprice_dec"), "pairs.BTC-USDT.far: true is not a table", "far = false"),
    ("[defaults]\nnear = 5\n" + SMALL, "p.toml: defaults.near: 5 is not a table", "near = false"),
    ("[pairs.BTC-USDT]\nnear = false\n", "pairs.BTC-USDT.near: both ladders are off", "defaults.near"),
    ("[pairs.BTC-USDT]\n", "pairs.BTC-USDT.near: both ladders are off", "defaults.near"),
    ("[pairs]\nBTC-USDT = 1\n", "p.toml: pairs.BTC-USDT: 1 is not a table", ""),
    ("mock = 1\n" + SMALL, "p.toml: mock: 1 is not a table", "[mock]"),
    ("feed = 'radis'\n" + SMALL, "p.toml: feed: 'radis' is not known", "mock, redis or binance"),
    ("[accounts.main]\n" + SMALL, "p.toml: accounts.main.venue: is missing", "binance"),
    (
        "[accounts.main]\nvenue='binanse'\n" + SMALL,
        "accounts.main.venue: 'binanse' is not known",
        "known: mock, binance,",
    ),
    ("[accounts.main]\nvenue=['mock']\n" + SMALL, "accounts.main.venue: a list is not known", "known: mock"),
    ("[accounts.'my account']\nvenue='mock'\n" + SMALL, "accounts.my account: is no name", "letters"),
    (
        "[accounts.a-1]\nvenue='binance'\n[accounts.A_1]\nvenue='binance'\n" + SMALL,
        "accounts.A_1: its keys would be read from MMCTL_BINANCE_A_1_*, as those of a-1 are",
        "another name",
    ),
    (SMALL.replace("price_dec", "account = 'desk'\nprice_dec"), "account: 'desk' is not an account", "profile: main"),
    (
        "[accounts.a]\nvenue='mock'\n[accounts.b]\nvenue='mock'\n" + SMALL,
        "pairs.BTC-USDT.account: is missing",
        "a, b",
    ),
    (SMALL.replace("price_dec", "symbol = 'BTC USDT'\nprice_dec"), "symbol: 'BTC USDT' is not one", "letters"),
    (SMALL.replace("price_dec", "symbol = 5\nprice_dec"), "symbol: 5 is not one that can be", "letters"),
    (SMALL.replace("price_dec", "follow_exchange = 'binance'\nprice_dec"), "'binance' is not known", "binance_spot"),
    (SMALL.replace("price_decimals = 2", "price_decimals = 19"), "price_decimals: 19 is out of bounds", "at most 18"),
    (SMALL.replace("BTC-USDT", "BTCUSDT"), "pairs.BTCUSDT: is not the name of a pair", "write BTC-USDT"),
    (SMALL.replace("BTC-USDT", "'a\\u001b\\n'").replace("'", '"'), r"pairs.a\x1b\n: is not the name", "BTC-USDT"),
    (
        SMALL + "[pairs.XBT-USDT]\nsymbol = 'BTC-USDT'\n" + NEAR.replace("BTC", "XBT"),
        "pairs.XBT-USDT.symbol: BTC-USDT on mock, account main, is made by two pairs, BTC-USDT and XBT-USDT",
        "drop one",
    ),
    (
        SMALL.replace("price_dec", "mock_price = 1\nprice_dec")
        + "[pairs.XBT-USDT]\nfollow_symbol = 'BTCUSDT'\nmock_price = 2\n"
        + NEAR.replace("BTC", "XBT"),
        "pairs.XBT-USDT.mock_price: 2 is not what another pair says",
        "write 1",
    ),
    ("[mock]\nlatency_ms = -1\n" + SMALL, "mock.latency_ms: -1 is out of bounds", "at least 0"),
    ("[mock.balances]\nUSDT = -1\n" + SMALL, "mock.balances.USDT: -1 is out of bounds", "asset"),
    (
        "[redis]\nurl = 'localhost:6379'\n" + SMALL,
        "redis.url: localhost:6379 is not an address of Redis",
        "redis://HOST",
    ),
]


@pytest.mark.parametrize(("text", "said", "hint"), BAD, ids=[said[:60] for _, said, _ in BAD])
def test_a_mistake_is_one_line(tmp_path: Path, text: str, said: str, hint: str) -> None:
    error = refused(tmp_path, text)
    assert said in error.message
    assert error.message.startswith("p.toml: ")
    assert hint in error.hint


@pytest.mark.parametrize(
    "text",
    [
        "[accounts.main]\nvenue = 'binance'\napi_key = 'hunter2'\n" + SMALL,
        "[redis]\nurl = 'redis://:hunter2@'\n" + SMALL,
        "[redis]\nurl = 'redis://:hunter2'\n" + SMALL,
        "[redis]\nurl = ['hunter2']\n" + SMALL,
        "[redis]\npassword = 'hunter2'\n" + SMALL,
    ],
)
def test_a_mistake_never_shows_a_secret(tmp_path: Path, text: str) -> None:
    error = refused(tmp_path, text)
    assert "hunter2" not in f"{error!s} {error.__cause__}"
    assert error.__suppress_context__ or error.__context__ is None


def test_a_profile_printed_shows_no_secret(tmp_path: Path) -> None:
    profile = load(tmp_path, "[redis]\nurl = 'redis://:hunter2@localhost'\n" + SMALL)
    assert profile.redis.url is not None
    assert profile.redis.url.get_secret_value() == "redis://:hunter2@localhost"
    assert "hunter2" not in repr(profile)


# Finding


def test_names_are_found_in_order(tmp_path: Path, own_config: Path) -> None:
    own_config.mkdir(parents=True)
    (own_config / "desk.toml").write_text(SMALL)
    assert load_profile("desk", environ={}, cwd=tmp_path).path == own_config / "desk.toml"
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "desk.toml").write_text(SMALL)
    (tmp_path / "profiles" / "desk.json").write_text("[]")
    assert load_profile("desk", environ={}, cwd=tmp_path).path == tmp_path / "profiles" / "desk.toml"
    environ = {"MMCTL_PROFILE": "desk"}
    assert load_profile(None, environ=environ, cwd=tmp_path).path == tmp_path / "profiles" / "desk.toml"
    assert load_profile("default", environ=environ, cwd=tmp_path).path.name == "default.toml"


@pytest.mark.parametrize("environ", [{}, {"MMCTL_PROFILE": ""}])
def test_without_a_name_the_packaged_default_is_read(tmp_path: Path, environ: dict[str, str]) -> None:
    assert [pair.name for pair in load_profile(None, environ=environ, cwd=tmp_path).pairs] == ["BTC-USDT", "ETH-USDT"]


def test_only_what_ships_is_found_from_anywhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="binance-spot"):
        load_profile("binance-spot", environ={}, cwd=tmp_path)


def test_a_name_not_found_lists_where_and_what_there_is(tmp_path: Path, own_config: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "desk.toml").write_text(SMALL)
    with pytest.raises(UsageError) as caught:
        load_profile(None, environ={"MMCTL_PROFILE": "dask"}, cwd=tmp_path)
    assert "there is no profile 'dask' (from MMCTL_PROFILE)" in caught.value.message
    assert f"{tmp_path / 'profiles'}, {own_config}, " in caught.value.message
    assert caught.value.hint == "profiles found: default, desk, sandbox; the nearest is desk"


@pytest.mark.parametrize("path", ["nowhere.toml", "./nowhere", "a/b.json", "a" * 5000 + ".toml", "a\0b.toml", ""])
def test_a_path_not_found(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="there is no profile") as caught:
        load_profile(path, environ={}, cwd=tmp_path)
    assert "profiles found: default" in caught.value.hint


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(name: str) -> str:
        with pytest.raises(UsageError) as caught:
            load_profile(name, environ={}, cwd=tmp_path)
        return caught.value.message

    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "bytes.toml").write_bytes(b"a = '\xff'")
    (tmp_path / "plain").write_text("a = 1")
    assert said("folder.toml") == "folder.toml: is a folder, not a profile"
    assert said("./folder.toml/") == "folder.toml: is a folder, not a profile"
    assert said("bytes.toml") == "bytes.toml: is not UTF-8 text (byte 5)"
    assert said("./plain") == "plain: neither TOML nor JSON by its name"

    def denied(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)  # the tests may run as root, whom no mode stops
    assert said("bytes.toml") == "bytes.toml: may not be read by this user"


def test_profiles_with_a_live_venue(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    for name, text in (("mock", SMALL), ("live", f"[accounts.a]\nvenue='binance'\n{SMALL}"), ("broken", "a")):
        (tmp_path / "profiles" / f"{name}.toml").write_text(text)
    assert profiles_with_live_venue(tmp_path) == ("live", "sandbox")


# The profiles of the repository


def test_the_default_profile() -> None:
    profile = load_profile("default", environ={}, cwd=ROOT)
    assert (profile.feed, profile.warnings) == ("mock", ())
    assert [(p.name, p.venue, p.follow.exchange) for p in profile.pairs] == [
        ("BTC-USDT", "mock", "binance_spot"),
        ("ETH-USDT", "mock", "binance_spot"),
    ]
    assert all(pair.near and pair.far and not pair.shares_market for pair in profile.pairs)


def test_the_default_profile_shows_every_field() -> None:
    from mmctl.profile_model import AccountModel, FarModel, MockModel, PairModel, RedisModel

    text = (ROOT / "profiles" / "default.toml").read_text()
    shown = {"account", "symbol"}  # told of in words
    for model in (AccountModel, FarModel, MockModel, PairModel, RedisModel):
        assert [name for name in model.model_fields if name not in text and name not in shown] == []


def test_the_live_profile_has_no_secret() -> None:
    profile = load_profile("binance-spot", environ={}, cwd=ROOT)
    assert (profile.feed, profile.warnings, profile.redis.url) == ("redis", (), None)
    assert all(pair.venue == "binance" and pair.shares_market for pair in profile.pairs)
    assert set(tomllib.loads((ROOT / "profiles" / "binance-spot.toml").read_text())["accounts"]["main"]) == {"venue"}


# Choosing pairs


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ([], ["BTC-USDT", "ETH-USDT"]),
        (["eth/usdt"], ["ETH-USDT"]),
        (["ETHUSDT", "btc_usdt", "BTC-USDT"], ["BTC-USDT", "ETH-USDT"]),
    ],
)
def test_pairs_are_named_in_many_ways(wanted: list[str], chosen: list[str]) -> None:
    profile = load_profile("default", environ={}, cwd=ROOT)
    assert [pair.name for pair in select_pairs(profile, wanted)] == chosen


def test_an_unknown_pair_names_the_nearest() -> None:
    profile = load_profile("default", environ={}, cwd=ROOT)
    with pytest.raises(UsageError) as caught:
        select_pairs(profile, ["BTC-USDT", "ETH-USDC"])
    assert caught.value.message == "--pair ETH-USDC: default.toml has no such pair"
    assert caught.value.hint == "the nearest is ETH-USDT; the profile has BTC-USDT, ETH-USDT"
    with pytest.raises(UsageError):
        select_pairs(profile, [""])


def test_a_name_that_fits_two_pairs_is_refused(tmp_path: Path) -> None:
    text = SMALL + "[pairs.XBT-USDT]\nsymbol = 'BTC-USDT'\naccount = 'b'\n" + NEAR.replace("BTC", "XBT")
    profile = load(tmp_path, "[accounts.main]\nvenue='mock'\n[accounts.b]\nvenue='mock'\n" + text)
    assert profile.several_accounts
    with pytest.raises(UsageError, match=r"--pair btcusdt: fits 2 pairs: BTC-USDT \(BTCUSDT on mock, account main"):
        select_pairs(profile, ["btcusdt"])
    assert [pair.account for pair in select_pairs(profile, ["XBT-USDT"])] == ["b"]


# Venues and symbols


@pytest.mark.parametrize(
    ("symbol", "split"),
    [
        ("BTCUSDT", ("BTC", "USDT")),
        ("btcfdusd", ("BTC", "FDUSD")),
        ("ETHBTC", ("ETH", "BTC")),
        ("BTC-USDT-SWAP", ("BTC", "USDT")),
        ("BTC/USDT", ("BTC", "USDT")),
        ("USDT", None),
        ("-USDT", None),
        ("ABCXYZ", None),
    ],
)
def test_symbols_split(symbol: str, split: tuple[str, str] | None) -> None:
    assert split_symbol(symbol) == split


def test_the_venues_that_have_an_adapter() -> None:
    assert [name for name in VENUES if has_adapter(name)] == ["mock", "binance"]


def test_markets_that_are_one() -> None:
    assert shares_market("binance", "BTCUSDT", "binance_spot", "btcusdt")
    assert shares_market("binance_portfolio_margin", "BTCUSDT", "binance_future", "BTCUSDT")
    assert not shares_market("binance", "BTCUSDT", "binance_future", "BTCUSDT")
    assert not shares_market("mock", "BTCUSDT", "mock", "BTCUSDT")
    assert fold("Btc-Us/d_T") == "btcusdt"
    assert nearest("x", []) == ""


def test_the_mock_path_imports_only_what_it_needs() -> None:
    code = (
        "import sys; from pathlib import Path; from mmctl.profile import load_profile;"
        "load_profile('default', environ={}, cwd=Path.cwd());"
        "sys.exit(bool({'pydantic_settings', 'platformdirs', 'redis', 'aiohttp', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
