"""Why nothing may be placed now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing may be placed: a short word, and a line for people.

    ``halted`` marks a halt: then the layer's orders are to go too; all else ends by itself. ``hands_off`` says
    that its orders are not this layer's business now.
    """

    reason: str
    detail: str
    halted: bool = False
    hands_off: bool = False
