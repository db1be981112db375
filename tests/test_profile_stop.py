"""What a stop reads of a profile: the same as the loader where that is right, and as much as there is where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmctl.errors import UsageError
from mmctl.profile import load_profile
from mmctl.profile_stop import STRANGER_INTERVAL_S, StopProfile, read_stop_profile

ROOT = Path(__file__).parents[1]


def read(folder: Path, text: str, name: str = "p.toml") -> StopProfile:
    (folder / name).write_text(text)
    return read_stop_profile(str(folder / name), environ={}, cwd=folder)


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "profiles").glob("*.toml")), ROOT / "tests" / "test_mm_params_bn.json"]
)
def test_a_right_profile_says_the_same_as_to_the_loader(path: Path) -> None:
    whole = load_profile(str(path), environ={}, cwd=ROOT)
    ours = read_stop_profile(str(path), environ={}, cwd=ROOT)
    assert ours.faults == ()
    assert [(one.name, one.base, one.symbol, one.venue, one.account) for one in ours.pairs] == [
        (one.name, one.base, one.symbol, one.venue, one.account) for one in whole.pairs
    ]
    assert [one.interval_s for one in ours.pairs] == [max(on.interval_s for on in one.layers) for one in whole.pairs]
    assert [(one.name, one.venue, one.exclusive, one.rest_url) for one in ours.accounts.values()] == [
        (one.name, one.venue, one.exclusive, one.rest_url) for one in whole.accounts.values()
    ]


def test_mistakes_elsewhere_do_not_count(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
nonsense = [1, "a"]
feed = 7
[accounts.main]
venue = "binance"
exclusive = "yes"
rest_url = 3
colour = "red"
[defaults]
near = "on"
far = false
[pairs.BTC-USDT]
symbol = 5
collar_bps = "wide"
[pairs.ETH-USDT.near]
interval_s = "soon"
[pairs.SOL-USDT]
near = { interval_s = 2.5 }
far = { interval_s = 60 }
""",
    )
    account = found.accounts["main"]
    assert (account.exclusive, account.rest_url) == (False, None), "only what is surely said may end foreign orders"
    assert [(one.symbol, one.interval_s) for one in found.pairs] == [
        ("BTCUSDT", STRANGER_INTERVAL_S), ("ETHUSDT", STRANGER_INTERVAL_S), ("SOLUSDT", 60.0)
    ]  # fmt: skip
    assert not found.faults


TWO = '[accounts.a]\nvenue = "binance"\n[accounts.b]\nvenue = "binance"\n'


@pytest.mark.parametrize(
    ("text", "accounts", "faults"),
    [
        (TWO + '[pairs.BTC-USDT]\naccount = "b"\n', ["b"], 0),
        (TWO, ["a", "b"], 0),
        (TWO + '[pairs.BTC-USDT]\naccount = "c"\n', ["a", "b"], 0),
        (TWO + '[pairs.BTC-USDT]\naccount = "b"\n[accounts.d]\nvenue = "binnance"\n', ["b"], 1),
        (TWO + '[defaults]\naccount = "a"\n[pairs.BTC-USDT]\n', ["a"], 0),
    ],
    ids=["named", "no pairs", "a pair astray", "a venue misspelt", "by default"],
)
def test_whose_orders_are_unclear_counts_for_every_account(
    tmp_path: Path, text: str, accounts: list[str], faults: int
) -> None:
    found = read(tmp_path, text)
    assert [one.name for one in found.live_accounts()] == accounts
    assert len(found.faults) == faults


def test_keys_of_the_originals_file_are_never_shown(tmp_path: Path) -> None:
    text = '[{"Maker Exchange": "binance_spot", "Maker Symbol": "BTCUSDT", "API KEY": "k1", "Secret": "s1"}]'
    found = read(tmp_path, text, "p.json")
    assert found.accounts["main"].keys == ("k1", "s1")
    assert "k1" not in repr(found)
    assert "s1" not in repr(found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.toml", "[accounts\n"),
        ("p.toml", "a = 1\na = 2\n"),
        ("p.toml", '[accounts.a]\nvenue = "nowhere"\n'),
        ("p.json", "{"),
        ("p.json", "{}"),
        ("p.json", "[" * 100_000),
    ],
)
def test_where_nothing_can_be_read_the_other_way_is_named(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text, name)
    assert "--venue NAME --account NAME --all-symbols" in caught.value.hint
