"""The contract of the ``Venue`` port, kept by the Binance venue against the sandbox, over the socket and over REST."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mmctl.core.events import Fill, Rejected
from mmctl.core.order import Side, TimeInForce

from . import test_contract
from .binance_harness import BinanceHarness
from .test_contract import begin

# The contract's tests run here with the fixture below; what is defined further down takes the place of its namesake.
globals().update({name: one for name, one in vars(test_contract).items() if name.startswith("test_")})


@pytest.fixture(params=[True, False], ids=["ws", "rest"])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[BinanceHarness]:
    made = BinanceHarness(use_ws=request.param)
    yield made
    await made.stop()


@pytest.mark.parametrize(("tif", "code"), [(TimeInForce.GTC, "self_trade"), (TimeInForce.GTX, "would_match")])
async def test_an_order_never_trades_with_our_own(harness: BinanceHarness, tif: TimeInForce, code: str) -> None:
    """As in the contract; Binance refuses a post-only order that would match before it asks whose the other one is."""
    session = await begin(harness)
    ask = session.new(Side.SELL, "100.05")
    await session.place(ask)
    bid = session.new(Side.BUY, "100.05", tif=tif)
    await session.place(bid)
    (refused,) = session.answers(bid.client_id)
    assert isinstance(refused, Rejected)
    assert refused.code == code
    await session.quiet()
    assert not session.events(Fill)
    assert [seen.client_id for seen in harness.truth().own] == [ask.client_id]
