"""An order's whole story, made from what the journal holds of it: why it was wanted, what was done, how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Literal

from mmctl.core.entries import Entry, Kind, Plain
from mmctl.core.instrument import plain

WANTED = ("layer", "side", "price", "qty", "level", "time_in_force", "epoch", "decision")
"""What an intent says of its order."""

TOLD_BY = {
    "ended": "the venue said so",
    "rejected": "the venue refused it",
    "fill": "its trades make it whole",
    "not_found": "the venue does not know it",
    "seen": "the venue showed it so",
}
"""What an end rests on, by the event that told it."""

Verdict = Literal["wanted", "keep", "cancel", "stop", ""]


@dataclass(frozen=True, slots=True)
class Chapter:
    """One thing that happened. A decision has a ``verdict`` on the order, and for a cancel its ``reason``; a stop has
    one too, and what its receipt says of the order.

    ``rounds`` decisions in a row had the same verdict, the last of them at ``until_ms``.
    """

    entry: Entry
    verdict: Verdict = ""
    reason: str = ""
    rounds: int = 1
    until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of one order, oldest first.

    ``wanted`` are its terms, as its intent (or, for one taken in, the venue) stated them; ``book`` is the book that
    it answered, ``None`` where its decision is not there. ``state`` is the last that was told of it, ``evidence`` what
    its end rests on.
    """

    client_id: str
    order_id: str
    venue: str
    account: str
    symbol: str
    wanted: Mapping[str, Plain]
    book: Mapping[str, Plain] | None
    filled: str
    state: str
    evidence: str
    chapters: tuple[Chapter, ...]


def told(client_id: str, entries: Sequence[Entry]) -> Story:
    """The story of the order ``client_id``: ``entries`` are its own, one at least, and decisions and stops that may
    name it.

    They stand in the order in which they were written.
    """
    own = [entry for entry in entries if entry.client_id == client_id]
    wanted = _terms(own)
    chapters = [
        chapter for entry in entries if (chapter := _chapter(entry, client_id, str(wanted.get("decision", ""))))
    ]
    answered = next((one.entry.body.get("book") for one in chapters if one.verdict == "wanted"), None)
    state, evidence = _state(own)
    return Story(
        client_id=client_id,
        order_id=next((entry.order_id for entry in own if entry.order_id), ""),
        venue=own[0].venue,
        account=own[0].account,
        symbol=own[0].symbol,
        wanted=wanted,
        book=answered if isinstance(answered, Mapping) else None,
        filled=_filled(own),
        state=state,
        evidence=evidence,
        chapters=tuple(_shortened(chapters)),
    )


def judgement(decision: Mapping[str, Plain], client_id: str) -> dict[str, Plain]:
    """What the body of a decision says of one order, without what it says of others."""
    body = {name: decision.get(name) for name in ("decision", "layer", "round", "forced")}
    body["keep"] = [client_id] if client_id in _list(decision.get("keep")) else []
    body["cancel"] = [one for one in _list(decision.get("cancel")) if _list(one)[:1] == [client_id]]
    return body


def evidence_of(end: Entry) -> str:
    """What an end rests on: who told it, and in which words."""
    told_by = str(end.body.get("told_by", ""))
    return ": ".join(filter(None, (TOLD_BY.get(told_by, told_by), str(end.body.get("evidence") or ""))))


def _terms(entries: Iterable[Entry]) -> dict[str, Plain]:
    for entry in entries:
        if entry.kind in (Kind.INTENT, Kind.ADOPTED) and "price" in entry.body:
            return {name: entry.body[name] for name in WANTED if name in entry.body}
    return {}


def _chapter(entry: Entry, client_id: str, answered: str) -> Chapter | None:
    """An entry of the order itself, or what a decision says of it, if anything."""
    if entry.client_id == client_id:
        return Chapter(entry)
    body = entry.body
    if entry.kind is Kind.STOP:
        said = [name for name in ("cancelled", "remaining") if client_id in _list(body.get(name))]
        return Chapter(entry, "stop", " and ".join(said)) if said else None
    if answered and body.get("decision") == answered:
        return Chapter(entry, "wanted")
    for one in _list(body.get("cancel")):
        parts = _list(one)
        if parts and parts[0] == client_id:
            return Chapter(entry, "cancel", str(parts[1]) if len(parts) > 1 else "")
    if client_id in _list(body.get("keep")):
        return Chapter(entry, "keep")
    return None


def _list(value: Plain) -> list[Plain]:
    return list(value) if isinstance(value, list | tuple) else []


def _shortened(chapters: Iterable[Chapter]) -> Iterator[Chapter]:
    """Rounds in a row that only kept the order, as one."""
    last: Chapter | None = None
    for one in chapters:
        if last is not None and last.verdict == one.verdict == "keep":
            last = replace(last, rounds=last.rounds + 1, until_ms=one.entry.at_ms)
            continue
        if last is not None:
            yield last
        last = replace(one, until_ms=one.entry.at_ms)
    if last is not None:
        yield last


def _filled(entries: Iterable[Entry]) -> str:
    """What its trades add up to, in base currency."""
    trades = {str(entry.body.get("trade_id")): entry.body.get("qty") for entry in entries if entry.kind is Kind.FILL}
    total = Decimal(0)
    for qty in trades.values():
        try:
            total += Decimal(str(qty))
        except InvalidOperation:
            return ""
    return plain(total)


def _state(entries: Iterable[Entry]) -> tuple[str, str]:
    """The last state that was told, and the evidence of an end."""
    state, evidence = "intended", ""
    for entry in entries:
        if entry.kind is Kind.END:
            state, evidence = str(entry.body.get("state", "ended")), evidence_of(entry)
        elif entry.kind is Kind.ADOPTED:
            state, evidence = "open", ""
        elif entry.kind is Kind.REPLY and not evidence and entry.body.get("state"):
            state = str(entry.body["state"])
        elif entry.kind is Kind.REQUEST and state == "intended":
            state = "in_flight"
    return state, evidence
