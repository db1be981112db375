"""What ``mmctl status`` knows: engines as others see them, and halts. Times are ms since the epoch, ages in ms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mmctl.core.order import Layer


class Condition(StrEnum):
    """How an engine looks from outside.

    ``quoting``: its pairs get on. ``held``: they do, and nothing may be placed. ``silent``: it lives and does not get
    on, or says nothing. ``dead``: proven so. ``unreadable``: nobody can tell.
    """

    QUOTING = "quoting"
    HELD = "held"
    SILENT = "silent"
    DEAD = "dead"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class LayerShown:
    """One layer of a pair: what it says of itself, and how many of its orders rest or are unanswered."""

    layer: Layer
    status: str
    resting: int
    unanswered: int


@dataclass(frozen=True, slots=True)
class PairShown:
    """One pair of an engine; ``progress_age_ms`` is the time since it last got on, ``None`` where nobody knows."""

    pair: str
    symbol: str
    progress_age_ms: float | None
    layers: tuple[LayerShown, ...]


@dataclass(frozen=True, slots=True)
class EngineShown:
    """One engine; ``age_ms`` is the age of its record. What its record does not tell is ``None`` or empty."""

    name: str
    condition: Condition
    where: str
    venue: str
    account: str
    epoch: int | None = None
    host: str = ""
    pid: int | None = None
    mode: str = ""
    version: str = ""
    started_ms: int | None = None
    age_ms: float | None = None
    pairs: tuple[PairShown, ...] = ()
    held: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HaltShown:
    """One halt in force; ``symbol`` and ``layer`` are ``None`` where it covers all. ``text`` is it in words."""

    uid: str
    venue: str
    account: str
    symbol: str | None
    layer: Layer | None
    by: str
    at_ms: int
    why: str
    text: str


@dataclass(frozen=True, slots=True)
class Status:
    """All of it; ``unread`` has a line for each place that could not be read, where there may be more."""

    engines: tuple[EngineShown, ...]
    halts: tuple[HaltShown, ...]
    unread: tuple[str, ...] = ()

    @property
    def needs_a_look(self) -> bool:
        """Whether anything is halted, not well, or not known."""
        well = (Condition.QUOTING,)
        return bool(self.halts or self.unread or any(one.condition not in well for one in self.engines))


@dataclass(frozen=True, slots=True)
class GuardTold:
    """One thing that ``mmctl guard`` tells; ``engine`` is ``None`` where it is about the account."""

    ts_ms: int
    kind: str
    venue: str
    account: str
    engine: str | None
    epoch: int | None
    detail: str
