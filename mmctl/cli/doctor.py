"""``mmctl doctor``: look at everything that quoting needs, and change nothing."""

from __future__ import annotations

import typer

from mmctl.cli.options import (
    DebugOption,
    FeedOption,
    NoColorOption,
    Output,
    PairOption,
    PlainOutputOption,
    ProfileOption,
    RedisOption,
    say,
)


def doctor(
    pair: PairOption = None,
    profile: ProfileOption = None,
    feed: FeedOption = None,
    redis_url: RedisOption = None,
    output: PlainOutputOption = Output.TEXT,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """Check that a profile can run.

    Looks at the profile, the environment, halts, the feed's books, and the venue: clock, key, filters, orders and
    balances. A line for each, with its mend. Places nothing and changes nothing.

    Ends with 0 if nothing failed; else with 2 for what the profile or the command line has wrong, 3 for the feed, 4
    for the venue: the highest of them.

    \b
    Example:
      mmctl doctor --profile sandbox
    """
    import asyncio

    from mmctl.cli.examine import Asked, examine
    from mmctl.views import checks

    as_json = output is Output.JSON
    asked = Asked(profile, tuple(pair or ()), None if feed is None else feed.value, redis_url, debug)
    one_line = checks.json_line if as_json else checks.line
    tally = asyncio.run(examine(asked, lambda check: say(one_line(check))))
    say((checks.json_last_line if as_json else checks.last_line)(tally))
    return tally.exit_code


def add_to(app: typer.Typer) -> None:
    """Add the verb of this file."""
    app.command("doctor")(doctor)
