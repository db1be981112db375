"""Which engines of an account a stop has to reckon with, and what each has said of the halt.

An engine that has acknowledged the halt, and knows of no order in scope that is not over, places no more: what the
venue shows after that is all there is. So it is with an engine that is dead for longer than a placement takes to land.
Of any other, and of one that is only known by its orders, nobody can say: then the venue is watched for as long as it
may still place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mmctl.core.order import Layer
from mmctl.engine.registered import EngineState, Life

if TYPE_CHECKING:  # a stop imports it when it has something to tell
    from mmctl.core.report import EngineSeen

ACKNOWLEDGED, DEAD, NOT_REACHED = "acknowledged", "dead", "not_reached"


class Roll:
    """The engines of one account, read again with each ``call``.

    ``read`` gives all that are registered now, in whatever place, and those that ended in good order; a place that
    cannot be read is an engine that cannot be reached. ``uids`` are the halts that were set, none where nobody was
    halted: then nobody can acknowledge.
    ``stranger_interval_s`` is the interval of an engine of which nothing is known; with ``None`` there can be none.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[EngineState]],
        uids: Collection[str],
        *,
        layer: Layer | None,
        symbols: Collection[str] | None,
        landing_time_s: float,
        stranger_interval_s: float | None,
    ) -> None:
        self._read = read
        self._uids = frozenset(uids)
        self._layer = layer
        self._symbols = symbols
        self._landing_time_s = landing_time_s
        self._stranger_interval_s = stranger_interval_s
        self._states: dict[str, EngineState] = {}
        self._met: set[int] = set()
        self._registered: set[int | None] = set()
        """Every epoch that was ever registered while this roll was called."""

    def call(self) -> None:
        """Ask again. An engine that ended in good order meanwhile says so.

        A record that is gone says nothing: all of Redis may have been flushed. What was known of its engine stands.
        """
        told = {state.name: state for state in self._read()}
        lost = {
            name: replace(state, detail=f"its record cannot be seen in {state.where} now")
            for name, state in self._states.items()
            if name not in told and state.record is not None
        }
        self._states = {name: state for name, state in told.items() if state.life is not Life.ENDED} | lost
        # Of one that ended before, too, it is known that it places no more: it may have left its orders standing.
        self._registered |= {state.epoch for state in (*told.values(), *lost.values())}

    def met(self, epochs: Collection[int]) -> None:
        """Own orders of these epochs were found: who placed them is to be reckoned with, registered or not."""
        if self._stranger_interval_s is not None:
            self._met |= set(epochs)

    @property
    def _strangers(self) -> set[int]:
        return self._met - self._registered

    def settled(self, epoch: int) -> bool:
        """Whether the engine of ``epoch`` is known, and known to place no more."""
        return any(state.epoch == epoch and self._word(state) != NOT_REACHED for state in self._states.values())

    @property
    def all_settled(self) -> bool:
        """Whether all who may place are known to place no more."""
        return not self._strangers and not self._open()

    @property
    def wait_s(self) -> float:
        """How long the venue is to be watched because of those who are not settled."""
        strange_s = (self._stranger_interval_s or 0.0) + self._landing_time_s
        waits_s = [
            strange_s if state.record is None else state.record.interval_s + state.record.landing_time_s
            for state in self._open()
        ]
        return max([*waits_s, *(strange_s for _ in self._strangers)], default=0.0)

    @property
    def proof(self) -> str:
        """By what the stop is proven, should the venue be empty now."""
        if not self.all_settled:
            return "waited"
        words = {self._word(state) for state in self._states.values()}
        return ACKNOWLEDGED if ACKNOWLEDGED in words else DEAD if words else "none"

    def seen(self) -> tuple[EngineSeen, ...]:
        """All engines, for the receipt: the registered ones, then those that only their orders tell of."""
        from mmctl.core.report import EngineSeen

        registered = [EngineSeen(state.name, state.epoch, self._word(state)) for state in self._states.values()]
        strangers = [EngineSeen(f"engine {one}, unknown here", one, NOT_REACHED) for one in sorted(self._strangers)]
        return (*registered, *strangers)

    def not_reached(self) -> tuple[str, ...]:
        """Those not settled, by name, and why."""
        free = "is free to quote again" if not self._uids else "did not acknowledge the halt"
        named = [
            f"{state.name}: {state.detail}: {free}" if state.detail else f"{state.name}: {self._why_open(state, free)}"
            for state in self._open()
        ]
        return (*named, *(f"engine {one}, unknown here: {free}" for one in sorted(self._strangers)))

    def _why_open(self, state: EngineState, free: str) -> str:
        acknowledged = self._uids and state.acknowledged(self._uids)
        return "does not know yet that its orders are over" if acknowledged else free

    def _open(self) -> list[EngineState]:
        return [state for state in self._states.values() if self._word(state) == NOT_REACHED]

    def _word(self, state: EngineState) -> str:
        if state.landed:
            return DEAD
        record = state.record
        if state.life is Life.DEAD or record is None or not self._uids or not state.acknowledged(self._uids):
            return NOT_REACHED
        # It may know of an order that a listing does not show yet.
        return NOT_REACHED if record.left(self._layer, self._symbols) else ACKNOWLEDGED


def nobody() -> Roll:
    """No engine is to be reckoned with: whoever sweeps knows all that was placed."""
    return Roll(lambda: (), (), layer=None, symbols=None, landing_time_s=0.0, stranger_interval_s=None)
