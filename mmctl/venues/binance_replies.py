"""What Binance's reply to one placement or cancel means: one event, or *unknown*."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mmctl.core.events import Accepted, CancelRefused, OrderEvent, Rejected
from mmctl.core.order import CancelOrder, NewOrder
from mmctl.wire.binance import Reply, UnknownShape
from mmctl.wire.binance_errors import CANCEL_REJECTED, Judgement, Verdict, judge, order_not_known
from mmctl.wire.binance_orders import read_order
from mmctl.wire.binance_sign import Signer
from mmctl.wire.binance_symbols import SymbolRules, broken_rule


class ReplyReader:
    """Reads replies with what is known of the symbols' rules; ``clock_words`` says how far off our clock is."""

    def __init__(self, signer: Signer, rules: Mapping[str, SymbolRules], clock_words: Callable[[], str]) -> None:
        self._signer = signer
        self._rules = rules
        self._clock_words = clock_words

    def event(self, order: NewOrder | CancelOrder, reply: Reply) -> OrderEvent | None:
        """What ``reply`` says of ``order``; ``None`` where it leaves that open. Raises ``UnknownShape``."""
        if isinstance(order, NewOrder):
            return self._taken(order, reply) if reply.ok else self._refused(order, reply)
        return self._cancelled(order, reply) if reply.ok else self._cancel_refused(order, reply)

    def words(self, reply: Reply) -> str:
        """Why a request failed, for people."""
        text = self._signer.masked(reply.fault.msg) if reply.fault else "no reason given"
        return f"status {reply.status}: {text}"

    def _taken(self, order: NewOrder, reply: Reply) -> OrderEvent:
        told = read_order(reply.result)
        if told.own_id != order.client_id:
            raise UnknownShape("a reply about another order")
        if told.prevented:
            return Rejected(order.client_id, "self_trade", "it would have met an own order")
        return Accepted(order.client_id, str(told.orderId)) if told.is_open else told.ended()

    def _refused(self, order: NewOrder, reply: Reply) -> OrderEvent | None:
        """A refusal, with the rule and the value where our own copy of the symbol's rules shows them."""
        judged = _judged(reply)
        if judged.verdict is Verdict.UNKNOWN:
            return None
        rules, text = self._rules.get(order.symbol), self._reason(reply, judged)
        broken = broken_rule(rules, order, judged.code) if rules is not None else None
        if broken is None:
            return Rejected(order.client_id, judged.code, text)
        return Rejected(order.client_id, broken[0], f"{text}: {broken[1]}")

    def _cancelled(self, cancel: CancelOrder, reply: Reply) -> OrderEvent:
        told = read_order(reply.result)
        if told.own_id != cancel.client_id or told.is_open:
            raise UnknownShape("a reply about another order")
        return told.ended()

    def _cancel_refused(self, cancel: CancelOrder, reply: Reply) -> OrderEvent | None:
        judged = _judged(reply)
        code, text = (reply.fault.code, reply.fault.msg) if reply.fault else (None, "")
        if reply.status < 500 and order_not_known(code, text):
            return CancelRefused(cancel.client_id, True, self._signer.masked(text))
        if judged.verdict is Verdict.UNKNOWN and (code != CANCEL_REJECTED or reply.status >= 500):
            return None
        return CancelRefused(cancel.client_id, False, self._reason(reply, judged))

    def _reason(self, reply: Reply, judged: Judgement) -> str:
        text = self._signer.masked(reply.fault.msg) if reply.fault else f"status {reply.status}"
        if judged.code == "clock":
            text = f"{text}; {self._clock_words()}"
        return f"{text} ({judged.hint})" if judged.hint else text


def _judged(reply: Reply) -> Judgement:
    code, text = (reply.fault.code, reply.fault.msg) if reply.fault else (None, "")
    return judge(reply.status, code, text)
