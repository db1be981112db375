"""The options that verbs share, and how a command line becomes a ``Setup``."""

from __future__ import annotations

import contextlib
import errno
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
    from mmctl.profile import Profile

GONE = (errno.EPIPE, errno.EIO)
"""What writing fails with where the reader or the terminal has gone."""

NOT_DRAWABLE = ("", "dumb", "unknown")
"""Values of TERM of terminals that cannot move their cursor."""


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
    str | None,
    typer.Option("--profile", metavar="NAME|PATH", help="The profile.  [default: $MMCTL_PROFILE, else default]"),
]
PairOption = Annotated[
    list[str] | None,
    typer.Option("--pair", metavar="PAIR", help="By name or symbol; may be repeated.  [default: all]"),
]
FeedOption = Annotated[FeedName | None, typer.Option("--feed", help="Where books come from.  [default: the profile's]")]
RedisOption = Annotated[
    str | None,
    typer.Option("--redis-url", metavar="URL", help="redis://HOST:PORT/NUMBER.  [default: $MMCTL_REDIS_URL]"),
]
OutputOption = Annotated[
    Output | None, typer.Option("--output", help="How to show it.  [default: live on a terminal, else text]")
]
PlainOutputOption = Annotated[Output, typer.Option("--output", help="How to show it.")]
NoColorOption = Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR does the same.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the trace of a fault.")]


def duration_s(text: str | None, option: str, *, zero: bool = False) -> float | None:
    """Seconds of ``30s``, ``5m``, ``1h`` or a bare number of seconds, ``zero`` too. Raises ``UsageError``."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)?", text.strip())
    seconds = float(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[found[2] or "s"] if found else 0.0
    if seconds <= 0 and not (zero and found):
        raise UsageError(f"{option} {text}: not a time above zero", "write 30s, 5m or 1h")
    return seconds


def count(text: str | None, option: str) -> int | None:
    """A whole number from 1 up. Raises ``UsageError``."""
    if text is None:
        return None
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text.strip()):
        raise UsageError(f"{option} {text}: not a whole number above zero", f"write {option} 5")
    return int(text)


def say(text: str, *, err: bool = False) -> None:
    """Write lines out; that the reader has gone (``| head``, a lost terminal) changes nothing of what a verb does."""
    try:
        typer.echo(text, err=err)
    except OSError as error:
        if not err and error.errno not in GONE:
            raise
        silence(sys.stderr if err else sys.stdout)


def note(line: str) -> None:
    """A line for the operator beside the verb's own output.

    It may tell of what came from a venue or from Redis: nothing in it moves a cursor or colours the terminal.
    """
    if not line.isprintable():
        line = "".join(each if each.isprintable() or each == "\n" else " " for each in line)
    say(f"mmctl: {line}", err=True)


def silence(stream: object) -> None:
    """Point a stream whose reader has gone at nothing, so that no later flush fails."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())  # type: ignore[attr-defined]
        os.close(nothing)


def resolved(output: Output | None, no_color: bool) -> Output:
    """The output asked for, or what fits where standard output goes. Honours ``--no-color``."""
    if no_color:
        os.environ["NO_COLOR"] = "1"
    terminal, kind = sys.stdout.isatty(), os.environ.get("TERM", "")
    drawable = terminal and kind not in NOT_DRAWABLE
    if output is None:
        return Output.LIVE if drawable else Output.TEXT
    if output is Output.LIVE and not drawable:
        said = f"a terminal of kind {kind!r} cannot be drawn on" if terminal else "standard output is not a terminal"
        raise UsageError(f"--output live: {said}", "use --output text or json")
    return output


def load(profile: str | None) -> Profile:
    """Load a profile; its warnings, and those about the environment, go to standard error. Raises ``UsageError``."""
    from mmctl.profile import load_profile

    warn_of_environment()
    loaded = load_profile(profile, environ=os.environ, cwd=Path.cwd())
    for warning in loaded.warnings:
        note(warning)
    return loaded


def warn_of_environment() -> None:
    """A misspelt variable may mean another state folder: that is said whatever the verb."""
    from mmctl.settings import unknown_variables

    for warning in unknown_variables(os.environ):
        note(warning)


def make_setup(profile: str | None, pairs: list[str] | None, feed: FeedName | None, redis_url: str | None) -> Setup:
    """Load the profile and choose its pairs; warnings go to standard error. Raises ``UsageError``."""
    from mmctl.bootstrap import Setup, system_clock
    from mmctl.profile import select_pairs
    from mmctl.settings import redis_url as chosen_url
    from mmctl.settings import state_dir

    loaded = load(profile)
    url = chosen_url(redis_url, os.environ, loaded.redis.url)
    return Setup(
        profile=loaded,
        pairs=select_pairs(loaded, pairs or []),
        feed=loaded.feed if feed is None else feed.value,
        redis_url=None if url is None else url.get_secret_value(),
        state_dir=state_dir(os.environ),
        clock=system_clock(),
    )
