"""The wiring of a stop, alone so that it imports little: account and environment -> a venue that lists and cancels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from mmctl.clock import SystemClock
from mmctl.engine.swept import StopVenue
from mmctl.errors import UsageError
from mmctl.markets import has_adapter
from mmctl.ports import Clock
from mmctl.profile_stop import StopAccount
from mmctl.settings import REST_VARIABLE, STREAM_VARIABLE, WS_VARIABLE, key_prefix, plain_keys
from mmctl.wire.binance_urls import LIVE, is_loopback
from mmctl.wire.sandbox_keys import SANDBOX_KEY, SANDBOX_SECRET


def stop_venue(account: StopAccount, *, several: bool | None, bulk: bool) -> StopVenue:
    """The venue to stop on, not yet asked for anything. ``bulk``: whether foreign orders may end too.

    ``several`` says whether key variables must name the account; with ``None``, where no profile says it, they may.
    Raises ``UsageError`` where mmctl cannot trade there, where keys are missing, and for an address that keys may not
    go to.
    """
    if not has_adapter(account.venue):
        raise UsageError(
            f"mmctl has no adapter for the venue {account.venue!r} (account {account.name}) yet",
            "mmctl has placed nothing there: cancel on the venue itself",
        )
    from mmctl.venues.binance_stop import BinanceStopVenue

    rest_url, local = stop_address(account, os.environ)
    key, secret = _keys(account, local=local, several=several)
    return BinanceStopVenue(
        stop_clock(), account=account.name, key=key, secret=secret, rest_url=rest_url, bulk=bulk, name=account.venue
    )


def stop_clock() -> Clock:
    """The clock of everything that is not a test."""
    return SystemClock()


def stop_address(account: StopAccount, environ: Mapping[str, str]) -> tuple[str, bool]:
    """The REST address, and whether all that is known of the account's addresses is on this machine.

    A stop needs no other address. Raises ``UsageError`` where others are stated and this one would be the live one:
    keys of a test must never go there.
    """
    stated = (
        environ.get(REST_VARIABLE) or account.rest_url,
        environ.get(WS_VARIABLE) or account.ws_url,
        environ.get(STREAM_VARIABLE) or account.stream_url,
    )
    if not any(stated):
        return LIVE.rest, False
    if not stated[0]:
        raise UsageError(f"{REST_VARIABLE} is not set, and other addresses of Binance are", "set all three, or none")
    return stated[0], all(_is_local(url) for url in stated if url)


def _is_local(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def _keys(account: StopAccount, *, local: bool, several: bool | None) -> tuple[str, str]:
    """Key and secret: the environment's, else the file's; on a local sandbox else its well-known ones."""
    ways = (True, False) if several is None else (several,)
    prefixes = [key_prefix(account.venue, account.name, several_accounts=way) for way in ways]
    for prefix in prefixes:
        if (found := plain_keys(os.environ, prefix)) is not None:
            return found
    if account.keys is not None:
        return account.keys
    if local:
        return SANDBOX_KEY, SANDBOX_SECRET
    prefix = prefixes[-1]
    raise UsageError(
        f"account {account.name} on {account.venue} has no keys",
        f"set {prefix}API_KEY and {prefix}API_SECRET; `mmctl halt` needs none, and ends the quoting",
    )
