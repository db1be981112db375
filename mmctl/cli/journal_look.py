"""How ``explain`` and ``journal`` look into the journal of the state folder, while engines may write to it."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from mmctl.cli.options import Output, say, warn_of_environment
from mmctl.core.order import decode_own_id
from mmctl.engine.journal_read import JournalReader, Wanted
from mmctl.engine.journal_schema import FILE_NAME
from mmctl.errors import EXIT_DONE, UsageError
from mmctl.markets import split_symbol
from mmctl.settings import state_dir
from mmctl.views import journal as as_text
from mmctl.views import journal_json as as_json


def explain_order(order: str, output: Output) -> int:
    """Show the story of ``order``, a client or venue order id. Raises ``UsageError`` where there is none."""
    with _opened() as reader:
        stories = reader.stories(order)
        if not stories:
            raise _unknown(order, reader.path)
    for number, story in enumerate(stories):
        if output is Output.JSON:
            say(as_json.story(story, _pair(story.symbol)))
        else:
            say(("\n" if number else "") + as_text.story(story))
    return EXIT_DONE


def list_entries(wanted: Wanted, since_s: float | None, output: Output) -> int:
    """List the entries that fit, the newest last."""
    if since_s is not None:
        wanted = replace(wanted, since_ms=time.time_ns() // 1_000_000 - round(since_s * 1000))
    with _opened() as reader:
        found = reader.entries(wanted)
    for number, entry in found:
        say(as_json.entry(number, entry, _pair(entry.symbol)) if output is Output.JSON else as_text.line(entry))
    return EXIT_DONE


def _opened() -> JournalReader:
    """The journal of the state folder. Raises ``UsageError`` where there is none, ``JournalUnwritable``."""
    warn_of_environment()
    path = state_dir(os.environ) / FILE_NAME
    if not path.exists():
        raise UsageError(f"there is no journal at {path}", "mmctl run writes it; MMCTL_STATE_DIR says in which folder")
    return JournalReader(path)


def _unknown(order: str, path: object) -> UsageError:
    own = decode_own_id(order)
    hint = "`mmctl journal` lists what it holds; give the whole client or venue order id"
    if own is None:
        return UsageError(f"the journal {path} does not know the order {order}", hint)
    says = f"by its id it is a {own.layer} {own.side}, number {own.sequence} of epoch {own.epoch}"
    return UsageError(
        f"the journal {path} does not know the order {order}; {says}",
        "older than what the journal keeps, or placed with another state folder",
    )


def _pair(symbol: str) -> str:
    """The pair's usual name: a journal knows symbols, not profiles."""
    assets = split_symbol(symbol) if symbol else None
    return "-".join(assets) if assets else symbol
