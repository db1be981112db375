"""``mmctl cancel-near``, ``cancel-all`` and ``resume``. None of them ever asks a question."""

from __future__ import annotations

from typing import Annotated

import typer

from mmctl.cli.options import (
    DebugOption,
    NoColorOption,
    Output,
    PairOption,
    PlainOutputOption,
    ProfileOption,
    RedisOption,
    duration_s,
)
from mmctl.cli.plain import PlainCommand
from mmctl.core.order import Layer

VenueOption = Annotated[
    str | None, typer.Option("--venue", metavar="NAME", help="Venue, instead of a profile: needs only keys.")
]
AccountOption = Annotated[
    str | None, typer.Option("--account", metavar="NAME", help="Account, with --venue.  [default: main]")
]
AllSymbolsOption = Annotated[bool, typer.Option("--all-symbols", help="With --venue: every symbol.")]
DeadlineOption = Annotated[
    str,
    typer.Option("--deadline", metavar="TIME", help="Sweep at most this long; 0: one look, whose cancels are sent."),
]
ForeignOption = Annotated[bool, typer.Option("--include-foreign", help="Cancel orders too that are not mmctl's.")]
NoHaltOption = Annotated[bool, typer.Option("--no-halt", help="Leave a running engine free to quote again.")]
WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, for whoever reads the halt.")]


def cancel_near(
    pair: PairOption = None,
    profile: ProfileOption = None,
    venue: VenueOption = None,
    account: AccountOption = None,
    all_symbols: AllSymbolsOption = False,
    include_foreign: ForeignOption = False,
    deadline: DeadlineOption = "60s",
    no_halt: NoHaltOption = False,
    why: WhyOption = "cancel-near",
    redis_url: RedisOption = None,
    output: PlainOutputOption = Output.TEXT,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """Emergency stop of the near ladder.

    Halts it, cancels it, and lists the venue until none is left. Far orders stay. Quoting of near goes on only
    after `mmctl resume`.

    \b
    Example:
      mmctl cancel-near --profile binance-spot --pair BTC-USDT
    """
    scope = (tuple(pair or ()), profile, venue, account, all_symbols, redis_url)
    return _stop(Layer.NEAR, scope, include_foreign, deadline, not no_halt, why, output)


def cancel_all(
    pair: PairOption = None,
    profile: ProfileOption = None,
    venue: VenueOption = None,
    account: AccountOption = None,
    all_symbols: AllSymbolsOption = False,
    include_foreign: ForeignOption = False,
    deadline: DeadlineOption = "60s",
    no_halt: NoHaltOption = False,
    why: WhyOption = "cancel-all",
    redis_url: RedisOption = None,
    output: PlainOutputOption = Output.TEXT,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """Stop everything.

    Halts both ladders, cancels all own orders, and lists the venue until none is left.

    \b
    Example:
      mmctl cancel-all --profile binance-spot
    """
    scope = (tuple(pair or ()), profile, venue, account, all_symbols, redis_url)
    return _stop(None, scope, include_foreign, deadline, not no_halt, why, output)


def _stop(
    layer: Layer | None,
    scope: tuple[tuple[str, ...], str | None, str | None, str | None, bool, str | None],
    include_foreign: bool,
    deadline: str,
    halt: bool,
    why: str,
    output: Output,
) -> int:
    """Stop ``layer`` (both: ``None``) in the scope asked for; returns the exit code."""
    import asyncio

    from mmctl.cli.stop import stop
    from mmctl.cli.stop_targets import ScopeAsked, StopAsked

    asked = StopAsked(
        layer=layer,
        scope=ScopeAsked(*scope),
        deadline_s=duration_s(deadline, "--deadline", zero=True) or 0.0,
        halt=halt,
        why=why,
        include_foreign=include_foreign,
    )
    return asyncio.run(stop(asked, output))


def resume(
    pair: PairOption = None,
    profile: ProfileOption = None,
    venue: VenueOption = None,
    account: AccountOption = None,
    all_symbols: AllSymbolsOption = False,
    redis_url: RedisOption = None,
    output: PlainOutputOption = Output.TEXT,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """Lift halts, and name them.

    Those of the pairs given, or all of the profile's accounts.

    \b
    Example:
      mmctl resume --profile binance-spot --pair BTC-USDT
    """
    from mmctl.cli.lift import lift
    from mmctl.cli.stop_targets import ScopeAsked

    return lift(ScopeAsked(tuple(pair or ()), profile, venue, account, all_symbols, redis_url), output)


def add_to(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("cancel-near", cls=PlainCommand)(cancel_near)
    app.command("cancel-all", cls=PlainCommand)(cancel_all)
    app.command("resume", cls=PlainCommand)(resume)
