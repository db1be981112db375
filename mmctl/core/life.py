"""The life of an order: every state, every kind of event, and the state that follows.

    new -> in flight -> open -> filled | cancelled | expired | rejected | gone
                    \\-> unknown -> open | never landed | any end

An end that the venue stated is final: no late reply and no lagging listing revives it. ``never_landed``
and ``gone`` are ends that we concluded, so an order that appears all the same is live again, is told as a
fault and cancelled at once; so is one that the venue had refused. Late news is no appearance: an order that
is gone was accepted and may have traded, and a listing asked for before the "not found" answers is older
than they are. What the table does not hold does not fit, and is told as a fault: nothing is dropped in
silence.
"""

from __future__ import annotations

from mmctl.core.events import (
    Accepted,
    CancelRefused,
    Ended,
    Fill,
    NotFound,
    OrderEvent,
    Rejected,
    Request,
    Seen,
    Unsettled,
)
from mmctl.core.order import ENDS, LIVE, State

CONCLUDED = frozenset({State.NEVER_LANDED, State.GONE, State.REJECTED})
"""Ends that later evidence of a resting order overturns."""

PRECEDENCE = (
    State.FILLED,
    State.CANCELLED,
    State.EXPIRED,
    State.REJECTED,
    State.GONE,
    State.NEVER_LANDED,
)
"""Where two ends are told, the one named first here stands, in whatever order they come."""


def _live_table() -> dict[tuple[State, type], State | None]:
    """Next states of live orders; ``None``: the event itself says, or the landing rule decides."""
    return {
        (State.IN_FLIGHT, Accepted): State.OPEN,
        (State.IN_FLIGHT, Seen): State.OPEN,
        (State.IN_FLIGHT, Fill): State.OPEN,
        (State.IN_FLIGHT, Rejected): State.REJECTED,
        (State.IN_FLIGHT, Unsettled): None,
        (State.IN_FLIGHT, Ended): None,
        (State.IN_FLIGHT, CancelRefused): State.IN_FLIGHT,
        (State.IN_FLIGHT, NotFound): State.IN_FLIGHT,
        (State.OPEN, Accepted): State.OPEN,
        (State.OPEN, Seen): State.OPEN,
        (State.OPEN, Fill): State.OPEN,
        (State.OPEN, Unsettled): State.OPEN,
        (State.OPEN, Ended): None,
        (State.OPEN, CancelRefused): State.OPEN,
        (State.OPEN, NotFound): None,
        (State.UNKNOWN, Accepted): State.OPEN,
        (State.UNKNOWN, Seen): State.OPEN,
        (State.UNKNOWN, Fill): State.OPEN,
        (State.UNKNOWN, Rejected): State.REJECTED,
        (State.UNKNOWN, Unsettled): State.UNKNOWN,
        (State.UNKNOWN, Ended): None,
        (State.UNKNOWN, CancelRefused): State.UNKNOWN,
        (State.UNKNOWN, NotFound): None,
    }


def _end_table() -> dict[tuple[State, type], State | None]:
    """Next states of ended orders: late and repeated news changes nothing, save where we had concluded."""
    table: dict[tuple[State, type], State | None] = {}
    for state in ENDS:
        for kind in (Accepted, Seen, Fill, Rejected, Unsettled, CancelRefused, NotFound):
            table[state, kind] = state
        table[state, Ended] = None
    for state in (State.NEVER_LANDED, State.REJECTED):
        for kind in (Accepted, Seen, Fill):
            table[state, kind] = State.OPEN
    for state in (State.NEVER_LANDED, State.GONE):
        table[state, Seen] = None
    table[State.NEVER_LANDED, Rejected] = State.REJECTED
    return table


TRANSITIONS: dict[tuple[State, type], State | None] = {**_live_table(), **_end_table()}
"""(state, kind of event) -> next state; ``None`` where the event or the landing rule says which."""


class DoesNotFit(ValueError):
    """An event that no table entry foresees: the venue contradicts itself, or we misread it."""


def next_state(state: State, event: OrderEvent) -> State | None:
    """The state after ``event``; ``None`` for ``NotFound`` and ``Seen`` where the landing rule has to decide.

    Raises ``DoesNotFit`` for a pair that the table does not hold.
    """
    try:
        following = TRANSITIONS[state, type(event)]
    except KeyError:
        raise DoesNotFit(f"{type(event).__name__} does not fit an order that is {state}") from None
    if isinstance(event, Ended):
        if state in LIVE:
            return event.state
        return min(state, event.state, key=PRECEDENCE.index)
    if isinstance(event, Unsettled) and state is State.IN_FLIGHT:
        # A cancel without an answer says nothing of the placement, whose own answer is still to come.
        return State.UNKNOWN if event.request is Request.PLACE else State.IN_FLIGHT
    return following
