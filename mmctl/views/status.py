"""``mmctl status`` in words and as JSON, and what ``halt`` and ``guard`` say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmctl.core.report import EngineSeen
from mmctl.core.status import EngineShown, GuardTold, HaltShown, LayerShown, PairShown, Status
from mmctl.views.jsonlines import line
from mmctl.views.text import clean, clock


def text(status: Status) -> str:
    """Engines by account, then what is halted, then what could not be read."""
    return "\n".join(map(clean, _lines(status)))


def as_json(status: Status) -> str:
    """The line of ``status``. A list of which a part could not be read is ``null`` where nothing else is known."""
    fields = {
        "engines": [_engine(one) for one in status.engines] or (None if status.unread else []),
        "halts": [halt(one) for one in status.halts] or (None if status.unread else []),
    }
    return line("status", fields | ({"unread": "; ".join(status.unread)} if status.unread else {}))


def halted(status: str, halts: Sequence[HaltShown], engines: Sequence[EngineSeen]) -> str:
    """What ``halt`` set, and which engines have said that they saw it. ``status`` is ``set`` or ``failed``."""
    lines = [one.text if status == "set" else f"not everywhere: {one.text}" for one in halts]
    lines += [f"{one.name}: {one.state.replace('_', ' ')}" for one in engines] or ["no engine known"]
    return "\n".join(map(clean, lines))


def halted_json(status: str, halts: Sequence[HaltShown], engines: Sequence[EngineSeen]) -> str:
    """The line of ``halt``."""
    seen = [{"name": one.name, "epoch": one.epoch, "state": one.state} for one in engines]
    return line("halted", {"halt": status, "halts": [halt(one) for one in halts], "engines": seen})


def guard(told: GuardTold) -> str:
    """A line of ``guard``."""
    kind = told.kind.replace("_", " ")
    return clean(f"{clock(told.ts_ms)} {told.venue} account {told.account}: {kind}: {told.detail}")


def guard_json(told: GuardTold) -> str:
    """A line of ``guard`` as JSON."""
    names = ("ts_ms", "kind", "venue", "account", "engine", "epoch", "detail")
    return line("guard", {name: getattr(told, name) for name in names})


def halt(one: HaltShown) -> dict[str, object]:
    """A halt as an object."""
    names = ("uid", "venue", "account", "symbol", "layer", "by", "at_ms", "why")
    return {name: getattr(one, name) for name in names}


def age(age_ms: float | None) -> str:
    """An age for people."""
    if age_ms is None:
        return "unknown"
    seconds = age_ms / 1000
    for unit, most in (("s", 120), ("m", 120), ("h", 48)):
        if seconds < most:
            return f"{seconds:.1f}{unit}" if unit == "s" else f"{seconds:.0f}{unit}"
        seconds /= 60 if unit in "sm" else 24
    return f"{seconds:.0f}d"


def _lines(status: Status) -> Iterator[str]:
    known = [*((one.venue, one.account) for one in status.engines), *((one.venue, one.account) for one in status.halts)]
    accounts = dict.fromkeys(known)
    for venue, account in accounts:
        yield f"{venue} account {account}"
        own = (venue, account)
        engines = [one for one in status.engines if (one.venue, one.account) == own]
        for one in engines:
            yield from _engine_lines(one)
        if not engines:
            yield "  no engine can be seen" if status.unread else "  no engine known"
        for each in status.halts:
            if (each.venue, each.account) == own:
                yield f"  {each.text}"
    if not status.engines and not status.unread and not accounts:
        yield "no engine known"
    if not status.halts:
        yield "no halt is known" if status.unread else "nothing is halted"
    for fault in status.unread:
        yield f"not read: {fault}"


def _engine_lines(one: EngineShown) -> Iterator[str]:
    mode = f" {one.mode}" if one.mode else ""
    told = f", told {age(one.age_ms)} ago" if one.age_ms is not None else ""
    where = "" if one.where == "state folder" else f", by {one.where}"
    yield f"  {one.name}{mode}: {one.condition}{told}{where}"
    for words in (one.detail, one.held):
        if words:
            yield f"    {words}"
    for pair in one.pairs:
        layers = "; ".join(map(_layer, pair.layers))
        yield f"    {pair.pair} {layers}; got on {age(pair.progress_age_ms)} ago"


def _layer(one: LayerShown) -> str:
    unanswered = f", {one.unanswered} unanswered" if one.unanswered else ""
    return f"{one.layer} {one.status or 'starting'}, {one.resting} open{unanswered}"


def _engine(one: EngineShown) -> dict[str, object]:
    names = "name condition where venue account epoch host pid mode version started_ms age_ms held detail"
    fields = {name: getattr(one, name) for name in names.split()}
    return _rounded(fields) | {"pairs": [_pair(pair) for pair in one.pairs]}


def _pair(pair: PairShown) -> dict[str, object]:
    layers = [
        {name: getattr(one, name) for name in ("layer", "status", "resting", "unanswered")} for one in pair.layers
    ]
    return _rounded({"pair": pair.pair, "symbol": pair.symbol, "progress_age_ms": pair.progress_age_ms}) | {
        "layers": layers
    }


def _rounded(fields: dict[str, object]) -> dict[str, object]:
    return {name: round(value) if isinstance(value, float) else value for name, value in fields.items()}
