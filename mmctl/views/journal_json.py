"""The journal as JSON, version 1: an object a line. What stands in an entry goes out as it was written."""

from __future__ import annotations

import json

from mmctl.core.entries import Entry
from mmctl.core.story import Chapter, Story
from mmctl.views.jsonlines import VERSION

Fields = dict[str, object]


def entry(number: int, one: Entry, pair: str) -> str:
    """One entry: ``seq`` is its number in the journal, ``body`` what its kind says."""
    return _object("entry", {"seq": number, **({"pair": pair} if pair else {}), **_entry(one)})


def story(told: Story, pair: str) -> str:
    """An order and its story. What is not in the journal is ``null``."""
    terms = told.wanted
    fields: Fields = {"pair": pair, "client_id": told.client_id, "order_id": told.order_id or None}
    fields |= {"venue": told.venue, "account": told.account, "symbol": told.symbol}
    fields |= {name: terms.get(name) for name in ("layer", "side", "price", "qty", "level", "time_in_force", "epoch")}
    fields |= {"filled": told.filled or None, "state": told.state, "evidence": told.evidence or None}
    fields |= {"decision": terms.get("decision"), "book": told.book}
    return _object("explain", {**fields, "story": [_chapter(chapter) for chapter in told.chapters]})


def _chapter(chapter: Chapter) -> Fields:
    """An entry of the order's own, or what a decision or a stop says of it, without the rest of those."""
    one = chapter.entry
    if not chapter.verdict:
        return {"ts_ms": one.at_ms, "kind": one.kind.value, "body": one.body}
    body: Fields = {"verdict": chapter.verdict}
    if chapter.verdict == "stop":
        body |= {"by": one.body.get("by"), "proof": one.body.get("proof"), "receipt": chapter.reason}
        return {"ts_ms": one.at_ms, "kind": one.kind.value, "body": body}
    body |= {name: one.body.get(name) for name in ("decision", "layer", "round", "forced")}
    if chapter.verdict == "cancel":
        body["reason"] = chapter.reason
    if chapter.verdict == "keep":
        body |= {"rounds": chapter.rounds, "until_ms": chapter.until_ms}
    return {"ts_ms": one.at_ms, "kind": one.kind.value, "body": body}


def _entry(one: Entry) -> Fields:
    fields: Fields = {"ts_ms": one.at_ms, "kind": one.kind.value, "venue": one.venue, "account": one.account}
    optional = {"symbol": one.symbol, "client_id": one.client_id, "order_id": one.order_id}
    return fields | {name: value for name, value in optional.items() if value} | {"body": one.body}


def _object(event: str, fields: Fields) -> str:
    return json.dumps({"v": VERSION, "event": event, **fields}, separators=(",", ":"))
