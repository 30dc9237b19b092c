"""Protected frames are those of AUTOSAR's E2E profiles 1 and 2, as an independent implementation of them says."""

from __future__ import annotations

import pytest
from e2e.p01 import (
    E2E_P01_DATAID_ALT,
    E2E_P01_DATAID_BOTH,
    E2E_P01_DATAID_LOW,
    E2E_P01_DATAID_NIBBLE,
    e2e_p01_check,
    e2e_p01_protect,
)
from e2e.p02 import e2e_p02_check, e2e_p02_protect
from hypothesis import given
from hypothesis import strategies as st

from edge.core._native import ffi, lib
from edge.core.pack_can import ID_MODES, PROTECTIONS
from edge.field.e2e import IdMode, Proof, Protection, protected

MODES = {
    IdMode.BOTH: E2E_P01_DATAID_BOTH,
    IdMode.ALT: E2E_P01_DATAID_ALT,
    IdMode.LOW: E2E_P01_DATAID_LOW,
    IdMode.NIBBLE: E2E_P01_DATAID_NIBBLE,
}
DATA = st.binary(min_size=3, max_size=64)


def native(proof: Proof, data: bytes, count: int, can_id: int = 0) -> bytes:
    can = ffi.new("struct v2g_can_config *")
    can.layouts = can.lists = 1
    can.layout[0].length = len(data)
    can.layout[0].e2e, can.layout[0].id_mode = PROTECTIONS[proof.protection], ID_MODES[proof.id_mode]
    can.list[0].id = list(proof.data_list or [0] * 16)
    frame = ffi.new("uint8_t[]", data)
    lib.v2g_can_protect(can, 0, can_id, proof.data_id, count, frame)
    whole = bytes(frame)[: len(data)]
    assert lib.v2g_can_intact(can, 0, can_id, proof.data_id, ffi.new("uint8_t[]", whole))
    return whole


@pytest.mark.parametrize("mode", IdMode)
@given(data=DATA, data_id=st.integers(0, 0xFFFF), count=st.integers(0, 10_000))
def test_profile_1_is_autosars(mode: IdMode, data: bytes, data_id: int, count: int):
    data_id &= 0x0FFF if mode is IdMode.NIBBLE else 0xFFFF
    proof = Proof(Protection.P01, mode, data_id)
    frame = native(proof, data, count)
    assert frame == protected(proof, 0, data, count)
    assert e2e_p01_check(bytearray(frame), data_id, data_id_mode=MODES[mode])
    theirs = bytearray(frame)
    theirs[0] ^= 0xA5
    e2e_p01_protect(theirs, data_id, data_id_mode=MODES[mode], increment_counter=False)
    assert frame == bytes(theirs)


@given(data=DATA, data_list=st.binary(min_size=16, max_size=16), count=st.integers(0, 10_000))
def test_profile_2_is_autosars(data: bytes, data_list: bytes, count: int):
    proof = Proof(Protection.P02, data_list=tuple(data_list))
    frame = native(proof, data, count)
    assert frame == protected(proof, 0, data, count)
    assert e2e_p02_check(bytearray(frame), data_list)
    theirs = bytearray(frame)
    theirs[0] ^= 0xA5
    e2e_p02_protect(theirs, data_list, increment_counter=False)
    assert frame == bytes(theirs)


@given(data=DATA, can_id=st.integers(0, 0x1FFF_FFFF), count=st.integers(0, 10_000))
def test_the_generic_protection_is_the_oracles(data: bytes, can_id: int, count: int):
    proof = Proof(Protection.PROTECTED)
    assert native(proof, data, count, can_id) == protected(proof, can_id, data, count)


@given(data=DATA)
def test_an_unprotected_frame_is_left_as_it_is(data: bytes):
    assert native(Proof(), data, 3) == data
