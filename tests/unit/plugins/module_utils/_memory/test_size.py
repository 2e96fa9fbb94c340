# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Quantities: every unit, the round trip, what is refused and why."""

from __future__ import annotations

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import size
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from hypothesis import given
from hypothesis import strategies as st

QUANTITIES = st.integers(0, size.LARGEST)


# --- reading


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("000", 0),
        ("0GiB", 0),
        ("7b", 7),
        ("7byte", 7),
        ("7bytes", 7),
        ("3K", 3 * 1024),
        ("3KiB", 3 * 1024),
        ("3KB", 3 * 1000),
        ("3M", 3 * 1024**2),
        ("3MiB", 3 * 1024**2),
        ("3MB", 3 * 1000**2),
        ("3G", 3 * 1024**3),
        ("3GiB", 3 * 1024**3),
        ("3GB", 3 * 1000**3),
        ("3T", 3 * 1024**4),
        ("3TiB", 3 * 1024**4),
        ("3TB", 3 * 1000**4),
        ("3P", 3 * 1024**5),
        ("3PiB", 3 * 1024**5),
        ("3PB", 3 * 1000**5),
        ("3E", 3 * 1024**6),
        ("3EiB", 3 * 1024**6),
        ("3EB", 3 * 1000**6),
        ("512 MiB", 512 * 1024**2),
        ("  2GiB\n", 2 * 1024**3),
        ("0002gib", 2 * 1024**3),
        ("9223372036854775807b", 2**63 - 1),
    ],
)
def test_a_quantity_is_read(text: str, value: int) -> None:
    assert size.parse(text) == value


def test_the_table_above_has_every_unit() -> None:
    assert set(size.UNITS) == {"b", "byte", "bytes"} | {
        prefix + suffix for prefix in "kmgtpe" for suffix in ("", "b", "ib")
    }


@given(number=st.integers(0, 7), unit=st.sampled_from(sorted(size.UNITS)), data=st.data())
def test_case_and_space_do_not_matter(number: int, unit: str, data: st.DataObject) -> None:
    as_written = "".join(data.draw(st.sampled_from((letter, letter.upper()))) for letter in unit)
    space = data.draw(st.sampled_from(("", " ", "   ", "\t")))
    assert size.parse(f"{number}{space}{as_written}") == number * size.UNITS[unit]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1024", "has no unit"),
        ("1", "has no unit"),
        ("-1GiB", "is negative"),
        ("-0", "is negative"),
        ("1.5GiB", "is not a whole number"),
        (".5GiB", "is not a whole number"),
        ("1.5", "is not a whole number"),
        ("2XiB", "has the unknown unit 'XiB'"),
        ("2iB", "has the unknown unit 'iB'"),
        ("2GiBs", "has the unknown unit 'GiBs'"),
        ("9223372036854775808b", "is more than libvirt can count"),
        ("8EiB", "is more than libvirt can count"),
        ("9" * 100_000 + "b", "is more than libvirt can count"),
        ("", "is not a size"),
        ("GiB", "is not a size"),
        ("2 2GiB", "is not a size"),
        ("2GiB 3MiB", "is not a size"),
        ("+2GiB", "is not a size"),
        ("0x10MiB", "is not a size"),
        ("1e3MiB", "is not a size"),
        ("1_000MiB", "is not a size"),
        ("1,5GiB", "is not a size"),
        ("5%", "is not a size"),
        ("\u0663GiB", "is not a size"),
        ("2G\u0131B", "is not a size"),
    ],
)
def test_what_is_no_quantity_is_refused(text: str, says: str) -> None:
    with pytest.raises(VirtmemError) as caught:
        size.parse(text, "requested")
    assert caught.value.error_code == "invalid_quantity"
    assert caught.value.msg.startswith("requested: ")
    assert says in caught.value.msg
    assert caught.value.details["option"] == "requested"
    assert caught.value.hint
    # However long a value is, nobody has to read all of it.
    assert len(caught.value.msg) < 200
    assert len(str(caught.value.details)) < 200


def test_a_number_without_unit_is_answered_with_the_units() -> None:
    with pytest.raises(VirtmemError) as caught:
        size.parse("1024")
    for unit in ("1024MiB", "KiB", "GiB", "TiB", "MB"):
        assert unit in caught.value.hint


@given(st.text())
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        outcome: object = 0 <= size.parse(text) <= size.LARGEST
    except VirtmemError as error:
        outcome = error.error_code
    assert outcome in (True, "invalid_quantity")


# --- writing


@given(QUANTITIES)
def test_a_quantity_survives_the_round_trip(value: int) -> None:
    assert size.parse(size.show(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1536 * 1024**2, "1536MiB"),
        (2 * 1024**3, "2GiB"),
        (1024**4, "1TiB"),
        (1024**5, "1PiB"),
        (1024**6, "1EiB"),
        (10**9, "1000000000B"),
    ],
)
def test_a_quantity_is_shown_as_people_write_it(value: int, text: str) -> None:
    assert size.show(value) == text


@given(st.text(max_size=300))
def test_a_shown_value_is_one_short_line(text: str) -> None:
    shown = size.shown(text)
    assert len(shown) <= 60
    assert len(shown.splitlines()) == 1


# --- alignment


@given(value=QUANTITIES, unit=st.integers(1, 2**40))
def test_the_aligned_neighbours_are_the_nearest(value: int, unit: int) -> None:
    low, high = size.align_down(value, unit), size.align_up(value, unit)
    assert low % unit == high % unit == 0
    assert low <= value <= high
    assert high - low == (0 if value % unit == 0 else unit)


@pytest.mark.parametrize("power", range(63))
def test_powers_of_two(power: int) -> None:
    assert size.is_power_of_two(2**power)
    assert size.is_power_of_two(2**power + 1) is (power == 0)
    assert not size.is_power_of_two(2**power * 3)


@pytest.mark.parametrize("value", [0, -1, -2])
def test_zero_and_less_are_no_power_of_two(value: int) -> None:
    assert not size.is_power_of_two(value)


# --- tolerance


@pytest.mark.parametrize(
    ("text", "requested", "value"),
    [
        ("0", 1000, 0),
        ("0%", 1000, 0),
        ("5%", 1000, 50),
        ("5 %", 1000, 50),
        (" 100% ", 1000, 1000),
        ("3%", 99, 2),
        ("64MiB", 1000, 64 * 1024**2),
        ("5%", 0, 0),
    ],
)
def test_a_tolerance_is_a_size_or_a_percentage(text: str, requested: int, value: int) -> None:
    assert size.parse_tolerance(text).of(requested) == value


@pytest.mark.parametrize("text", ["101%", "999%", "1000%", "-5%", "5.5%", "%", "64", ""])
def test_what_is_no_tolerance_is_refused(text: str) -> None:
    with pytest.raises(VirtmemError) as caught:
        size.parse_tolerance(text)
    assert caught.value.error_code == "invalid_quantity"
    assert caught.value.details["option"] == "wait_tolerance"


def test_the_exact_tolerance_is_none() -> None:
    assert size.EXACT.of(2**60) == 0


@pytest.mark.parametrize(("text", "meant"), [("2Gi", "2GiB"), ("512Mi", "512MiB"), ("1ti", "1tiB"), ("7Xi", None)])
def test_a_unit_of_kubernetes_is_answered_with_the_finished_line(text: str, meant: str | None) -> None:
    with pytest.raises(VirtmemError) as caught:
        size.parse(text)
    assert (f"Write {meant}." in caught.value.hint) == (meant is not None)
    assert "GiB" in caught.value.hint


@pytest.mark.parametrize(("length", "repeated"), [(58, 58), (59, 55), (10_000, 55)])
def test_a_value_is_repeated_as_far_as_a_message_has_room(length: int, repeated: int) -> None:
    """60 characters with its quotes."""
    text = size.shown("x" * length)
    assert len(text) == 60
    assert text.count("x") == repeated
    assert text.startswith("'x")
    assert text.endswith("'")


def test_too_large_a_percentage_is_answered_with_the_bounds() -> None:
    with pytest.raises(VirtmemError) as caught:
        size.parse_tolerance("101%")
    assert "is more than 100 percent" in caught.value.msg
    assert "0% to 100%" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (512, "512B"),
        (424955904, "405MiB"),
        (23839440896, "22.2GiB"),
        (1024**3, "1GiB"),
        (1023 * 1024, "1023KiB"),
        (5 * 1024**4, "5TiB"),
        (100 * 1024**2, "100MiB"),
        (10**18, "888PiB"),
    ],
)
def test_what_was_measured_is_shown_in_three_digits(value: int, text: str) -> None:
    assert size.about(value) == text
