"""The original's parameter file loads as it is; every row of it is read, warned of or refused by name."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mmctl.core.book import BookKey
from mmctl.core.order import TimeInForce
from mmctl.core.spec import LayerSide, Strategy
from mmctl.errors import UsageError
from mmctl.legacy import KEYS
from mmctl.profile import Profile, load_profile

FILE = Path(__file__).with_name("test_mm_params_bn.json")
GOOD: dict[str, Any] = json.loads(FILE.read_text())[0]
GONE = object()


def load(tmp_path: Path, *changes: dict[str, Any]) -> Profile:
    """A file with one object for each of ``changes`` to the good one."""
    objects = [{k: v for k, v in {**GOOD, **change}.items() if v is not GONE} for change in changes]
    (tmp_path / "p.json").write_text(json.dumps(objects))
    return load_profile("p.json", environ={}, cwd=tmp_path)


def refused(tmp_path: Path, *changes: dict[str, Any]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, *changes)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_code == 2
    return caught.value


def test_the_start_file_loads() -> None:
    profile = load_profile("tests/test_mm_params_bn.json", environ={}, cwd=FILE.parents[1])
    assert (profile.feed, profile.warnings, profile.original, profile.path) == ("redis", (), True, FILE)
    assert profile.redis.url is None
    (pair,) = profile.pairs
    assert (pair.name, pair.base, pair.quote, pair.symbol) == ("BTC-USDT", "BTC", "USDT", "BTCUSDT")
    assert (pair.venue, pair.account, pair.follow) == ("binance", "main", BookKey("binance_spot", "BTCUSDT"))
    assert (pair.price_decimals, pair.qty_decimals, pair.shares_market) == (2, 5, True)
    near, far = pair.near, pair.far
    assert near is not None
    assert far is not None
    assert (near.interval_s, near.quote_timeout_s, near.strategy, near.side) == (3, 5, Strategy.MIRROR, LayerSide.BOTH)
    assert (near.buy_margin_bps, near.qty_multiplier, near.min_qty) == (5, Decimal("0.5"), Decimal("0.00001"))
    assert (near.ask_levels, near.bid_levels, near.max_amount, near.min_amount) == (5, 5, 2000, 5)
    assert (far.strategy, far.time_in_force) == (Strategy.SPREAD, TimeInForce.GTC)
    assert (near.diff_per_round_bps, far.diff_per_round_bps) == (1, 5)
    assert (near.force_refresh_num, far.force_refresh_num) == (100, 100)
    # What the file cannot say is mmctl's default.
    assert (pair.collar_bps, pair.max_open_orders, pair.frozen_after_s) == (1000, 200, 30)
    assert near.qty_tolerance == Decimal("0.5")


def test_the_start_file_has_every_key() -> None:
    assert sorted(GOOD) == sorted(KEYS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "p.json: not JSON: Expecting value (at line 1, column 1)"),
        ('[\n{"a" 1}]', "p.json: not JSON: Expecting ':' delimiter (at line 2, column 6)"),
        ("[]", "p.json: the list is empty"),
        ("{}", "p.json: a table is not a list"),
        ("5", "p.json: 5 is not a list"),
        ("[[]]", "p.json: entry 1: a list is not an object"),
        (f"[{'1' * 5000}]", "too many digits"),
        ("[1e99999999999999999999]", "too many digits"),
        ("[" * 100_000, "without end"),
    ],
)
def test_what_is_not_such_a_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(UsageError) as caught:
        load_profile("p.json", environ={}, cwd=tmp_path)
    assert said in caught.value.message


@pytest.mark.parametrize("key", [k for k in KEYS if k not in ("API KEY", "Secret", "Passphrase", "Position Side")])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    assert (
        refused(tmp_path, {key: GONE}).message
        == f'p.json: entry 1{"" if key == "Maker Symbol" else " (BTCUSDT)"}: "{key}": is missing'
    )


@pytest.mark.parametrize("key", ["API KEY", "Secret", "Passphrase", "Position Side"])
def test_what_may_be_left_out(tmp_path: Path, key: str) -> None:
    assert load(tmp_path, {key: GONE}).warnings == ()


def test_a_missing_key_names_its_misspelling(tmp_path: Path) -> None:
    error = refused(tmp_path, {"Near Interval": GONE, "Near Intervall": 3})
    assert (error.message, error.hint) == (
        'p.json: entry 1 (BTCUSDT): "Near Interval": is missing',
        'is it "Near Intervall"?',
    )


def test_an_unknown_key_warns_with_the_nearest(tmp_path: Path) -> None:
    assert load(tmp_path, {"Near Max Qty": "hunter2", "a\nb": 1}).warnings == (
        'p.json: entry 1 (BTCUSDT): "Near Max Qty": unknown key, not read; the nearest known key is "Near Min Qty"',
        'p.json: entry 1 (BTCUSDT): "a\\nb": unknown key, not read; the nearest known key is "Maker Symbol"',
    )


@pytest.mark.parametrize(
    ("change", "said", "hint"),
    [
        (
            {"Near Buy Price Margin": -5},
            '"Near Buy Price Margin": -5 is negative',
            "if 5 basis points outward are meant",
        ),
        (
            {"Near Sell Price Margin": "-0.5"},
            '"Near Sell Price Margin": -0.5 is negative',
            "moves bids up by a positive",
        ),
        ({"Far Buy Price Margin": -1}, '"Far Buy Price Margin": -1 is negative', "outward"),
        ({"Far Buy Price Margin": 0}, '"Far Buy Price Margin": 0 is no distance', "above 0"),
        ({"Far Sell Price Margin": "0.0"}, '"Far Sell Price Margin": 0 is no distance', "above 0"),
        ({"Far Sell Price Margin": 0, "Far Strategy": "mirror"}, '"Far Sell Price Margin": 0 is no distance', ""),
        ({"Near Buy Price Margin": 0, "Near Strategy": "SPREAD"}, '"Near Buy Price Margin": 0 is no margin', ""),
        ({"Near Buy Price Margin": "five"}, "\"Near Buy Price Margin\": 'five' is not a number", "basis points"),
        ({"Near Buy Price Margin": ""}, "\"Near Buy Price Margin\": '' is not a number", "basis points"),
        ({"Near Buy Price Margin": "NaN"}, "\"Near Buy Price Margin\": 'NaN' is not a number", "basis points"),
        ({"Near Buy Price Margin": "sNaN"}, "'sNaN' is not a number", "basis points"),
        ({"Near Buy Price Margin": float("nan")}, '"Near Buy Price Margin": NaN is not a finite number', "basis"),
        ({"Near Buy Price Margin": float("-inf")}, "-Infinity is not a finite number", "basis points"),
        ({"Near Buy Price Margin": True}, '"Near Buy Price Margin": true is not a number', "basis points"),
        ({"Near Buy Price Margin": None}, '"Near Buy Price Margin": null is not a number', "basis points"),
        ({"Near Buy Price Margin": [5]}, '"Near Buy Price Margin": a list is not a number', "basis points"),
        ({"Near Buy Price Margin": 5001}, '"Near Buy Price Margin": 5001 is out of bounds', "at most 5000"),
        ({"Near Interval": 0}, '"Near Interval": 0 is out of bounds', "at least 0.05"),
        ({"Far Interval": -1}, '"Far Interval": -1 is out of bounds', "seconds between rounds"),
        ({"Far Interval": "x"}, "\"Far Interval\": 'x' is not a number", "seconds"),
        ({"Near Quote Timeout": 0}, '"Near Quote Timeout": 0 is out of bounds', "seconds"),
        ({"Near Ask Size": 101}, '"Near Ask Size": 101 is out of bounds', "at most 100"),
        ({"Far Bid Size": "2.5"}, '"Far Bid Size": 2.5 is not a whole number', "number of bids"),
        ({"Near Qty Multiplier": 0}, '"Near Qty Multiplier": 0 is out of bounds', "factor"),
        ({"Near Max Amt Per Order": 0}, '"Near Max Amt Per Order": 0 is out of bounds', "above 0"),
        ({"Far Min Amt": -1}, '"Far Min Amt": -1 is out of bounds', "at least 0"),
        ({"Near Diff Per Round": -1}, '"Near Diff Per Round": -1 is out of bounds', "basis points"),
        ({"Force Refresh Num": -1}, '"Force Refresh Num": -1 is out of bounds', "rounds"),
        ({"Maker Price Decimals": 19}, '"Maker Price Decimals": 19 is out of bounds', "at most 18"),
        ({"Near Side": "LEFT"}, "\"Near Side\": 'LEFT' is not known", "BOTH, BID, ASK"),
        ({"Far TIF": "IOC"}, "\"Far TIF\": 'IOC' is not known", "GTC, GTX"),
        ({"Far Strategy": 5}, '"Far Strategy": 5 is not a word', "quotes"),
        ({"Maker Symbol": ""}, "\"Maker Symbol\": '' is not a word", "quotes"),
        ({"Maker Symbol": "BTC USDT"}, "\"Maker Symbol\": 'BTC USDT' is not one that can be", "letters"),
        ({"Follow Symbol": "*"}, "\"Follow Symbol\": '*' is not one that can be", "letters"),
        (
            {"Maker Exchange": "mtgox"},
            "'mtgox' is not a venue that mmctl knows",
            "known: binance_spot, binance_UMFuture,",
        ),
        ({"Follow Exchange": "mtgox"}, "'mtgox' is not an exchange that mmctl knows", "binance_future"),
        ({"Term type": "FUTURE"}, "\"Term type\": 'FUTURE' does not fit binance_spot", "write SPOT"),
        ({"Term type": "OPTION"}, "\"Term type\": 'OPTION' is not known", "SPOT, FUTURE"),
        ({"Maker Exchange": "okx_future"}, "\"Term type\": 'SPOT' does not fit okx_future", "write FUTURE"),
        ({"Position Side": "LONG"}, "\"Position Side\": 'LONG' on binance_spot: a spot venue has", "leave it empty"),
        (
            {"Maker Exchange": "okx_future", "Term type": "FUTURE", "Position Side": "UP"},
            "\"Position Side\": 'UP' is not known",
            "LONG, SHORT",
        ),
        ({"API KEY": {"k": "hunter2"}}, '"API KEY": the value is not text', "quotes"),
        ({"Secret": ["hunter2"]}, '"Secret": the value is not text', "quotes"),
    ],
)
def test_a_mistake_names_the_originals_key(tmp_path: Path, change: dict[str, Any], said: str, hint: str) -> None:
    error = refused(tmp_path, change)
    assert said in error.message
    assert error.message.startswith("p.json: entry 1")
    assert hint in error.hint


@pytest.mark.parametrize(
    ("maker", "term", "venue", "follow", "shared"),
    [
        ("binance_spot", "SPOT", "binance", "binance_spot", True),
        ("binance_UMFuture", "FUTURE", "binance_um_future", "binance_future", True),
        ("binance_portfolio_margin", "future", "binance_portfolio_margin", "binance_future", True),
        ("okx_spot", "Spot", "okx_spot", "okx_spot", True),
        ("okx_future", "FUTURE", "okx_future", "okx_future", True),
        ("bifu_spot", "SPOT", "bifu_spot", "bifu_spot", True),
        ("bifu_future", "FUTURE", "bifu_future", "bifu_future", True),
    ],
)
def test_exchanges(tmp_path: Path, maker: str, term: str, venue: str, follow: str, shared: bool) -> None:
    change = {"Maker Exchange": maker, "Term type": term, "Follow Exchange": maker}
    (pair,) = load(tmp_path, change).pairs
    assert (pair.venue, pair.follow.exchange, pair.shares_market) == (venue, follow, shared)
    (pair,) = load(tmp_path, {**change, "Follow Exchange": "binance_future", "Follow Symbol": "ETHUSDT"}).pairs
    assert (pair.follow, pair.shares_market) == (BookKey("binance_future", "ETHUSDT"), False)


@pytest.mark.parametrize(
    ("word", "side"),
    [("BOTH", "BOTH"), ("ASK", "ASK"), ("BID", "BID"), ("SELL", "ASK"), ("BUY", "BID"), ("sell", "ASK")],
)
def test_sides(tmp_path: Path, word: str, side: str) -> None:
    (pair,) = load(tmp_path, {"Near Side": word, "Far Side": word}).pairs
    assert pair.near is not None
    assert pair.far is not None
    assert pair.near.side == pair.far.side == LayerSide(side)


@pytest.mark.parametrize("word", ["spread", "SPREAD", "Spread"])
def test_strategies_in_any_case(tmp_path: Path, word: str) -> None:
    (pair,) = load(tmp_path, {"Near Strategy": word, "Far Strategy": word}).pairs
    assert [layer.strategy for layer in pair.layers] == [Strategy.SPREAD, Strategy.SPREAD]


@pytest.mark.parametrize("zero", [0, "0", 0.0, "0.0"])
def test_a_far_interval_of_zero_is_no_far_ladder(tmp_path: Path, zero: object) -> None:
    off = {"Far Interval": zero, "Far Buy Price Margin": 0, "Far Max Amt Per Order": 0}
    profile = load(tmp_path, off)
    assert (profile.pairs[0].far, profile.warnings) == (None, ())


@pytest.mark.parametrize(
    ("value", "as_bps"), [(0.0005, "5"), ("0.0005", "5"), (0.00999, "99.9"), (0.01, None), (0, None), (1, None)]
)
def test_what_looks_like_a_fraction_warns(tmp_path: Path, value: object, as_bps: str | None) -> None:
    warnings = load(tmp_path, {"Near Buy Price Margin": value, "Near Diff Per Round": 0}).warnings
    assert len(warnings) == (as_bps is not None)
    if as_bps:
        assert (
            f'"Near Buy Price Margin": {value} is read as {value} basis points and looks like a fraction' in warnings[0]
        )
        assert f"write {as_bps} (basis points)" in warnings[0]


def test_a_difference_not_below_the_margin_warns(tmp_path: Path) -> None:
    (warning,) = load(tmp_path, {"Far Diff Per Round": 20}).warnings
    assert '"Far Diff Per Round": 20 is not below the margin of 20 basis points' in warning


def test_a_position_side_warns(tmp_path: Path) -> None:
    change = {"Maker Exchange": "okx_future", "Term type": "FUTURE", "Position Side": "LONG"}
    (warning,) = load(tmp_path, change).warnings
    assert "\"Position Side\": 'LONG' is not used" in warning


@pytest.mark.parametrize(
    ("follow", "maker", "name", "base", "quote"),
    [
        ("ETHBTC", "XYZ", "ETH-BTC", "ETH", "BTC"),
        ("btcusdt", "BTCUSDC", "BTC-USDT", "BTC", "USDT"),
        ("BTC-USDT-SWAP", "BTCUSDT", "BTC-USDT", "BTC", "USDT"),
        ("ABCXYZ", "ABCXYZ", "ABCXYZ", "ABCXYZ", ""),
    ],
)
def test_names(tmp_path: Path, follow: str, maker: str, name: str, base: str, quote: str) -> None:
    (pair,) = load(tmp_path, {"Follow Symbol": follow, "Maker Symbol": maker}).pairs
    assert (pair.name, pair.base, pair.quote, pair.symbol, pair.follow.symbol) == (name, base, quote, maker, follow)


def test_each_set_of_keys_is_an_account(tmp_path: Path) -> None:
    keys = {"API KEY": "hunter2a", "Secret": "hunter2b"}
    profile = load(
        tmp_path,
        keys,
        {**keys, "Maker Symbol": "ETHUSDT"},
        {**keys, "API KEY": "hunter2c"},
        {**keys, "Maker Exchange": "okx_spot", "Passphrase": "hunter2d"},
    )
    assert [pair.account for pair in profile.pairs] == ["main", "main", "account-2", "account-3"]
    assert [account.venue for account in profile.accounts.values()] == ["binance", "binance", "okx_spot"]
    file_keys = profile.accounts["account-3"].keys
    assert file_keys is not None
    assert file_keys.passphrase.get_secret_value() == "hunter2d"
    assert "hunter2" not in repr(profile)


def test_half_a_pair_of_keys_is_not_used(tmp_path: Path) -> None:
    profile = load(tmp_path, {"API KEY": "hunter2"})
    assert profile.accounts["main"].keys is None
    assert '"API KEY": one of "API KEY" and "Secret" is empty' in profile.warnings[0]


def test_the_same_pair_twice_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, {}, {"Follow Symbol": "ETHUSDT"})
    assert error.message == (
        'p.json: entry 2 (BTCUSDT): "Maker Symbol": BTCUSDT on binance, account main, is made by two pairs, '
        "BTC-USDT and ETH-USDT"
    )
