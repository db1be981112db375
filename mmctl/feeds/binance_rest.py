"""Binance's depth request: bounded in time, size and request weight, and every way it can fail as one line.

Whoever asks too much is banned by its network address, own orders and all. So the feed keeps to a fifth of the
weight that Binance allows, stops where others of this address use most of it, and obeys ``Retry-After``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmctl.errors import FeedError, FeedUnreachable, NoBook
from mmctl.ports import Clock
from mmctl.wire.binance_market import (
    INVALID_SYMBOL,
    Depth,
    Unreadable,
    decode_depth,
    decode_error,
    depth_url,
    depth_weight,
)
from mmctl.wire.binance_urls import place_of

if TYPE_CHECKING:
    import aiohttp

WEIGHT_PER_S = 20.0
"""A fifth of the 6000 a minute that Binance allows a network address."""

_BURST_WEIGHT = 300.0
_USED_ALLOWED = 4800
"""From this many of the 6000 on, counted by Binance for all programs of the address, the feed asks no more."""

_USED_PAUSE_S = 10.0
_PAUSE_S = 60.0
"""How long a 429 or 418 without ``Retry-After`` is obeyed."""

_MAX_PAUSE_S = 3 * 86_400.0
_MAX_BYTES = 2_000_000


class DepthRequests:
    """Asks for snapshots of books, as often as the weight allows."""

    def __init__(self, clock: Clock, rest_url: str, timeout_s: float) -> None:
        """``timeout_s`` bounds a whole request."""
        self._clock, self._url, self.where = clock, depth_url(rest_url), place_of(rest_url)
        self._timeout_s = timeout_s
        self._used, self._used_at_s = 0.0, float("-inf")
        self._paused_until_s = float("-inf")

    def may_ask(self, limit: int) -> bool:
        """Whether a request of ``limit`` levels may leave now; if so its weight is spent."""
        now_s, weight = self._clock.monotonic(), depth_weight(limit)
        left = max(0.0, self._used - (now_s - self._used_at_s) * WEIGHT_PER_S)
        if now_s < self._paused_until_s or left + weight > _BURST_WEIGHT:
            return False
        self._used, self._used_at_s = left + weight, now_s
        return True

    @property
    def paused_s(self) -> float:
        """For how long nothing may be asked, because Binance says so; 0 where it does not."""
        return max(0.0, self._paused_until_s - self._clock.monotonic())

    async def ask(self, session: aiohttp.ClientSession, symbol: str, limit: int) -> Depth:
        """The top ``limit`` levels. Raises ``NoBook`` for an unknown symbol, else ``FeedUnreachable``."""
        import aiohttp

        try:
            async with session.get(
                self._url,
                params={"symbol": symbol, "limit": limit},
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                allow_redirects=False,  # it would lead past the checks of the address
            ) as response:
                body = await _read(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise unreachable("REST interface", self.where, error, "MMCTL_BINANCE_REST_URL") from error
        if response.status != 200:
            raise self._refused(symbol, response.status, response.headers.get("Retry-After", ""), body)
        if _number(response.headers.get("X-MBX-USED-WEIGHT-1M", "")) >= _USED_ALLOWED:
            self._pause(_USED_PAUSE_S)
        try:
            return decode_depth(body)
        except Unreadable as fault:
            raise FeedUnreachable(
                f"Binance's REST interface at {self.where} answers as Binance does not: the depth of {symbol} {fault}",
                "is MMCTL_BINANCE_REST_URL right?",
            ) from None

    def _refused(self, symbol: str, status: int, retry_after: str, body: bytes) -> FeedError:
        error = decode_error(body)
        text = f"{error.code} {error.text}".strip() if error else f"HTTP status {status}"
        if status in (418, 429):
            self._pause(_number(retry_after) or _PAUSE_S)
            return FeedUnreachable(
                f"Binance's REST interface at {self.where} wants no requests for {self.paused_s:.0f} s: {text}",
                "wait; other programs of this network address count too",
            )
        if error is not None and error.code == INVALID_SYMBOL:
            return NoBook(
                f"Binance at {self.where} has no symbol {symbol}: {text}",
                "mend follow_symbol in the profile: base and quote joined, as BTCUSDT",
            )
        hint = "wait, it is asked again" if status >= 500 else "is MMCTL_BINANCE_REST_URL right?"
        return FeedUnreachable(f"Binance's REST interface at {self.where} refused the depth of {symbol}: {text}", hint)

    def _pause(self, seconds: float) -> None:
        until_s = self._clock.monotonic() + min(seconds, _MAX_PAUSE_S)
        self._paused_until_s = max(self._paused_until_s, until_s)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, up to a bound; what is longer comes back cut, and does not decode."""
    parts, size = [], 0
    async for part in response.content.iter_chunked(65_536):
        parts.append(part)
        size += len(part)
        if size > _MAX_BYTES:
            break
    return b"".join(parts)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def unreachable(what: str, where: str, error: Any, variable: str) -> FeedUnreachable:
    """One line for one failure to connect or to be answered; ``variable`` holds the address."""
    import aiohttp

    subject = f"Binance's {what} at {where}"
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError)):
        return FeedUnreachable(
            f"{subject} has a certificate that is not accepted: {_one_line(error)}",
            f"is {variable} right, and this machine's clock?",
        )
    if isinstance(error, TimeoutError):
        return FeedUnreachable(f"{subject} did not answer in time", "is the network slow, or a firewall in between?")
    if isinstance(error, aiohttp.WSServerHandshakeError):
        hint = "wait, it is tried again" if error.status >= 500 else f"is {variable} right?"
        return FeedUnreachable(f"{subject} refused with HTTP status {error.status}", hint)
    return FeedUnreachable(
        f"{subject} cannot be reached: {_one_line(error)}", f"is the network up, and is {variable} right?"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
