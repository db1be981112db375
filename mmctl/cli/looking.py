"""``mmctl show-book`` and ``mmctl diff``: look, and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mmctl.cli.options import (
    DebugOption,
    FeedOption,
    NoColorOption,
    Output,
    OutputOption,
    PairOption,
    ProfileOption,
    RedisOption,
    make_setup,
    resolved,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mmctl.bootstrap import Setup


def show_book(
    pair: PairOption = None,
    profile: ProfileOption = None,
    feed: FeedOption = None,
    redis_url: RedisOption = None,
    output: OutputOption = None,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """Show the book with own orders beside it.

    Reads the feed first (ends with 3 if it has no book), then the venue (4 if it cannot be read).

    \b
    Example:
      mmctl show-book --pair BTC-USDT
    """
    from mmctl.cli.look import show_books

    return _look(show_books, pair, profile, feed, redis_url, output, no_color)


def diff(
    pair: PairOption = None,
    profile: ProfileOption = None,
    feed: FeedOption = None,
    redis_url: RedisOption = None,
    output: OutputOption = None,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """Show what a round would change now.

    Ends with 0 if nothing would change, 1 if something would, 3 without a usable book.

    \b
    Example:
      mmctl diff --pair BTC-USDT
    """
    from mmctl.cli.look import show_plans

    return _look(show_plans, pair, profile, feed, redis_url, output, no_color)


def _look(
    show: Callable[[Setup, Output], Awaitable[int]],
    pair: list[str] | None,
    profile: str | None,
    feed: FeedOption,
    redis_url: str | None,
    output: Output | None,
    no_color: bool,
) -> int:
    import asyncio

    shown = resolved(output, no_color)
    setup = make_setup(profile, pair, feed, redis_url)

    async def looked() -> int:
        return await show(setup, shown)

    return asyncio.run(looked())


def add_to(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("show-book")(show_book)
    app.command("diff")(diff)
