"""Typed messages and physical quantities: the thin layer over the dicts."""

from __future__ import annotations

import importlib
import inspect
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.iso15118 import quantities
from edge.iso15118.exi import SchemaSet
from edge.iso15118.grammar import load
from edge.iso15118.messages import v20_dc
from tests.exi.generator import Generator

exponents = st.integers(-6, 6)


def value_of(number: quantities.RationalNumber) -> Fraction:
    return number["Value"] * Fraction(10) ** number["Exponent"]


@given(st.integers(-(2**15), 2**15 - 1), exponents)
def test_what_fits_16_bits_is_carried_exactly(steps: int, exponent: int) -> None:
    assert value_of(quantities.rational(steps, exponent)) == steps * Fraction(10) ** exponent


@given(st.integers(-(2**62), 2**62), exponents)
def test_a_sent_limit_never_exceeds_the_one_that_was_meant(steps: int, exponent: int) -> None:
    meant, sent = steps * Fraction(10) ** exponent, value_of(quantities.rational(steps, exponent))
    assert abs(sent) <= abs(meant) and sent * meant >= 0
    assert abs(meant - sent) <= abs(meant) / 3276


@given(st.integers(-(2**15), 2**15 - 1), st.integers(-128, 10), exponents)
def test_a_received_value_is_rounded_towards_zero(value: int, exponent: int, step: int) -> None:
    exact = value * Fraction(10) ** (exponent - step)
    got = quantities.steps({"Exponent": exponent, "Value": value}, step)
    assert got == int(exact)


@given(st.integers(-3_000_000, 3_000_000))
def test_a_power_in_w_goes_there_and_back_in_iso_15118_2(power_w: int) -> None:
    physical = quantities.physical(power_w)
    assert -3 <= physical["Multiplier"] <= 3
    assert abs(quantities.physical_steps(physical) - power_w) <= abs(power_w) // 3276


def test_values_beyond_every_range_are_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        quantities.physical(10**9)
    with pytest.raises(ValueError, match="beyond 64 bits"):
        quantities.steps({"Exponent": 127, "Value": 1})
    assert quantities.steps({"Exponent": 127, "Value": 0}) == 0
    assert quantities.steps({"Exponent": -128, "Value": -32768}) == 0


@pytest.mark.parametrize("schema_set", list(SchemaSet))
def test_every_message_has_a_typed_dict(schema_set: SchemaSet) -> None:
    module = importlib.import_module(f"edge.iso15118.messages.{schema_set.key}")
    generator = Generator(load(schema_set.key), None)  # type: ignore[arg-type]
    roots = {generator.schema.names[p.name][0] for p in generator.roots()}
    assert roots <= set(module.Message.__annotations__)


def test_required_keys_are_those_that_no_message_does_without() -> None:
    mode = v20_dc.BPT_Dynamic_DC_CLReqControlModeType
    assert mode.__required_keys__ >= {"EVMaximumDischargePower", "EVMaximumEnergyRequest"}
    assert mode.__optional_keys__ == {"DepartureTime", "EVMaximumV2XEnergyRequest", "EVMinimumV2XEnergyRequest"}
    request = v20_dc.DC_ChargeLoopReqType
    assert {"Header", "MeterInfoRequested", "EVPresentVoltage"} == request.__required_keys__


def test_fields_say_their_unit() -> None:
    text = inspect.getsource(v20_dc.BPT_Dynamic_DC_CLReqControlModeType)
    for field, unit in (("EVMaximumDischargePower", "W"), ("EVMaximumVoltage", "V"), ("EVTargetEnergyRequest", "Wh")):
        assert f'{field}: RationalNumberType\n    """{unit}"""' in text


def test_a_typed_message_is_the_dict_of_the_codec() -> None:
    message: v20_dc.Message = {
        "DC_PreChargeRes": {
            "Header": {"SessionID": bytes(8), "TimeStamp": 1},
            "ResponseCode": "OK",
            "EVSEPresentVoltage": quantities.rational(4000, -1),
        }
    }
    assert v20_dc.decode(v20_dc.encode(message), strict=True) == message
