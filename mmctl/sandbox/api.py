"""Asking the exchange: limits, key, signature and permission first, for REST and the WebSocket API alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mmctl.sandbox.accounts import Account
from mmctl.sandbox.auth import account_of, check_signed
from mmctl.sandbox.exchange import Exchange
from mmctl.sandbox.faults import Faults
from mmctl.sandbox.limits import Limits
from mmctl.sandbox.refusals import Refusal, rejected_key

Params = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Method:
    """One method: who may ask, what it weighs, and what it does.

    ``takes`` are the parameters that it reads: one that it does not is refused, as on the live venue.
    """

    name: str
    security: str
    weight: Callable[[Params], int]
    run: Callable[[Api, Account | None, Params], object]
    takes: frozenset[str]
    places: bool = False


COMMON = frozenset({"apiKey", "timestamp", "recvWindow", "signature", "returnRateLimits"})


class Api:
    """The exchange as its clients see it."""

    def __init__(self, exchange: Exchange, limits: Limits, faults: Faults) -> None:
        self.exchange, self.limits, self.faults = exchange, limits, faults
        self.asked = 0
        self._last_generated = 0
        exchange.on_first_fill = limits.on_first_fill

    def call(self, method: Method, key: object, params: Params, payload: str) -> tuple[object, Account | None]:
        """Do what is asked; returns the result, and the account where it was a placement. Raises ``Refusal``."""
        self.asked += 1
        now = self.exchange.now_ms()
        self.limits.use(method.weight(params), now, method.name)
        if method.security == "NONE":
            return method.run(self, None, params), None
        account = account_of(self.exchange.by_key, key)
        check_signed(account, params, payload, now)
        if method.security == "TRADE" and not account.may_trade:
            raise rejected_key()
        unread = params.keys() - method.takes - COMMON
        if unread:
            sent = len(params)
            message = (
                f"Not all sent parameters were read; read '{sent - len(unread)}' parameter(s) but was sent '{sent}'."
            )
            raise Refusal(-1104, message)
        return method.run(self, account, params), account if method.places else None

    def generated_id(self) -> str:
        """A client order id where the client sent none."""
        self._last_generated += 1
        return f"sandbox{self._last_generated:015d}"
