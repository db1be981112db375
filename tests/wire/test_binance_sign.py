"""Signatures against the worked examples of Binance's documents (rest-api.md, web-socket-api.md) and against ccxt."""

from __future__ import annotations

import copy
import pickle

import pytest

from mmctl.wire.binance_sign import Signer, Value, query_string, ws_payload

KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
SIGNER = Signer(KEY, SECRET)
WIDE_DIGITS = "\uff11\uff12\uff13\uff14\uff15\uff16"
"""The documents' symbol that is not ASCII: the digits 1 to 6 in full width."""


def rest_example(symbol: str) -> dict[str, Value]:
    return {
        "symbol": symbol,
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": 1,
        "price": "0.1",
        "recvWindow": 5000,
        "timestamp": 1499827319559,
    }


def ws_example(**changed: Value) -> dict[str, Value]:
    return {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01000000",
        "price": "52000.00",
        "recvWindow": 100,
        "timestamp": 1645423376532,
        **changed,
    }


@pytest.mark.parametrize(
    ("symbol", "shown", "signature"),
    [
        ("LTCBTC", "LTCBTC", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        (
            WIDE_DIGITS,
            "%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96",
            "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
        ),
    ],
)
def test_a_rest_query_is_signed_as_in_the_documents(symbol: str, shown: str, signature: str) -> None:
    query = SIGNER.query(rest_example(symbol))
    assert query.startswith(f"symbol={shown}&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000")
    assert query.endswith(f"&timestamp=1499827319559&signature={signature}")


@pytest.mark.parametrize(
    ("params", "signature"),
    [
        (ws_example(), "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24"),
        (
            ws_example(symbol=WIDE_DIGITS, side="BUY", quantity="1.00000000", price="0.10000000", recvWindow=5000),
            "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
        ),
    ],
)
def test_parameters_of_the_websocket_api_are_signed_as_in_the_documents(
    params: dict[str, Value], signature: str
) -> None:
    signed = SIGNER.ws_params(params)
    assert signed == {**params, "apiKey": KEY, "signature": signature}


def test_values_are_written_as_binance_reads_them() -> None:
    params: dict[str, Value] = {"b": True, "a": 5, "c": "x y&z"}
    assert query_string(params) == "b=true&a=5&c=x%20y%26z"
    assert ws_payload(params) == "a=5&b=true&c=x y&z"
    assert Signer(KEY, SECRET).query({}).startswith("signature=")


def test_a_signer_shows_neither_key_nor_secret() -> None:
    signature = SIGNER.signature("x")
    assert KEY not in repr(SIGNER)
    assert SECRET not in repr(SIGNER) + str(vars(type(SIGNER)))
    assert not hasattr(SIGNER, "__dict__")
    for store in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="not to be stored"):
            store(SIGNER)
    assert SIGNER.masked(f"bad {KEY}\nand {signature}") == "bad *** and ***"
    assert len(SIGNER.masked("x " * 900)) <= 200


@pytest.mark.parametrize("verb", ["GET", "POST", "DELETE"])
def test_ccxt_signs_alike(verb: str) -> None:
    ccxt = pytest.importorskip("ccxt", reason="ccxt is not installed: it pins old versions, see the group 'outside'")
    oracle = ccxt.binance({"apiKey": KEY, "secret": SECRET})
    asked = {"symbol": "BTCUSDT", "origClientOrderId": "N0B00000010000000001"}
    request = oracle.sign("order", ["private"], verb, dict(asked))
    sent = request["body"] or request["url"].partition("?")[2]
    payload, _, signature = sent.rpartition("&signature=")
    params: dict[str, Value] = dict(part.split("=") for part in payload.split("&"))
    assert params.items() >= asked.items()
    assert SIGNER.query(params) == f"{payload}&signature={signature}"
    assert request["headers"]["X-MBX-APIKEY"] == KEY
