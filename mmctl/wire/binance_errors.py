"""What Binance's refusals mean for the caller (errors.md): a closed list; all that is not in it is *unknown*.

    refused   the request did nothing: a new decision may follow
    later     the same, and nothing may be asked before a time that the venue names
    mend      the same, and it will be refused again until somebody mends key, clock or symbol
    unknown   it may have happened: ask for the order's fate

A status of 5xx is unknown whatever the code says, and so are the codes that say it themselves (-1006, -1007).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What the caller does next."""

    REFUSED = "refused"
    LATER = "later"
    MEND = "mend"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with a short word of ours, and what an operator can do."""

    verdict: Verdict
    code: str
    hint: str = ""


UNKNOWN = Judgement(Verdict.UNKNOWN, "unknown")

CLOCK_CODE = -1021
ORDER_COUNT_CODE = -1015
NO_SUCH_ORDER = -2013
ARCHIVED = -2026
CANCEL_REJECTED = -2011
UNKNOWN_SYMBOL = -1121

_KEY_HINT = "check the API key, its permissions (spot trading) and its list of addresses"
_MEND = {
    -1002: Judgement(Verdict.MEND, "permission", _KEY_HINT),
    -1021: Judgement(Verdict.MEND, "clock", "set this machine's clock (NTP)"),
    -1022: Judgement(Verdict.MEND, "signature", "check the API secret"),
    -1121: Judgement(Verdict.MEND, "symbol", "check the pair's symbol"),
    -2014: Judgement(Verdict.MEND, "key", "check the API key"),
    -2015: Judgement(Verdict.MEND, "permission", _KEY_HINT),
}
_LATER = {
    -1003: Judgement(Verdict.LATER, "rate_limit", "quote fewer pairs or less often"),
    -1015: Judgement(Verdict.LATER, "rate_limit", "quote fewer levels or less often"),
}
_MALFORMED = frozenset({-1014, -1020, *range(-1106, -1099), -1108, *range(-1119, -1113), -1128, -1130, -1135})
"""Refused before they reached the matching engine, for their form alone."""

_BY_TEXT = {
    "duplicate order sent.": "duplicate_id",
    "market is closed.": "symbol_closed",
    "account has insufficient balance for requested action.": "balance",
    "price * qty is zero or less.": "min_notional",
    "order would immediately match and take.": "would_match",
    "this action is disabled on this account.": "permission",
    "this account may not place or cancel orders.": "permission",
    "this symbol is not permitted for this account.": "permission",
    "this symbol is restricted for this account.": "permission",
    "rest api trading is not enabled.": "permission",
    "websocket api trading is not enabled.": "permission",
    "unsupported order combination": "request",
    "unsupported order combination.": "request",
    "invalid quantity.": "min_qty",
    "invalid price.": "price_band",
}
_FILTERS = {
    "PRICE_FILTER": "filter_price",
    "LOT_SIZE": "filter_lot_size",
    "MIN_NOTIONAL": "min_notional",
    "NOTIONAL": "filter_notional",
    "PERCENT_PRICE": "percent_price",
    "PERCENT_PRICE_BY_SIDE": "percent_price",
    "MAX_NUM_ORDERS": "open_order_cap",
    "EXCHANGE_MAX_NUM_ORDERS": "open_order_cap",
    "MAX_POSITION": "max_position",
}
REJECT_REASONS = {"INSUFFICIENT_BALANCES": "balance", "WOULD_MATCH_IMMEDIATELY": "would_match"}
"""What field ``r`` of a user event says (user-data-stream.md)."""

_FILTER_TEXT = re.compile(r"filter failure: (\w+)", re.IGNORECASE)
_BANNED_UNTIL = re.compile(r"banned until (\d{12,14})", re.IGNORECASE)


def judge(status: int, code: int | None, text: str) -> Judgement:
    """What a failed request means; ``status`` is that of HTTP, ``code`` and ``text`` are Binance's."""
    if status >= 500 or code is None:
        return _by_status(status)
    if code in _MEND:
        return _MEND[code]
    if code in _LATER or status in (418, 429):
        return _LATER.get(code, _LATER[-1003])
    if code in (-1013, -2010, -1010):
        return _by_text(code, text)
    if code == -1111:
        return Judgement(Verdict.REFUSED, "filter_precision")
    if code in _MALFORMED:
        return Judgement(Verdict.REFUSED, "request")
    return UNKNOWN


def filter_of(text: str) -> str:
    """The filter that a refusal names, in Binance's words; empty where it names none."""
    match = _FILTER_TEXT.search(text)
    return match[1].upper() if match else ""


def ban_ends_ms(text: str) -> int | None:
    """When a ban ends, in ms since the epoch, where the text says so."""
    match = _BANNED_UNTIL.search(text)
    return int(match[1]) if match else None


def order_not_known(code: int | None, text: str) -> bool:
    """Whether a refused cancel says that the venue does not know the order, which proves nothing by itself."""
    return code == NO_SUCH_ORDER or (code == CANCEL_REJECTED and text.strip().lower().startswith("unknown order"))


def _by_status(status: int) -> Judgement:
    return _LATER[-1003] if status in (418, 429) else UNKNOWN


def _by_text(code: int, text: str) -> Judgement:
    """A refusal by the matching engine or just before it. -2010 and -1013 are definite whatever the text is."""
    name = filter_of(text)
    if name:
        return Judgement(Verdict.REFUSED, _FILTERS.get(name, f"filter_{name.lower()}"))
    word = _BY_TEXT.get(text.strip().lower())
    if word is not None:
        return Judgement(Verdict.REFUSED, word)
    return UNKNOWN if code == -1010 else Judgement(Verdict.REFUSED, "rejected")
