"""Binance's signatures: HMAC-SHA256 over a request's parameters (rest-api.md, web-socket-api.md: "Request security").

REST signs the percent-encoded query string (with the body behind it), in the order in which it is sent. The WebSocket
API signs all parameters but the signature, the key among them, sorted by name and not percent-encoded.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote

MAX_TEXT = 200
_SIGNATURES = re.compile(r"[0-9a-fA-F]{64}")
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch
"""What is as it is when it is encoded: nearly all that is sent."""

Value = str | int | bool
Params = Mapping[str, Value]


class Signer:
    """One API key with its secret. Neither is ever shown: not by ``repr``, not by ``str``, not by pickling."""

    __slots__ = ("__key", "__mac")

    def __init__(self, key: str, secret: str) -> None:
        self.__key = key
        self.__mac = hmac.new(secret.encode(), digestmod=hashlib.sha256)

    def __repr__(self) -> str:
        return "Signer(***)"

    def __reduce__(self) -> str:
        raise TypeError("a signer is not to be stored")

    @property
    def key(self) -> str:
        """The API key, for the header or the parameter that carries it."""
        return self.__key

    def signature(self, payload: str) -> str:
        """Hexadecimal HMAC-SHA256 of ``payload``."""
        mac = self.__mac.copy()
        mac.update(payload.encode())
        return mac.hexdigest()

    def query(self, params: Params) -> str:
        """A signed query string, to be sent exactly as it is, or as the body of a form."""
        payload = query_string(params)
        signature = self.signature(payload)
        return f"{payload}&signature={signature}" if payload else f"signature={signature}"

    def ws_params(self, params: Params) -> dict[str, Value]:
        """``params`` with key and signature, as the WebSocket API wants them."""
        signed = {**params, "apiKey": self.__key}
        return {**signed, "signature": self.signature(ws_payload(signed))}

    def masked(self, text: str) -> str:
        """A venue's text for people: one short line, without the key or anything that looks like a signature."""
        clean = _SIGNATURES.sub("***", text.replace(self.__key, "***") if self.__key else text)
        return " ".join(clean.split())[:MAX_TEXT]


def query_string(params: Params) -> str:
    """``params`` percent-encoded in UTF-8, in the order given; a space becomes ``%20``."""
    texts = ((name, _text(value)) for name, value in params.items())
    return "&".join(f"{name}={text if _PLAIN(text) else quote(text, safe='')}" for name, text in texts)


def ws_payload(params: Params) -> str:
    """What the WebSocket API has signed: every parameter, sorted by name, as plain UTF-8."""
    return "&".join(f"{name}={_text(params[name])}" for name in sorted(params))


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
