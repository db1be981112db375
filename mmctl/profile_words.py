"""What all readers of profiles share and needs no library: text for messages, and the choice of pairs by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from mmctl.errors import UsageError
from mmctl.markets import fold, nearest


class Named(Protocol):
    """A pair as far as ``--pair`` needs to know it."""

    @property
    def name(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def venue(self) -> str: ...
    @property
    def account(self) -> str: ...


_P = TypeVar("_P", bound=Named)


def one_line(text: str) -> str:
    """``text`` with line ends and terminal controls written out."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def pairs_named(pairs: Sequence[_P], wanted: Sequence[str], file: str) -> tuple[_P, ...]:
    """Those of ``pairs`` that ``--pair`` names, by name or symbol, in their own order; all where it names none.

    Raises ``UsageError`` for one that fits no pair of ``file``, or two.
    """
    chosen = [_pair_named(pairs, name, file) for name in wanted]
    return tuple(pair for pair in pairs if not wanted or pair in chosen)


def _pair_named(pairs: Sequence[_P], wanted: str, file: str) -> _P:
    fits = [pair for pair in pairs if fold(wanted) in (fold(pair.name), fold(pair.symbol))]
    if len(fits) == 1:
        return fits[0]
    if fits:
        which = "; ".join(f"{pair.name} ({pair.symbol} on {pair.venue}, account {pair.account})" for pair in fits)
        hint = "give the name or symbol of one, or a profile of its own"
        raise UsageError(one_line(f"--pair {wanted}: fits {len(fits)} pairs: {which}"), hint)
    names = [pair.name for pair in pairs]
    hint = f"the nearest is {nearest(wanted, names)}; the profile has {', '.join(names)}"
    raise UsageError(one_line(f"--pair {wanted}: {file} has no such pair"), one_line(hint))
