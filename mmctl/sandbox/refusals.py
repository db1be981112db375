"""Everything the sandbox says no with: Binance's own codes and texts, each with its HTTP status."""

from __future__ import annotations


class Refusal(Exception):
    """A request that is not done. ``retry_after_ms`` is when to come back, in ms since the epoch."""

    def __init__(self, code: int, message: str, status: int = 400, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after_ms = retry_after_ms


def filter_failure(name: str) -> Refusal:
    return Refusal(-1013, f"Filter failure: {name}")


def missing(parameter: str) -> Refusal:
    return Refusal(-1102, f"Mandatory parameter '{parameter}' was not sent, was empty/null, or malformed.")


def not_required(parameter: str) -> Refusal:
    return Refusal(-1106, f"Parameter '{parameter}' sent when not required.")


def illegal(parameter: str, legal: str) -> Refusal:
    return Refusal(-1100, f"Illegal characters found in parameter '{parameter}'; legal range is '{legal}'.")


def too_precise(parameter: str) -> Refusal:
    return Refusal(-1111, f"Parameter '{parameter}' has too much precision.")


def invalid_symbol() -> Refusal:
    return Refusal(-1121, "Invalid symbol.")


def market_closed() -> Refusal:
    return Refusal(-1013, "Market is closed.")


def insufficient_balance() -> Refusal:
    return Refusal(-2010, "Account has insufficient balance for requested action.")


def would_take() -> Refusal:
    return Refusal(-2010, "Order would immediately match and take.")


def duplicate_order() -> Refusal:
    return Refusal(-2010, "Duplicate order sent.")


def account_disabled() -> Refusal:
    return Refusal(-2010, "This action is disabled on this account.")


def unknown_order() -> Refusal:
    return Refusal(-2011, "Unknown order sent.")


def no_such_order() -> Refusal:
    return Refusal(-2013, "Order does not exist.")


def outside_window() -> Refusal:
    return Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")


def ahead_of_server() -> Refusal:
    return Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")


def bad_signature() -> Refusal:
    return Refusal(-1022, "Signature for this request is not valid.")


def bad_key_format() -> Refusal:
    return Refusal(-2014, "API-key format invalid.", 401)


def rejected_key() -> Refusal:
    return Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def too_much_weight(limit: int, interval: str, retry_after_ms: int) -> Refusal:
    message = (
        f"Too much request weight used; current limit is {limit} request weight per {interval}. "
        "Please use WebSocket Streams for live updates to avoid polling the API."
    )
    return Refusal(-1003, message, 429, retry_after_ms)


def banned(until_ms: int) -> Refusal:
    message = (
        f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans."
    )
    return Refusal(-1003, message, 418, until_ms)


def too_many_orders(limit: int, interval: str, retry_after_ms: int) -> Refusal:
    return Refusal(-1015, f"Too many new orders; current limit is {limit} orders per {interval}.", 429, retry_after_ms)


def timed_out() -> Refusal:
    message = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
    return Refusal(-1007, message, 504)


def internal_error() -> Refusal:
    return Refusal(-1001, "Internal error; unable to process your request. Please try again.", 503)


def in_maintenance() -> Refusal:
    return Refusal(-1016, "This service is no longer available.", 503)


def unknown_method() -> Refusal:
    return Refusal(-1020, "This operation is not supported.")
