"""``mmctl run`` and ``mmctl dry-run``: the same loop on other venues."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
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
    count,
    duration_s,
    make_setup,
    resolved,
)
from mmctl.errors import EXIT_DONE

if TYPE_CHECKING:
    from mmctl.bootstrap import VenueChoice

RoundsOption = Annotated[
    str | None, typer.Option("--rounds", metavar="N", help="End after N near turns of every pair.")
]
ForOption = Annotated[str | None, typer.Option("--for", metavar="TIME", help="End after a time: 30s, 5m, 1h.")]
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
    """Make the market on the profile's own venue.

    Goes on until Ctrl-C or a limit. Places real orders where the profile's venue is real, and says so first. At
    the end all own orders are cancelled and the venue is listed until it shows none.

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
    """Make the market on a mock venue.

    The same loop as run, and nothing that could send an order.

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
    rounds: str | None,
    for_: str | None,
    leave_orders: bool,
    output: OutputOption,
    no_color: bool,
) -> int:
    with _nothing_to_stop_yet():
        import asyncio

        from mmctl.cli.session import quote
        from mmctl.engine.loop import Limits

        limits = Limits(rounds=count(rounds, "--rounds"), for_s=duration_s(for_, "--for"))
        shown = resolved(output, no_color)
        setup = make_setup(profile, pair, feed, redis_url)
        return asyncio.run(quote(setup, choice, limits, leave_orders=leave_orders, output=shown))


@contextlib.contextmanager
def _nothing_to_stop_yet() -> Iterator[None]:
    """Until the session handles signals, there is nothing to do but end; a hangup ignored stays so (``nohup``)."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(EXIT_DONE))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def add_to(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("run")(run)
    app.command("dry-run")(dry_run)
