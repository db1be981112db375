"""``mmctl halt``, ``status`` and ``guard``: the operator's side of engines that run elsewhere."""

from __future__ import annotations

from enum import StrEnum
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
from mmctl.cli.stopping import AccountOption, AllSymbolsOption, VenueOption, WhyOption


class Layers(StrEnum):
    """Which ladders to halt."""

    NEAR = "near"
    FAR = "far"
    BOTH = "both"


AfterOption = Annotated[str, typer.Option("--after", metavar="TIME", help="How long an engine may be in trouble.")]
LayerOption = Annotated[Layers, typer.Option("--layer", help="Which ladder.")]


def halt(
    pair: PairOption = None,
    profile: ProfileOption = None,
    venue: VenueOption = None,
    account: AccountOption = None,
    all_symbols: AllSymbolsOption = False,
    layer: LayerOption = Layers.BOTH,
    why: WhyOption = "halt",
    redis_url: RedisOption = None,
    output: PlainOutputOption = Output.TEXT,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """Halt quoting, without asking the venue.

    Running engines cancel the halted ladder themselves. What a dead or hung engine left stays: cancel-near and
    cancel-all see to that. Ends with 1 where the halt does not stand everywhere it should.

    \b
    Example:
      mmctl halt --profile binance-spot --layer far --why "auction at 14:00"
    """
    import asyncio

    from mmctl.cli.halt_verb import HaltAsked
    from mmctl.cli.halt_verb import halt as set_halts
    from mmctl.cli.stop_targets import ScopeAsked
    from mmctl.core.order import Layer

    chosen = None if layer is Layers.BOTH else Layer(layer.value)
    scope = ScopeAsked(tuple(pair or ()), profile, venue, account, all_symbols, redis_url)
    return asyncio.run(set_halts(HaltAsked(chosen, scope, why), output))


def status(
    profile: ProfileOption = None,
    venue: VenueOption = None,
    account: AccountOption = None,
    redis_url: RedisOption = None,
    output: PlainOutputOption = Output.TEXT,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """Show engines, what they quote, and what is halted.

    Reads the state folder, and Redis where one is configured; asks no venue and needs no keys. Without a profile it
    shows all that is there. Ends with 0 where every engine is well and nothing is halted, else with 1.

    \b
    Example:
      mmctl status
    """
    from mmctl.cli.status import run
    from mmctl.cli.stop_targets import ScopeAsked

    return run(ScopeAsked((), profile, venue, account, venue is not None, redis_url), output)


def guard(
    profile: ProfileOption = None,
    venue: VenueOption = None,
    account: AccountOption = None,
    after: AfterOption = "10s",
    redis_url: RedisOption = None,
    output: PlainOutputOption = Output.TEXT,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """Stop what a hung or dead engine left.

    Watches a profile's engines. One that does not get on for so long, is dead, or cannot be seen, is halted and its
    account stopped as by cancel-all; the halt stays until `mmctl resume`. It needs the account's keys, and does not
    cover the death of its own host: let it run on another one, with Redis between them.

    \b
    Example:
      mmctl guard --profile binance-spot --after 10s
    """
    import asyncio

    from mmctl.cli.guarding import GuardAsked
    from mmctl.cli.guarding import guard as keep_guard
    from mmctl.cli.stop_targets import ScopeAsked

    scope = ScopeAsked((), profile, venue, account, venue is not None, redis_url)
    return asyncio.run(keep_guard(GuardAsked(scope, duration_s(after, "--after") or 0.0), output))


def add_to(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("halt", cls=PlainCommand)(halt)
    app.command("status", cls=PlainCommand)(status)
    app.command("guard", cls=PlainCommand)(guard)
