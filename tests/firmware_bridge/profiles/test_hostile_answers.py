"""Any reply to the steps of a start script gives a decoder or a `CodecError`."""

from __future__ import annotations

from contextlib import suppress

import pytest
from fuzz import MANY, damaged
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.profiles import PROFILES
from firmware_bridge.profiles.base import Request, rehearse
from firmware_bridge.simulator.conversation import advert, converse
from firmware_bridge.simulator.motion import rest
from firmware_bridge.simulator.wearables import WEARABLES
from firmware_bridge.stream import CodecError

ANSWERING = {name: made for name, made in WEARABLES.items() if converse(PROFILES[made.profile], made(rest)).replies}


@pytest.mark.parametrize("name", ANSWERING)
def test_hostile_replies_give_a_decoder_or_a_codec_error(name: str) -> None:
    wearable = ANSWERING[name](rest)
    profile = PROFILES[wearable.profile]
    rates = [None, *profile.rates_hz[:1]]
    real = {rate_hz: converse(profile, ANSWERING[name](rest), rate_hz).replies for rate_hz in rates}

    @settings(MANY, max_examples=500)
    @given(st.data(), st.sampled_from(rates))
    def answer(data: st.DataObject, rate_hz: float | None) -> None:
        replies = list(real[rate_hz])
        place = data.draw(st.integers(0, len(replies) - 1))
        replies[place] = data.draw(damaged([replies[place] or b"\0"]))
        with suppress(CodecError):
            rehearse(profile.start(Request(advert(wearable), rate_hz)), replies)

    answer()
