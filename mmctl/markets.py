"""The venues and exchanges that mmctl knows by name, whether or not it has an adapter for them yet.

A *venue* is where own orders go (``binance``); an *exchange* is whose book is followed, and the first part
of its key in the feed (``binance_spot``). The two meet where own orders rest in the very book that is
followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

MOCK = "mock"


@dataclass(frozen=True, slots=True)
class KnownVenue:
    """A venue: ``exchange`` is the book in which its orders rest, ``original`` the original's name for it."""

    name: str
    exchange: str
    futures: bool
    adapter: bool
    original: str | None


_KNOWN = (
    KnownVenue(MOCK, MOCK, futures=False, adapter=True, original=None),
    KnownVenue("binance", "binance_spot", futures=False, adapter=True, original="binance_spot"),
    KnownVenue("binance_um_future", "binance_future", futures=True, adapter=False, original="binance_UMFuture"),
    KnownVenue(
        "binance_portfolio_margin",
        "binance_future",
        futures=True,
        adapter=False,
        original="binance_portfolio_margin",
    ),
    KnownVenue("okx_spot", "okx_spot", futures=False, adapter=False, original="okx_spot"),
    KnownVenue("okx_future", "okx_future", futures=True, adapter=False, original="okx_future"),
    KnownVenue("bifu_spot", "bifu_spot", futures=False, adapter=False, original="bifu_spot"),
    KnownVenue("bifu_future", "bifu_future", futures=True, adapter=False, original="bifu_future"),
)

VENUES = {venue.name: venue for venue in _KNOWN}
EXCHANGES = tuple(dict.fromkeys(venue.exchange for venue in _KNOWN))
ORIGINAL_VENUES = {venue.original: venue for venue in _KNOWN if venue.original is not None}
ORIGINAL_EXCHANGES = {exchange: exchange for exchange in EXCHANGES if exchange != MOCK} | {
    name: venue.exchange for name, venue in ORIGINAL_VENUES.items()
}

QUOTE_ASSETS = (
    *("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "DAI", "USD", "EUR", "GBP", "TRY", "BRL", "JPY"),
    *("BTC", "ETH", "BNB"),
)
"""Quote assets that a joined symbol is split at, the longer before the shorter that ends it."""


def has_adapter(venue: str) -> bool:
    """Whether mmctl can trade on ``venue``; a known venue without one can be mocked only."""
    return VENUES[venue].adapter


def is_live(venue: str) -> bool:
    """Whether orders on ``venue`` are anything but this process's own make-believe."""
    return venue != MOCK


def shares_market(venue: str, symbol: str, exchange: str, followed: str) -> bool:
    """Whether own ``symbol`` orders on ``venue`` rest in the book of ``followed`` on ``exchange``."""
    return is_live(venue) and VENUES[venue].exchange == exchange and fold(symbol) == fold(followed)


def fold(name: str) -> str:
    """A pair's name or symbol, ignoring case and ``- / _``."""
    return re.sub(r"[-/_]", "", name).casefold()


def split_symbol(symbol: str) -> tuple[str, str] | None:
    """Base and quote asset of a venue's symbol, or ``None`` where it cannot be told.

    ``BTC-USDT``, ``BTC/USDT`` and ``BTC-USDT-SWAP`` split at the mark, ``BTCUSDT`` at a known quote asset.
    """
    parts = re.split(r"[-/_]", symbol.upper())
    if len(parts) > 1:
        return (parts[0], parts[1]) if parts[0] and parts[1] else None
    for quote in QUOTE_ASSETS:
        base = parts[0].removesuffix(quote)
        if base and base != parts[0]:
            return base, quote
    return None


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of ``known`` that is spelt most like ``name``, ignoring case; empty where there is none."""
    return max(known, key=lambda other: SequenceMatcher(None, name.casefold(), other.casefold()).ratio(), default="")
