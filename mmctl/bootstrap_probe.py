"""The wiring of ``mmctl doctor``: an account of a profile -> what asks its venue, piece by piece."""

from __future__ import annotations

import re
from typing import Protocol

from mmctl.bootstrap import _keys, account_urls, system_clock
from mmctl.core.fits import AccountFacts, KeyRights, SymbolFacts
from mmctl.core.order import NewOrder
from mmctl.errors import UsageError
from mmctl.markets import has_adapter
from mmctl.ports import Listing
from mmctl.profile_spec import AccountSpec
from mmctl.settings import binance_mode


class Probe(Protocol):
    """What is asked of a venue. Every question raises ``VenueError``, and none changes anything."""

    where: str

    async def open(self) -> None:
        """Get ready; connects to nothing."""

    async def close(self) -> None:
        """Let go of connections. Never raises."""

    async def measure_clock(self) -> tuple[int, int]:
        """The venue's time less ours, and the round trip that shows it, in ms. All that needs a key needs it first."""

    async def socket_ms(self) -> float:
        """The round trip over the way that orders go, in ms."""

    async def account(self) -> AccountFacts:
        """The account that the key opens."""

    async def rights(self) -> KeyRights | None:
        """What the key may do, or ``None`` where the venue does not tell."""

    async def symbol(self, symbol: str) -> SymbolFacts:
        """A symbol's rules and mid."""

    async def open_orders(self) -> Listing:
        """All open orders of the account."""

    async def try_order(self, order: NewOrder) -> None:
        """Ask whether the venue would take ``order``, without placing it."""


def account_mode(account: AccountSpec) -> str:
    """``live``, ``testnet`` or ``sandbox``. Raises ``UsageError`` for addresses that keys may not go to."""
    return binance_mode(account_urls(account))


def account_probe(account: AccountSpec, *, several: bool, timeout_s: float) -> tuple[Probe, UsageError | None]:
    """What asks the account's venue, and why it has no keys, if it has none: then only public questions work.

    Raises ``UsageError`` where mmctl cannot trade on that venue yet, and as ``account_mode``.
    """
    if not has_adapter(account.venue):
        raise UsageError(
            f"mmctl has no adapter for the venue {account.venue!r} yet",
            "`mmctl dry-run` shows what it would do there, on a mock venue",
        )
    from mmctl.venues.binance_probe import BinanceProbe

    missing: UsageError | None = None
    try:
        key, secret = _keys(account.venue, account, account_mode(account), several=several)
        if not re.fullmatch(r"[!-~]+", key):
            # It could not even be sent.
            raise UsageError("the API key holds a space or a control character", "copy it again, without line ends")
    except UsageError as error:
        key, secret, missing = "", "", error
    urls = account_urls(account)
    return BinanceProbe(system_clock(), key=key, secret=secret, urls=urls, timeout_s=timeout_s), missing
