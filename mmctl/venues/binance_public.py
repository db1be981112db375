"""Binance's public filters, for a mock venue that stands in for it: one unsigned GET, and no key anywhere.

Only the standard library, so that a dry run has no transport that could send an order.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from urllib.parse import quote

from mmctl.core.instrument import Instrument
from mmctl.errors import VenueUnreachable
from mmctl.wire.binance import UnknownShape
from mmctl.wire.binance_symbols import read_exchange_info

MOST_BYTES = 4 << 20


def read_filters(rest_url: str, symbols: Sequence[str], timeout_s: float) -> dict[str, Instrument]:
    """The instruments of ``symbols`` by the venue's own filters. Blocks for at most ``timeout_s`` a step.

    Raises ``VenueUnreachable`` where they cannot be read.
    """
    names = quote(json.dumps(list(symbols), separators=(",", ":")))
    url = f"{rest_url}/api/v3/exchangeInfo?symbols={names}"
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as reply:
            info = read_exchange_info(reply.read(MOST_BYTES))
    except (OSError, HTTPException, ValueError, UnknownShape) as error:
        raise VenueUnreachable(f"Binance's public filters cannot be read: {type(error).__name__}") from error
    return {symbol: rules.instrument for symbol, rules in info.symbols.items()}
