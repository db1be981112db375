"""What Binance's refusals mean: the closed list, and that all else is unknown."""

from __future__ import annotations

import pytest

from mmctl.wire.binance_errors import Verdict, ban_ends_ms, filter_of, judge, order_not_known

REFUSED, LATER, MEND, UNKNOWN = Verdict.REFUSED, Verdict.LATER, Verdict.MEND, Verdict.UNKNOWN

TABLE = [
    (400, -2010, "Order would immediately match and take.", REFUSED, "would_match"),
    (400, -2010, "Account has insufficient balance for requested action.", REFUSED, "balance"),
    (400, -2010, "Duplicate order sent.", REFUSED, "duplicate_id"),
    (400, -2010, "Market is closed.", REFUSED, "symbol_closed"),
    (400, -2010, "This symbol is not permitted for this account.", REFUSED, "permission"),
    (400, -2010, "This action is disabled on this account.", REFUSED, "permission"),
    (400, -2010, "Price * QTY is zero or less.", REFUSED, "min_notional"),
    (400, -2010, "Filter failure: MAX_NUM_ORDERS", REFUSED, "open_order_cap"),
    (400, -2010, "a text of tomorrow", REFUSED, "rejected"),
    (400, -1013, "Filter failure: PRICE_FILTER", REFUSED, "filter_price"),
    (400, -1013, "Filter failure: LOT_SIZE", REFUSED, "filter_lot_size"),
    (400, -1013, "Filter failure: NOTIONAL", REFUSED, "filter_notional"),
    (400, -1013, "Filter failure: MIN_NOTIONAL", REFUSED, "min_notional"),
    (400, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE", REFUSED, "percent_price"),
    (400, -1013, "Filter failure: MAX_POSITION", REFUSED, "max_position"),
    (400, -1013, "Filter failure: OF_TOMORROW", REFUSED, "filter_of_tomorrow"),
    (400, -1013, "Invalid quantity.", REFUSED, "min_qty"),
    (400, -1111, "Parameter 'price' has too much precision.", REFUSED, "filter_precision"),
    (400, -1102, "Mandatory parameter 'price' was not sent.", REFUSED, "request"),
    (400, -1100, "Illegal characters found in a parameter.", REFUSED, "request"),
    (400, -1116, "Invalid orderType.", REFUSED, "request"),
    (400, -1121, "Invalid symbol.", MEND, "symbol"),
    (400, -1021, "Timestamp for this request is outside of the recvWindow.", MEND, "clock"),
    (400, -1022, "Signature for this request is not valid.", MEND, "signature"),
    (401, -2014, "API-key format invalid.", MEND, "key"),
    (401, -2015, "Invalid API-key, IP, or permissions for action.", MEND, "permission"),
    (401, -1002, "You are not authorized to execute this request.", MEND, "permission"),
    (429, -1003, "Too many requests queued.", LATER, "rate_limit"),
    (418, -1003, "Way too much request weight used; IP banned until 1659146400000.", LATER, "rate_limit"),
    (429, -1015, "Too many new orders.", LATER, "rate_limit"),
    (429, None, "", LATER, "rate_limit"),
    (418, None, "", LATER, "rate_limit"),
    (400, -1000, "An unknown error occurred while processing the request.", UNKNOWN, "unknown"),
    (400, -1001, "Internal error; unable to process your request.", UNKNOWN, "unknown"),
    (400, -1006, "An unexpected response was received from the message bus.", UNKNOWN, "unknown"),
    (400, -1007, "Timeout waiting for response from backend server.", UNKNOWN, "unknown"),
    (400, -1008, "Server is currently overloaded with other requests.", UNKNOWN, "unknown"),
    (400, -1010, "a text of tomorrow", UNKNOWN, "unknown"),
    (400, -9999, "a code of tomorrow", UNKNOWN, "unknown"),
    (403, None, "", UNKNOWN, "unknown"),
    (400, None, "", UNKNOWN, "unknown"),
    (302, None, "", UNKNOWN, "unknown"),
    (200, None, "", UNKNOWN, "unknown"),
    # A status of 5xx says nothing of what was done, whatever stands in it.
    (503, None, "", UNKNOWN, "unknown"),
    (500, -2010, "Account has insufficient balance for requested action.", UNKNOWN, "unknown"),
    (504, -1007, "Timeout waiting for response from backend server.", UNKNOWN, "unknown"),
    (503, -1008, "Server is currently overloaded with other requests.", UNKNOWN, "unknown"),
]


@pytest.mark.parametrize(("status", "code", "text", "verdict", "word"), TABLE)
def test_a_refusal_means(status: int, code: int | None, text: str, verdict: Verdict, word: str) -> None:
    judged = judge(status, code, text)
    assert (judged.verdict, judged.code) == (verdict, word)
    assert bool(judged.hint) is (verdict in (MEND, LATER))


@pytest.mark.parametrize(
    ("code", "text", "not_found"),
    [
        (-2011, "Unknown order sent.", True),
        (-2011, "Order was not canceled due to cancel restrictions.", False),
        (-2013, "Order does not exist.", True),
        (-1021, "Timestamp for this request is outside of the recvWindow.", False),
        (None, "", False),
    ],
)
def test_a_refused_cancel_says_whether_the_order_is_known(code: int | None, text: str, not_found: bool) -> None:
    assert order_not_known(code, text) is not_found


def test_names_and_times_in_texts() -> None:
    assert filter_of("Filter failure: LOT_SIZE") == "LOT_SIZE"
    assert filter_of("Unknown order sent.") == ""
    assert ban_ends_ms("Way too much request weight used; IP banned until 1659146400000. Please") == 1659146400000
    assert ban_ends_ms("Too many requests queued.") is None
