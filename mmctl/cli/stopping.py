"""``mmctl cancel-near``, ``cancel-all`` and ``resume``. None of them ever asks a question."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from mmctl.cli.options import DebugOption, Output, PairOption, PlainOutputOption, ProfileOption, duration_s
from mmctl.core.order import Layer

VenueOption = Annotated[str | None, typer.Option("--venue", help="Venue, instead of a profile: needs only keys.")]
AccountOption = Annotated[str | None, typer.Option("--account", help="Account, with --venue.")]
AllSymbolsOption = Annotated[bool, typer.Option("--all-symbols", help="Every symbol of the account.")]
DeadlineOption = Annotated[str, typer.Option("--deadline", help="Sweep at most this long.")]
NoHaltOption = Annotated[bool, typer.Option("--no-halt", help="Leave a running engine free to quote again.")]
WhyOption = Annotated[str, typer.Option("--why", help="Why, for whoever reads the halt.")]


def cancel_near(
    pair: PairOption = None,
    profile: ProfileOption = None,
    venue: VenueOption = None,
    account: AccountOption = None,
    all_symbols: AllSymbolsOption = False,
    deadline: DeadlineOption = "60s",
    no_halt: NoHaltOption = False,
    why: WhyOption = "cancel-near",
    output: PlainOutputOption = Output.TEXT,
    debug: DebugOption = False,
) -> int:
    """Emergency stop of the near ladder: halt it, cancel it, and list the venue until none is left.

    Far orders stay. Quoting of near goes on only after `mmctl resume`.

    \b
    Example:
      mmctl cancel-near --profile binance-spot --pair BTC-USDT
    """
    from mmctl.cli.stop import StopAsked, stop

    asked = StopAsked(
        layer=Layer.NEAR,
        pairs=tuple(pair or ()),
        profile=profile,
        venue=venue,
        account=account,
        all_symbols=all_symbols,
        deadline_s=duration_s(deadline, "--deadline") or 0.0,
        halt=not no_halt,
        why=why,
    )
    return asyncio.run(stop(asked, output))


def cancel_all(
    pair: PairOption = None,
    profile: ProfileOption = None,
    venue: VenueOption = None,
    account: AccountOption = None,
    all_symbols: AllSymbolsOption = False,
    deadline: DeadlineOption = "60s",
    no_halt: NoHaltOption = False,
    why: WhyOption = "cancel-all",
    output: PlainOutputOption = Output.TEXT,
    debug: DebugOption = False,
) -> int:
    """Stop everything: halt both ladders, cancel all own orders, and list the venue until none is left.

    \b
    Example:
      mmctl cancel-all --profile binance-spot
    """
    from mmctl.cli.stop import StopAsked, stop

    asked = StopAsked(
        layer=None,
        pairs=tuple(pair or ()),
        profile=profile,
        venue=venue,
        account=account,
        all_symbols=all_symbols,
        deadline_s=duration_s(deadline, "--deadline") or 0.0,
        halt=not no_halt,
        why=why,
    )
    return asyncio.run(stop(asked, output))


def resume(
    pair: PairOption = None,
    profile: ProfileOption = None,
    output: PlainOutputOption = Output.TEXT,
    debug: DebugOption = False,
) -> int:
    """Lift halts, by name: those of the pairs given, or all of the profile's.

    \b
    Example:
      mmctl resume --profile binance-spot --pair BTC-USDT
    """
    from mmctl.cli.stop import lift

    return lift(profile, tuple(pair or ()), output)


def add_to(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("cancel-near")(cancel_near)
    app.command("cancel-all")(cancel_all)
    app.command("resume")(resume)
