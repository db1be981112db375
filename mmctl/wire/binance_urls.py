"""Where Binance is: the live addresses, those of its test network, and what an address may be.

Keys go to these addresses: so plain ``http`` and ``ws`` are for loopback only, and an address holds no password.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from mmctl.errors import UsageError


@dataclass(frozen=True, slots=True)
class BinanceUrls:
    """``rest`` has no path, ``ws_api`` ends in ``/ws-api/v3``, ``stream`` takes ``/ws`` and ``/stream``."""

    rest: str
    ws_api: str
    stream: str

    def checked(self) -> BinanceUrls:
        """The same, without slashes at the end. Raises ``UsageError`` for an address that keys may not go to."""
        return BinanceUrls(
            checked_url(self.rest, "REST", ("https", "http")),
            checked_url(self.ws_api, "WebSocket API", ("wss", "ws")),
            checked_url(self.stream, "stream", ("wss", "ws")),
        )


LIVE = BinanceUrls("https://api.binance.com", "wss://ws-api.binance.com:443/ws-api/v3", "wss://stream.binance.com:9443")
TESTNET = BinanceUrls(
    "https://testnet.binance.vision",
    "wss://ws-api.testnet.binance.vision/ws-api/v3",
    "wss://stream.testnet.binance.vision",
)


def checked_url(url: str, what: str, schemes: tuple[str, str]) -> str:
    """``url`` without a slash at its end; ``schemes`` are the encrypted and the plain one.

    Raises ``UsageError``, which never shows an address that may hold a password.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(f"Binance's {what} address cannot be read", f"write {schemes[0]}://HOST:PORT") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"Binance's {what} address holds more than a place", "keys go into MMCTL_BINANCE_API_KEY and ..._API_SECRET"
        )
    if parts.scheme not in schemes or not host:
        raise UsageError(f"Binance's {what} address {url!r} is none", f"write {schemes[0]}://HOST:PORT")
    if parts.scheme == schemes[1] and not is_loopback(host):
        raise UsageError(
            f"Binance's {what} address {url!r} is not encrypted", f"write {schemes[0]}://; plain is for 127.0.0.1 only"
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def place_of(url: str) -> str:
    """Host and port of an address, for people."""
    parts: SplitResult = urlsplit(url)
    return parts.netloc.rpartition("@")[2]
