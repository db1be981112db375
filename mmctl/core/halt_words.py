"""The words of halt and resume records, read strictly: what is not quite a record is rubbish, and rubbish holds.

They stand in files and in a Redis that anybody may write to. Every function raises ``ValueError`` for rubbish, and
nothing else.
"""

from __future__ import annotations

import json
from typing import Any

from mmctl.core.order import Layer

LATEST_MS = 253_402_300_799_999
"""The last moment that people can be shown: the end of the year 9999."""


def record_of(line: bytes) -> dict[str, Any]:
    """The JSON object that ``line`` is."""
    try:
        record = json.loads(line)
    except RecursionError:
        raise ValueError("nested without end") from None
    if not isinstance(record, dict):
        raise ValueError("no JSON object")
    return record


def text(record: dict[str, Any], key: str) -> str:
    """A text of the record."""
    value = record.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is no text")
    return value


def number(record: dict[str, Any], key: str, most: int | None = None) -> int:
    """A whole number of the record, not below zero and not above ``most``."""
    return _whole(record.get(key), most)


def moment_ms(record: dict[str, Any]) -> int:
    """When it was written, in ms since the epoch."""
    return number(record, "at_ms", LATEST_MS)


def numbers(value: object) -> list[int]:
    """A list of whole numbers."""
    return [_whole(one) for one in _listed(value)]


def names(value: object) -> list[str]:
    """A list of texts."""
    listed = _listed(value)
    if not all(isinstance(one, str) for one in listed):
        raise ValueError("a name that is no text")
    return listed


def scope_of(record: dict[str, Any]) -> tuple[str, str, str | None, Layer | None]:
    """The venue, account, symbol (all: ``None``) and layer (both: ``None``) that a halt's record covers."""
    scope = record.get("halt")
    if not isinstance(scope, dict) or not {"symbol", "layer"} <= scope.keys():
        raise ValueError("no scope")
    symbol = None if scope["symbol"] is None else text(scope, "symbol")
    layer = None if scope["layer"] is None else Layer(text(scope, "layer"))
    return text(scope, "venue"), text(scope, "account"), symbol, layer


def _listed(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("no list")
    return value


def _whole(value: object, most: int | None = None) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or (most is not None and value > most):
        raise ValueError("not a whole number that can be")
    return value
