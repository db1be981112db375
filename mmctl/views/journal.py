"""The journal for people, for 80 columns: a line an entry, and an order's story in order of time."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from mmctl.core.entries import Entry, Kind, Plain
from mmctl.core.story import Chapter, Story, evidence_of
from mmctl.views.text import clean, clock

WIDTH = 80
_INDENT = " " * 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day(at_ms: int) -> str:
    """The date in UTC; of a time that no calendar has, the number itself."""
    try:
        return (_EPOCH + timedelta(milliseconds=at_ms)).strftime("%Y-%m-%d")
    except OverflowError:
        return f"{at_ms} ms"


def line(entry: Entry) -> str:
    """One entry on one line, with its date: it goes through pipes."""
    about = " ".join(filter(None, (entry.symbol or entry.account, entry.client_id, entry.order_id)))
    return clean(f"{day(entry.at_ms)} {clock(entry.at_ms)} {entry.kind:<8} {about} {_said(entry)}".rstrip())


def story(told: Story) -> str:
    """The order, how it stands, and a line for each thing that happened, under the days on which it did."""
    return "\n".join(_story(told))


def _story(told: Story) -> Iterator[str]:
    number = f", order {told.order_id} there" if told.order_id else ""
    yield from _wrapped(f"{told.client_id} on {told.venue}, account {told.account}, {told.symbol}{number}", "  ")
    terms = told.wanted
    if terms:
        level = f", level {terms['level']}" if "level" in terms else ""
        tif = f", {terms['time_in_force']}" if "time_in_force" in terms else ""
        text = f"{terms.get('layer')} {terms.get('side')} {terms.get('qty')} at {terms.get('price')}"
        yield from _wrapped(f"  {text}{level}{tif}, epoch {terms.get('epoch')}", "    ")
    else:
        yield "  its intent is not in the journal (any more)"
    because = f": {told.evidence}" if told.evidence else ""
    yield from _wrapped(f"  {told.state}{because}; filled {told.filled or 'not known'}", "    ")
    if terms.get("decision") and told.book is None:
        yield "  the decision it came from is not in the journal (any more)"
    shown = ""
    for chapter in told.chapters:
        if (on := day(chapter.entry.at_ms)) != shown:
            yield f"{on} UTC"
            shown = on
        label, text = _chapter(chapter, told)
        yield from _wrapped(f"{clock(chapter.entry.at_ms)} {label:<10} {text}", _INDENT)


def _chapter(chapter: Chapter, told: Story) -> tuple[str, str]:
    """What happened, in a word and in a few."""
    entry = chapter.entry
    if chapter.verdict == "":
        return entry.kind.value, _said(entry)
    body = entry.body
    if chapter.verdict == "stop":
        proof = f", proof {body.get('proof')}"
        return "stop", f"by {body.get('by')}{proof}: its receipt says {chapter.reason}"
    by = f"by decision {body.get('decision')}, round {body.get('round')} of {body.get('layer')}"
    if body.get("forced"):
        by += ", forced"
    if chapter.verdict == "wanted":
        level = told.wanted.get("level")
        return "wanted", f"{by}, at level {level}{_of_how_many(body, told)}{_book(told.book)}"
    if chapter.verdict == "cancel":
        return "let go", f"{by}: {chapter.reason}"
    more = f"; in {chapter.rounds} rounds, the last at {clock(chapter.until_ms)}" if chapter.rounds > 1 else ""
    return "kept", by + more


def _of_how_many(body: Mapping[str, Plain], told: Story) -> str:
    target = body.get("target")
    if not isinstance(target, Sequence):
        return ""
    side = told.wanted.get("side")
    same = [one for one in target if isinstance(one, Sequence) and one[:1] == [side]]
    return f", one of {len(same)} on its side"


def _book(book: Mapping[str, Plain] | None) -> str:
    if book is None:
        return ""
    return (
        f"; it answers the book of {book.get('source')}: bid {book.get('bid')}, ask {book.get('ask')},"
        f" {book.get('age_ms')} ms old, digest {book.get('digest')}"
    )


def _said(entry: Entry) -> str:
    """What an entry says, in words."""
    body = entry.body
    match entry.kind:
        case Kind.INTENT:
            text = f"{body.get('layer')} {body.get('side')} {body.get('qty')} at {body.get('price')}"
            return f"{text}, decision {body.get('decision')}"
        case Kind.REQUEST:
            return _joined(f"{body.get('request')}", body.get("reason"))
        case Kind.REPLY:
            state = f", now {body['state']}" if body.get("state") else ""
            return _joined(f"{body.get('event')}{state}", body.get("detail"))
        case Kind.FILL:
            role = "maker" if body.get("maker") else "taker"
            text = f"{body.get('side')} {body.get('qty')} at {body.get('price')}, {role}"
            return f"{text}, fee {body.get('fee')} {body.get('fee_asset')}, trade {body.get('trade_id')}"
        case Kind.END:
            return _joined(f"{body.get('state')}", evidence_of(entry))
        case Kind.DECISION:
            counts = ", ".join(f"{name} {_count(body.get(name))}" for name in ("target", "keep", "cancel", "refused"))
            return f"{body.get('decision')} {body.get('layer')}: {counts}{_book_in_short(body.get('book'))}"
        case Kind.FAULT:
            return _joined(f"{body.get('kind')}: {body.get('detail')}", body.get("action"), " -> ")
    return _fields(body)


def _book_in_short(book: Plain) -> str:
    return f", bid {book.get('bid')} ask {book.get('ask')}" if isinstance(book, Mapping) else ""


def _count(value: Plain) -> str:
    return str(len(value)) if isinstance(value, Sequence) and not isinstance(value, str) else "-"


def _joined(text: str, more: Plain, mark: str = ": ") -> str:
    return f"{text}{mark}{more}" if more not in (None, "") else text


def _fields(body: Mapping[str, Plain]) -> str:
    """Any other body: its fields by name."""
    return ", ".join(f"{name} {_plain(value)}" for name, value in body.items() if value not in ("", [], {}))


def _plain(value: Plain) -> str:
    if value is None:
        return "not known"
    if isinstance(value, Mapping):
        return f"({_fields(value)})"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + " ".join(map(_plain, value)) + "]"
    return str(value)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(clean(text), WIDTH, subsequent_indent=indent, drop_whitespace=True) or [""]
