"""``mmctl run`` and ``mmctl dry-run``: the same loop on other venues."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from mmctl.cli.options import (
    DebugOption,
    FeedOption,
    NoColorOption,
    OutputOption,
    PairOption,
    ProfileOption,
    RedisOption,
    duration_s,
    make_setup,
    resolved,
)

if TYPE_CHECKING:
    from mmctl.bootstrap import VenueChoice

RoundsOption = Annotated[int | None, typer.Option("--rounds", min=1, help="End after N near turns of every pair.")]
ForOption = Annotated[str | None, typer.Option("--for", help="End after a time: 30s, 5m, 1h.")]
LeaveOption = Annotated[bool, typer.Option("--leave-orders", help="Leave own orders standing at the end.")]


def run(
    pair: PairOption = None,
    profile: ProfileOption = None,
    feed: FeedOption = None,
    redis_url: RedisOption = None,
    rounds: RoundsOption = None,
    for_: ForOption = None,
    leave_orders: LeaveOption = False,
    output: OutputOption = None,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """Make the market on the profile's own venue, until Ctrl-C or a limit.

    Places real orders where the profile's venue is real, and says so first. At the end all own orders are
    cancelled and the venue is listed until it shows none.

    \b
    Example:
      mmctl run --pair BTC-USDT --for 30s
    """
    from mmctl.bootstrap import own_venues

    return _quote(own_venues, pair, profile, feed, redis_url, rounds, for_, leave_orders, output, no_color)


def dry_run(
    pair: PairOption = None,
    profile: ProfileOption = None,
    feed: FeedOption = None,
    redis_url: RedisOption = None,
    rounds: RoundsOption = None,
    for_: ForOption = None,
    output: OutputOption = None,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """Make the market on a mock venue: the same loop, and nothing that could send an order.

    \b
    Example:
      mmctl dry-run --pair BTC-USDT --rounds 5 --output json
    """
    from mmctl.bootstrap import stand_ins

    return _quote(stand_ins, pair, profile, feed, redis_url, rounds, for_, False, output, no_color)


def _quote(
    choice: VenueChoice,
    pair: list[str] | None,
    profile: str | None,
    feed: FeedOption,
    redis_url: str | None,
    rounds: int | None,
    for_: str | None,
    leave_orders: bool,
    output: OutputOption,
    no_color: bool,
) -> int:
    from mmctl.cli.session import quote
    from mmctl.engine.loop import Limits

    limits = Limits(rounds=rounds, for_s=duration_s(for_, "--for"))
    shown = resolved(output, no_color)
    setup = make_setup(profile, pair, feed, redis_url)
    return asyncio.run(quote(setup, choice, limits, leave_orders=leave_orders, output=shown))


def add_to(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("run")(run)
    app.command("dry-run")(dry_run)
