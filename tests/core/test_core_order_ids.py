"""The client order id: whose an order is."""

from __future__ import annotations

import re

import pytest
from core_samples import examples
from hypothesis import given
from hypothesis import strategies as st

from mmctl.core.order import MAX_EPOCH, MAX_SEQUENCE, Layer, OwnId, Side, decode_own_id, encode_own_id

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
OWN = st.builds(
    OwnId,
    st.sampled_from(Layer),
    st.sampled_from(Side),
    st.integers(0, MAX_EPOCH),
    st.integers(0, MAX_SEQUENCE),
)


@examples(400)
@given(OWN)
def test_an_id_decodes_to_what_was_encoded_and_fits_every_venue(own: OwnId) -> None:
    text = encode_own_id(*own)
    assert decode_own_id(text) == own
    assert re.fullmatch(r"[0-9A-Z]{1,32}", text)
    assert text.startswith({Layer.NEAR: "N0", Layer.FAR: "F0"}[own.layer])


@examples(300)
@given(OWN, OWN)
def test_different_orders_have_different_ids(one: OwnId, other: OwnId) -> None:
    assert (encode_own_id(*one) == encode_own_id(*other)) is (one == other)


def test_the_form_stays_as_it_is() -> None:
    """Orders outlive the version that placed them."""
    assert encode_own_id(Layer.NEAR, Side.BUY, 0, 0) == "N0B000000000000000LL"
    assert encode_own_id(Layer.FAR, Side.SELL, 1_700_000_000, 123_456_789) == "F0S0S44WE80021I3V9OX"


def test_ids_of_one_engine_never_repeat() -> None:
    ids = {encode_own_id(layer, side, 5, n) for layer in Layer for side in Side for n in range(5000)}
    assert len(ids) == 20_000


@examples(100)
@given(OWN)
def test_any_change_of_one_character_is_caught(own: OwnId) -> None:
    """Every one of them: the check digits are a polynomial over a prime field larger than any character."""
    text = encode_own_id(*own)
    for at, was in enumerate(text):
        for other in DIGITS:
            if other != was:
                assert decode_own_id(text[:at] + other + text[at + 1 :]) is None


@examples(300)
@given(OWN, st.data())
def test_two_neighbours_changed_places_are_caught(own: OwnId, data: st.DataObject) -> None:
    """Within what is checked; across its border to the check digits it is only nearly sure."""
    text = encode_own_id(*own)
    at = data.draw(st.integers(0, len(text) - 4))
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if swapped != text:
        assert decode_own_id(swapped) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "N0",
        "BTCUSDT_20044_51840123",
        "F0BBTCUSDT_20044_5184012",
        "F0SBTCUSDT_20044_5184012",
        "M0B0000000000000000",
        "T0B0000000000000000",
        "N0B" + "0" * 17,
        "x-R4BD3S82e9ef29d8346440f0b28b86",
        encode_own_id(Layer.NEAR, Side.BUY, 1, 1).lower(),
        encode_own_id(Layer.NEAR, Side.BUY, 1, 1) + "0",
        encode_own_id(Layer.NEAR, Side.BUY, 1, 1)[:-1],
        " " + encode_own_id(Layer.NEAR, Side.BUY, 1, 1)[1:],
        encode_own_id(Layer.NEAR, Side.BUY, 1, 1).replace("1", "\u0661"),
    ],
)
def test_what_does_not_decode_fully_is_foreign(text: str) -> None:
    assert decode_own_id(text) is None


@examples(300)
@given(st.text(max_size=40))
def test_any_text_is_foreign(text: str) -> None:
    assert decode_own_id(text) is None


@examples(300)
@given(st.text(DIGITS, min_size=17, max_size=17), st.sampled_from(["N0B", "N0S", "F0B", "F0S"]))
def test_what_decodes_is_an_id_that_we_would_make(body: str, prefix: str) -> None:
    own = decode_own_id(prefix + body)
    assert own is None or encode_own_id(*own) == prefix + body


@pytest.mark.parametrize(("epoch", "sequence"), [(-1, 0), (MAX_EPOCH + 1, 0), (0, -1), (0, MAX_SEQUENCE + 1)])
def test_an_id_is_never_cut_short(epoch: int, sequence: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_own_id(Layer.NEAR, Side.BUY, epoch, sequence)


def test_the_epoch_has_room_for_unix_seconds() -> None:
    assert MAX_EPOCH > 50_000_000_000
