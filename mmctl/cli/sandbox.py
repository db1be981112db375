"""``mmctl sandbox``: a local exchange to practise on."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmctl.cli.options import DebugOption, Output, PlainOutputOption
from mmctl.errors import UsageError

if TYPE_CHECKING:
    from mmctl.sandbox.options import SandboxOptions

PortOption = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=0,
        max=65534,
        metavar="PORT",
        help="Its port; control is the next. 0: free ones.  [default: 18740]",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="The same seed moves the market the same way.")]
SymbolsOption = Annotated[
    str, typer.Option("--symbols", metavar="LIST", help="Symbols, with commas between; any BASEQUOTE.")
]
MarketOption = Annotated[
    str, typer.Option("--market", metavar="KIND", help="The other traders: moving, still or empty.")
]
RecordingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--recording",
        metavar="[SYMBOL=]FILE",
        help="[SYMBOL=]FILE of recorded books or trades to play; may be repeated.",
    ),
]
LimitsOption = Annotated[
    str, typer.Option("--limits", metavar="WHICH", help="Rate limits: binance, off, or a JSON file.")
]
CapOption = Annotated[
    int, typer.Option("--open-order-cap", min=1, metavar="N", help="Open orders that a symbol may have.")
]
PublishOption = Annotated[
    str | None,
    typer.Option("--publish", metavar="URL", help="Write the books to this Redis too: redis://HOST:PORT/NUMBER."),
]
FaultOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fault", metavar="NAME=VALUE", help="NAME=VALUE, such as reply_lost=0.01 or latency_ms=20; may be repeated."
    ),
]


def sandbox(
    port: PortOption = None,
    seed: SeedOption = 1,
    symbols: SymbolsOption = "BTCUSDT,ETHUSDT",
    market: MarketOption = "moving",
    recording: RecordingOption = None,
    limits: LimitsOption = "binance",
    open_order_cap: CapOption = 200,
    publish: PublishOption = None,
    fault: FaultOption = None,
    output: PlainOutputOption = Output.TEXT,
    debug: DebugOption = False,
) -> int:
    """Run a local exchange to practise on.

    It speaks Binance spot's protocol, with play money, and listens on 127.0.0.1 only.

    \b
    Examples:
      mmctl sandbox --seed 7
      mmctl sandbox --fault latency_ms=20 --fault reply_lost=0.01
    """
    import asyncio

    from mmctl.cli.sandbox_run import serve

    options = _options(port, seed, symbols, market, recording or [], limits, open_order_cap, publish, fault or [])
    return asyncio.run(serve(options, output))


def _options(
    port: int | None,
    seed: int,
    symbols: str,
    market: str,
    recordings: list[str],
    limits: str,
    open_order_cap: int,
    publish: str | None,
    faults: list[str],
) -> SandboxOptions:
    from mmctl.sandbox.options import (
        CONTROL_PORT,
        EXCHANGE_PORT,
        STANDARD_ACCOUNTS,
        MarketKind,
        SandboxOptions,
        funded,
        symbol_named,
    )

    specs = {spec.symbol: spec for name in symbols.split(",") if name.strip() for spec in [symbol_named(name)]}
    if not specs:
        raise UsageError("--symbols: there is none", "such as BTCUSDT,ETHUSDT")
    if market not in tuple(MarketKind):
        raise UsageError(f"--market {market}: no such market", ", ".join(MarketKind))
    played: dict[str, tuple[Path, ...]] = {}
    for text in recordings:
        symbol, path = _recording(text, next(iter(specs)))
        if symbol not in specs:
            raise UsageError(f"--recording {text}: {symbol} is not one of --symbols", ", ".join(specs))
        played[symbol] = (*played.get(symbol, ()), path)
    # A sandbox that is started anew has new accounts, whose numbers nobody has seen before.
    started_s = int(time.time())
    accounts = [replace(one, uid=started_s * 10_000 + one.uid) for one in funded(STANDARD_ACCOUNTS, specs.values())]
    return SandboxOptions(
        port=EXCHANGE_PORT if port is None else port,
        control_port=CONTROL_PORT if port is None else port + 1 if port else 0,
        seed=seed,
        symbols=tuple(specs.values()),
        accounts=tuple(accounts),
        market=MarketKind(market),
        recordings=played,
        limits=limits,
        open_order_cap=open_order_cap,
        publish=publish,
        faults=dict(_fault(text) for text in faults),
    )


def _recording(text: str, default: str) -> tuple[str, Path]:
    symbol, mark, path = text.partition("=")
    return (symbol.upper(), Path(path)) if mark else (default, Path(text))


def _fault(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise UsageError(f"--fault {text}: not NAME=VALUE", "such as reply_lost=0.01") from None


def add_to(app: typer.Typer) -> None:
    """Add the verb of this file."""
    app.command("sandbox")(sandbox)
