"""The options that verbs share, and how a command line becomes a ``Setup``."""

from __future__ import annotations

import os
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmctl.errors import UsageError

if TYPE_CHECKING:
    from mmctl.bootstrap import Setup


class Output(StrEnum):
    """How a verb shows what it does."""

    LIVE = "live"
    TEXT = "text"
    JSON = "json"


class FeedName(StrEnum):
    """Where books can come from."""

    REDIS = "redis"
    MOCK = "mock"
    BINANCE = "binance"


ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="Profile: a name or a path.  [default: $MMCTL_PROFILE, else default]")
]
PairOption = Annotated[
    list[str] | None,
    typer.Option("--pair", help="Pair of the profile, by name or symbol; may be repeated.  [default: all]"),
]
FeedOption = Annotated[FeedName | None, typer.Option("--feed", help="Where books come from.  [default: the profile's]")]
RedisOption = Annotated[
    str | None, typer.Option("--redis-url", help="redis://HOST:PORT/NUMBER.  [default: $MMCTL_REDIS_URL]")
]
OutputOption = Annotated[
    Output | None, typer.Option("--output", help="How to show it.  [default: live on a terminal, else text]")
]
PlainOutputOption = Annotated[Output, typer.Option("--output", help="How to show it.")]
NoColorOption = Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR does the same.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the trace of a fault.")]


def duration_s(text: str | None, option: str) -> float | None:
    """Seconds of ``30s``, ``5m``, ``1h`` or a bare number of seconds. Raises ``UsageError``."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)?", text.strip())
    seconds = float(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[found[2] or "s"] if found else 0.0
    if seconds <= 0:
        raise UsageError(f"{option} {text}: not a time above zero", "write 30s, 5m or 1h")
    return seconds


def note(line: str) -> None:
    """A line for the operator beside the verb's own output."""
    typer.echo(f"mmctl: {line}", err=True)


def resolved(output: Output | None, no_color: bool) -> Output:
    """The output asked for, or what fits where standard output goes. Honours ``--no-color``."""
    if no_color:
        os.environ["NO_COLOR"] = "1"
    if output is None:
        output = Output.LIVE if sys.stdout.isatty() else Output.TEXT
    if output is Output.LIVE and not sys.stdout.isatty():
        raise UsageError("--output live: standard output is not a terminal", "use --output text or json")
    return output


def make_setup(profile: str | None, pairs: list[str] | None, feed: FeedName | None, redis_url: str | None) -> Setup:
    """Load the profile and choose its pairs; warnings go to standard error. Raises ``UsageError``."""
    from mmctl.bootstrap import Setup, system_clock
    from mmctl.profile import load_profile, select_pairs
    from mmctl.settings import redis_url as chosen_url
    from mmctl.settings import state_dir, unknown_variables

    for warning in unknown_variables(os.environ):
        note(warning)
    loaded = load_profile(profile, environ=os.environ, cwd=Path.cwd())
    for warning in loaded.warnings:
        note(warning)
    url = chosen_url(redis_url, os.environ, loaded.redis.url)
    return Setup(
        profile=loaded,
        pairs=select_pairs(loaded, pairs or []),
        feed=(feed or loaded.feed),
        redis_url=None if url is None else url.get_secret_value(),
        state_dir=state_dir(os.environ),
        clock=system_clock(),
    )
