"""Who asks: API key, time stamp, ``recvWindow`` and HMAC signature, checked as the live venue checks them."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from mmctl.sandbox.accounts import Account
from mmctl.sandbox.refusals import (
    Refusal,
    ahead_of_server,
    bad_key_format,
    bad_signature,
    illegal,
    missing,
    outside_window,
    rejected_key,
)

KEY_LENGTH = 64
DEFAULT_WINDOW_MS = 5000.0
MAX_WINDOW_MS = 60_000.0
AHEAD_MS = 1000
_MICROSECONDS = 10**14
"""Time stamps above this are in microseconds."""

Params = Mapping[str, object]


def payload_of_params(params: Params) -> str:
    """What is signed on the WebSocket API: all parameters but the signature, by name."""
    return "&".join([f"{name}={_text(params[name])}" for name in sorted(params) if name != "signature"])


def payload_of_request(query: str, body: str) -> str:
    """What is signed on REST: query string and body as they were sent, without the signature."""
    return _unsigned(query) + _unsigned(body)


def _unsigned(text: str) -> str:
    return "&".join(part for part in text.split("&") if not part.startswith("signature="))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def account_of(accounts: Mapping[str, Account], key: object) -> Account:
    """The account of an API key. Raises ``Refusal``."""
    if not isinstance(key, str) or len(key) != KEY_LENGTH or not key.isalnum():
        raise bad_key_format()
    account = accounts.get(key)
    if account is None:
        raise rejected_key()
    return account


def check_signed(account: Account, params: Params, payload: str, now_ms: int) -> None:
    """Time stamp and signature. Raises ``Refusal``."""
    signature = params.get("signature")
    if not signature or not isinstance(signature, str):
        raise missing("signature")
    check_time(params, now_ms)
    signed = hmac.digest(account.secret, payload.encode(), "sha256").hex()
    if not hmac.compare_digest(signed, signature.lower() if signature.isascii() else ""):
        raise bad_signature()


def check_time(params: Params, now_ms: int) -> None:
    """That ``timestamp`` is within ``recvWindow`` and at most a second ahead. Raises ``Refusal``."""
    given = params.get("timestamp")
    if isinstance(given, str):
        if not (given.isascii() and given.isdigit()):
            raise illegal("timestamp", r"^[0-9]{1,20}$") if given else missing("timestamp")
        given = int(given)
    if not isinstance(given, int) or isinstance(given, bool) or given <= 0:
        raise missing("timestamp")
    window = _window_ms(params.get("recvWindow"))
    at_ms = given / 1000 if given > _MICROSECONDS else given
    if at_ms >= now_ms + AHEAD_MS:
        raise ahead_of_server()
    if now_ms - at_ms > window:
        raise outside_window()


def _window_ms(given: object) -> float:
    if given is None:
        return DEFAULT_WINDOW_MS
    try:
        window = float(given if isinstance(given, str) else str(given))
    except ValueError:
        raise illegal("recvWindow", r"^[0-9]{1,5}(\.[0-9]{1,3})?$") from None
    if window > MAX_WINDOW_MS:
        raise Refusal(-1131, "recvWindow must be less than 60000")
    if not window > 0:
        raise illegal("recvWindow", r"^[0-9]{1,5}(\.[0-9]{1,3})?$")
    return window
