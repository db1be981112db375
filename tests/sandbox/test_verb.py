"""``mmctl sandbox``: it starts quickly, tells where it is, and ends cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from typing import Any
from urllib.request import urlopen

import pytest

from mmctl.cli.sandbox import _options
from mmctl.errors import UsageError
from mmctl.sandbox.options import STANDARD_BALANCES
from mmctl.wire.sandbox_keys import SANDBOX_KEY

STARTED_WITHIN_S = 30.0
"""The measure is under a second; a busy machine gets more."""

RUN = (
    "import sys, typer; from mmctl.cli import sandbox; app = typer.Typer(); app.callback()(lambda: None);"
    "sandbox.add_to(app); sys.exit(app(sys.argv[1:], standalone_mode=False))"
)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, "sandbox", "--port", "0", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_tells_its_addresses_and_ends_cleanly(number: signal.Signals, code: int) -> None:
    began = time.monotonic()
    with start("--output", "json") as process:
        assert process.stdout is not None
        said: dict[str, Any] = json.loads(process.stdout.readline())
        assert time.monotonic() - began < STARTED_WITHIN_S
        assert (said["v"], said["event"], said["api_key"]) == (1, "sandbox", SANDBOX_KEY)
        with urlopen(said["rest_url"] + "/api/v3/depth?symbol=BTCUSDT") as reply:
            assert json.load(reply)["bids"]
        with urlopen(said["control_url"] + "/state") as reply:
            assert json.load(reply)["placed"] == 0
        process.send_signal(number)
        out, err = process.communicate(timeout=STARTED_WITHIN_S)
        assert (process.returncode, out, err) == (code, "", "")


def test_as_text_it_can_be_pasted_into_a_shell() -> None:
    with start() as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(7)]
        process.terminate()
        process.communicate(timeout=STARTED_WITHIN_S)
    assert f"  MMCTL_BINANCE_API_KEY={SANDBOX_KEY}\n" in lines


def test_options_become_a_sandbox() -> None:
    options = _options(None, 7, "ETH-USDT, btcusdt", "still", ["BTCUSDT=a.gz", "b.gz"], "off", 5, None, ["drop=0.5"])
    assert (options.port, options.control_port) == (18740, 18741)
    assert [spec.symbol for spec in options.symbols] == ["ETHUSDT", "BTCUSDT"]
    assert {name: [str(path) for path in paths] for name, paths in options.recordings.items()} == {
        "BTCUSDT": ["a.gz"], "ETHUSDT": ["b.gz"]
    }  # fmt: skip
    assert options.faults == {"drop": 0.5}
    assert _options(9000, 1, "BTCUSDT", "moving", [], "off", 5, None, []).control_port == 9001


@pytest.mark.parametrize(
    ("name", "parts", "tick", "lot"),
    [
        ("AAA-USDT", ("AAA", "USDT"), "0.01", "0.001"),
        ("b07usdc", ("B07", "USDC"), "0.01", "0.001"),
        ("ETHBTC", ("ETH", "BTC"), "0.000001", "0.01"),
        ("BTCUSDC", ("BTC", "USDC"), "0.01", "0.00001"),
        ("DOGEBTC", ("DOGE", "BTC"), "0.00000001", "1"),
    ],
)
def test_any_symbol_can_be_listed_and_every_account_has_something_of_it(
    name: str, parts: tuple[str, str], tick: str, lot: str
) -> None:
    options = _options(0, 1, f"BTCUSDT,{name}", "moving", [], "off", 200, None, [])
    spec = options.symbols[1]
    assert (spec.base, spec.quote, spec.tick_size, spec.lot_size) == (*parts, Decimal(tick), Decimal(lot))
    assert spec.min_price <= spec.start_price / 100
    assert spec.start_price * 10 <= spec.max_price
    assert spec.lot_size * spec.start_price < spec.min_notional < spec.max_qty * spec.start_price
    for account in options.accounts:
        assert account.balances["BTC"] == STANDARD_BALANCES["BTC"]
        assert account.balances[spec.base] * spec.start_price > 100 * spec.min_notional
        assert account.balances[spec.quote] > 100 * spec.min_notional


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"symbols": "NOPE"}, "--symbols NOPE"),
        ({"symbols": "USDT"}, "--symbols USDT"),
        ({"symbols": ","}, "--symbols"),
        ({"market": "wild"}, "--market wild"),
        ({"recordings": ["XRPUSDT=a.gz"]}, "--recording XRPUSDT=a.gz"),
        ({"faults": ["drop"]}, "--fault drop"),
    ],
)
def test_wrong_usage(wrong: dict[str, Any], said: str) -> None:
    given = {
        "port": 0, "seed": 1, "symbols": "BTCUSDT", "market": "still", "recordings": [], "limits": "off",
        "open_order_cap": 5, "publish": None, "faults": [],
    }  # fmt: skip
    with pytest.raises(UsageError, match=said):
        _options(**given | wrong)
