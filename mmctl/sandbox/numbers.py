"""Numbers on the wire are fixed-point text with eight decimals; inside they are whole numbers of 1e-8.

Nothing here ever passes through a binary float.
"""

from __future__ import annotations

import re
from decimal import Decimal

ONE = 10**8
DECIMALS = 8

_NUMBER = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,20}))?")
LEGAL_NUMBER = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"


class NoNumber(ValueError):
    """Text that is no plain number."""


class TooPrecise(ValueError):
    """A number with more decimals than are counted."""


def units(value: Decimal) -> int:
    """``value`` in 1e-8, cut below that."""
    return int(value.scaleb(DECIMALS))


def parse_units(text: str) -> int:
    """Text in 1e-8. Raises ``NoNumber`` or ``TooPrecise``."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise NoNumber(text)
    whole, part = found.groups()
    if part is None:
        return int(whole) * ONE
    if len(part) > DECIMALS:
        if part[DECIMALS:].strip("0"):
            raise TooPrecise(text)
        part = part[:DECIMALS]
    return int(whole) * ONE + int(part.ljust(DECIMALS, "0"))


def text(number: int) -> str:
    """``number`` of 1e-8 as text with eight decimals."""
    if number < 0:
        return "-" + text(-number)
    return f"{number // ONE}.{number % ONE:08d}"
