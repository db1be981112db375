"""Entries for the tests of the journal."""

from __future__ import annotations

from mmctl.core.entries import Entry, Kind, Plain
from mmctl.core.order import Layer, Side, encode_own_id

T0_MS = 1_700_000_000_000
VENUE, ACCOUNT, OWNER, SYMBOL = "binance", "main", "4242", "BTCUSDT"


def own_id(number: int, layer: Layer = Layer.NEAR, side: Side = Side.BUY) -> str:
    return encode_own_id(layer, side, 17, number)


def entry(kind: Kind, number: int | None = None, *, symbol: str = SYMBOL, owner: str = OWNER, **body: Plain) -> Entry:
    """An entry about order ``number``, or about none."""
    client_id = "" if number is None else own_id(number)
    return Entry(kind, T0_MS + (number or 0), VENUE, ACCOUNT, owner, symbol, client_id, body=body)


def intent(number: int, **changes: Plain) -> Entry:
    body: dict[str, Plain] = {"decision": "17-1", "layer": "near", "side": "buy", "level": 1, "price": "61800.10"}
    body |= {"qty": "0.500", "time_in_force": "GTX", "epoch": 17}
    return entry(Kind.INTENT, number, **(body | changes))


def fill(number: int, trade_id: str, qty: str = "0.1", side: str = "buy", owner: str = OWNER) -> Entry:
    fee: dict[str, Plain] = {"fee": "0.01", "fee_asset": "USDT", "maker": True}
    return entry(Kind.FILL, number, owner=owner, trade_id=trade_id, side=side, price="61800.10", qty=qty, **fee)


def end(number: int, state: str = "cancelled") -> Entry:
    return entry(Kind.END, number, state=state, evidence="the venue said so")
