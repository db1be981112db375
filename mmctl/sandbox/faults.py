"""Trouble on purpose, seeded: what can go wrong between a client and an exchange, each at a rate of its own.

Rates are shares from 0 to 1 of requests, events or market steps. Everything can be changed while the
sandbox runs.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from mmctl.errors import UsageError
from mmctl.sandbox.refusals import Refusal, internal_error, timed_out


@dataclass(slots=True)
class FaultSettings:
    """Every fault with its unit: ``_ms`` and ``_s`` are times, the rest are rates; 0 is none."""

    latency_ms: float = 0.0
    """Added to every reply and user event."""
    jitter_ms: float = 0.0
    """Added to ``latency_ms``, at most, by chance."""
    reply_lost: float = 0.0
    """Done, and never answered."""
    request_lost: float = 0.0
    """Never done, never answered."""
    request_delayed: float = 0.0
    """Done after ``delay_ms``, if its time stamp still holds then."""
    delay_ms: float = 1500.0
    too_many: float = 0.0
    """429 with Retry-After ``retry_after_s``, for everybody."""
    ban: float = 0.0
    """418 likewise."""
    retry_after_s: float = 1.0
    server_error: float = 0.0
    """503 before it is done, or 504 after it was done."""
    drop: float = 0.0
    """The connection is cut: before the request is done, or after it and before the reply."""
    stall: float = 0.0
    """Per step of a tenth of a second: a stream says nothing for ``stall_s`` while its socket lives."""
    stall_s: float = 5.0
    event_repeated: float = 0.0
    event_reordered: float = 0.0
    """Of user events: sent twice, or after the next one."""
    listing_lag_ms: float = 0.0
    """Listings of open orders show the past."""
    partial_burst: float = 0.0
    """Per market step: a burst of small takers at the touch."""
    clock_offset_ms: float = 0.0
    """The exchange's clock is ahead by so much, or behind."""
    maintenance: float = 0.0
    """1: every request is refused with 503, and connections are closed."""


SETTINGS = tuple(one.name for one in fields(FaultSettings))
TIMES = frozenset(name for name in SETTINGS if name.endswith(("_ms", "_s")))
LONGEST = 86_400_000


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one request. ``refused`` is said instead of doing it, ``answered`` after it was done."""

    latency_s: float = 0.0
    delay_s: float = 0.0
    lose_request: bool = False
    lose_reply: bool = False
    drop_before: bool = False
    drop_after: bool = False
    block: int = 0
    refused: Refusal | None = None
    answered: Refusal | None = None


WELL = Fate()


class Faults:
    """The settings in force, and the dice. Raises ``UsageError`` for a setting that is none."""

    def __init__(self, given: Mapping[str, float], seed: int) -> None:
        self.now = FaultSettings()
        self.counts: dict[str, int] = {}
        self._dice = random.Random(seed)
        self._any = False
        self.set(given)

    def set(self, given: Mapping[str, float]) -> None:
        """Change some settings. Raises ``UsageError``."""
        for name, value in given.items():
            if name not in SETTINGS:
                raise UsageError(f"--fault {name}: no such fault", f"there are {', '.join(SETTINGS)}")
            if name == "clock_offset_ms":
                good = abs(value) <= LONGEST
            else:
                good = 0 <= value <= (LONGEST if name in TIMES else 1)
            if not good:
                raise UsageError(f"--fault {name}={value:g}: out of bounds", "a rate is 0 to 1, a time 0 or more")
        for name, value in given.items():
            setattr(self.now, name, float(value))
        self._any = any(self.shown().values())

    def clear(self) -> None:
        """No trouble any more."""
        self.now, self._any = FaultSettings(), False

    def shown(self) -> dict[str, float]:
        """The settings that do something."""
        plain = FaultSettings()
        return {name: value for name, value in asdict(self.now).items() if value != getattr(plain, name)}

    def strikes(self, name: str) -> bool:
        """Whether this fault strikes now."""
        rate = getattr(self.now, name)
        if not rate or self._dice.random() >= rate:
            return False
        self.counts[name] = self.counts.get(name, 0) + 1
        return True

    def latency_s(self) -> float:
        now = self.now
        if not self._any or not (now.latency_ms or now.jitter_ms):
            return 0.0
        return (now.latency_ms + now.jitter_ms * self._dice.random()) / 1000

    def fate(self) -> Fate:
        """What happens to the next request: at most one fault, besides latency."""
        if not self._any:
            return WELL
        latency = self.latency_s()
        if self.strikes("request_lost"):
            return Fate(latency, lose_request=True)
        if self.strikes("reply_lost"):
            return Fate(latency, lose_reply=True)
        if self.strikes("drop"):
            before = self._dice.random() < 0.5
            return Fate(latency, drop_before=before, drop_after=not before)
        if self.strikes("too_many"):
            return Fate(latency, block=429)
        if self.strikes("ban"):
            return Fate(latency, block=418)
        if self.strikes("server_error"):
            if self._dice.random() < 0.5:
                return Fate(latency, refused=internal_error())
            return Fate(latency, answered=timed_out())
        if self.strikes("request_delayed"):
            return Fate(latency, delay_s=self.now.delay_ms / 1000)
        return Fate(latency)

    def chance(self) -> float:
        """A number from 0 to 1 of these dice."""
        return self._dice.random()
