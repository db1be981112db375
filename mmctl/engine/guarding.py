"""When a guard acts: an engine that it watches does not get on, is dead, or cannot be seen, for longer than allowed.

Only time that the guard itself was awake counts: a machine that was suspended gives its engines time to get going.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mmctl.engine.registered import EngineState, Life
from mmctl.ports import Clock

AWAKE_GAP_S = 2.0
"""Looks further apart than this: the guard itself did not run."""


class Trouble(StrEnum):
    """What is wrong with an engine."""

    SILENT = "silent"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look found out, by ``kind``: it is ``watching``, ``well`` again, has ``ended``, is ``gone`` (rubbish that
    somebody removed), or is in a ``Trouble`` since ``quiet_s``."""

    kind: str
    engine: EngineState
    quiet_s: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """The engines to act on now; ``symbols`` is ``None`` where all of the account is to be stopped."""

    engines: tuple[EngineState, ...]
    symbols: tuple[str, ...] | None
    why: str


@dataclass(slots=True)
class _Watched:
    state: EngineState
    trouble: Trouble | None = None
    since_s: float = 0.0
    handled: bool = False
    beat: int = 0
    beat_s: float = 0.0
    progress_ms: int = 0
    progress_s: float = 0.0
    """When its record, and the slowest of its pairs in it, was last seen to be newer than before."""


@dataclass(slots=True)
class Watch:
    """The engines of one account. ``after_s`` is how long one may be in trouble before it is acted on.

    ``where`` names the Redis that is watched too, empty where there is none.
    """

    clock: Clock
    after_s: float
    where: str = ""
    _watched: dict[str, _Watched] = field(default_factory=dict)
    _awake_s: float | None = None
    _looked_s: float = 0.0

    def look(self, states: Sequence[EngineState]) -> list[Finding]:
        """Take in how all engines are now; what is new is returned, each thing once."""
        now_s = self.clock.boot_s()
        if self._awake_s is None or now_s - self._looked_s > AWAKE_GAP_S:
            self._awake_s = now_s
        self._looked_s = now_s
        findings: list[Finding] = []
        present = {state.name: state for state in states if state.life is not Life.ENDED}
        ended = {state.name for state in states if state.life is Life.ENDED}
        away = {state.where: state.detail for state in states if state.stands_for_all}
        for name, watched in list(self._watched.items()):
            if name in present:
                continue
            state = watched.state
            if name not in ended and self._is_missed(watched, away):
                # It was seen before: nobody knows what it does now.
                gone = f"its record is gone from {state.where}, and it did not say that it ended"
                unseen = away.get(state.where, gone)
                present[name] = EngineState(name, Life.UNREADABLE, state.record, detail=unseen, where=state.where)
            else:
                del self._watched[name]
                if name in ended:
                    findings.append(Finding("ended", state))
                elif state.record is None:
                    findings.append(Finding("well" if state.stands_for_all else "gone", state))
        for state in present.values():
            findings += self._note(state, now_s)
        return findings

    def alarm(self) -> Alarm | None:
        """What is to be done now, or ``None``."""
        due = [one for one in self._watched.values() if self._is_due(one)]
        if not due:
            return None
        well = [one for one in self._watched.values() if one.trouble is None and one.state.record is not None]
        symbols = {pair.symbol for one in due for pair in (one.state.record.pairs if one.state.record else ())}
        known = all(one.state.record is not None for one in due)
        why = "; ".join(f"{one.state.name} is {one.trouble} for {self._quiet_s(one):.0f} s" for one in due)
        return Alarm(
            tuple(one.state for one in due), tuple(sorted(symbols)) if well and known and symbols else None, why
        )

    def handled(self, alarm: Alarm) -> None:
        """The stop of these engines is proven; they are acted on again only after they have been well."""
        for engine in alarm.engines:
            if engine.name in self._watched:
                self._watched[engine.name].handled = True

    @property
    def engines(self) -> int:
        """How many engines are watched now."""
        return len(self._watched)

    def _note(self, state: EngineState, now_s: float) -> list[Finding]:
        fresh = state.name not in self._watched
        watched = self._watched.setdefault(state.name, _Watched(state, since_s=now_s))
        before, watched.state = watched.trouble, state
        _note_beat(watched, now_s)
        watched.trouble = self._trouble(watched)
        if watched.trouble is not None and before is None:
            watched.since_s = now_s - (self._silence_s(watched) if watched.trouble is Trouble.SILENT else 0.0)
        if watched.trouble is None:
            watched.handled = False
            if fresh or before is not None:
                return [Finding("watching" if fresh else "well", state)]
            return []
        if watched.trouble is before or watched.handled:
            return []
        return [Finding(watched.trouble, state, self._quiet_s(watched), state.detail)]

    def _trouble(self, watched: _Watched) -> Trouble | None:
        state = watched.state
        if state.life is Life.DEAD:
            return Trouble.DEAD
        if state.record is None or state.age_s is None:
            return Trouble.UNKNOWN
        return Trouble.SILENT if self._silence_s(watched) > self.after_s else None

    def _silence_s(self, watched: _Watched) -> float:
        """How long it has not said that it gets on. Of another host's wall clock this guard's own may differ."""
        if watched.state.where == self.where:
            return self.clock.boot_s() - min(watched.beat_s, watched.progress_s)
        return max(watched.state.age_s or 0.0, watched.state.progress_age_s or 0.0)

    def _is_due(self, watched: _Watched) -> bool:
        if watched.trouble is None or watched.handled or self._is_redis_itself(watched.state):
            return False
        return self._quiet_s(watched) > self.after_s and not self._is_succeeded(watched.state)

    def _quiet_s(self, watched: _Watched) -> float:
        """For how long it is in trouble, of the time that the guard was awake."""
        return self.clock.boot_s() - max(watched.since_s, self._awake_s or 0.0)

    def _is_redis_itself(self, state: EngineState) -> bool:
        """Whether this stands for all that Redis may know; engines that were never seen there are none to guard."""
        return bool(self.where) and state.record is None and state.where == self.where

    def _is_missed(self, watched: _Watched, away: Collection[str]) -> bool:
        """Whether an engine whose record is gone may still be at work, while the places ``away`` cannot be read.

        One that is dead is not: somebody tidied up behind it. Of rubbish nobody knows an engine.
        """
        state = watched.state
        if state.where in away:
            return not state.stands_for_all
        return state.record is not None and watched.trouble is not Trouble.DEAD

    def _is_succeeded(self, dead: EngineState) -> bool:
        """Whether a younger engine that is well has taken over all that a dead one quoted, or one without a record.

        That engine has the right to each of these pairs alone.
        """
        if dead.record is None or not (dead.life is Life.DEAD or dead.age_s is None):
            return False
        taken = {
            pair.symbol
            for one in self._watched.values()
            if one.trouble is None and one.state.record is not None and one.state.record.epoch > dead.record.epoch
            for pair in one.state.record.pairs
        }
        return {pair.symbol for pair in dead.record.pairs} <= taken


def _note_beat(watched: _Watched, now_s: float) -> None:
    record = watched.state.record
    if record is None:
        return
    progress_ms = min((pair.progress_ms for pair in record.pairs), default=0)
    if record.beat != watched.beat:
        watched.beat, watched.beat_s = record.beat, now_s
    if progress_ms != watched.progress_ms or not watched.progress_s:
        watched.progress_ms, watched.progress_s = progress_ms, now_s
