"""Numbers are shown in the unit that a reader would choose."""

import pytest

from course_lib.lab.units import axis_scale, bytes_text, number_text, seconds_text, tick_text, value_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (98_304, "96.0 KiB"),
        (134_515_008, "128 MiB"),
        (3 * 2**30, "3.00 GiB"),
        (5 * 2**40, "5.00 TiB"),
        (-2048, "-2.00 KiB"),
    ],
)
def test_bytes(count, text):
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3.2e-8, "32.0 ns"),
        (1.5e-6, "1.50 µs"),
        (0.0123, "12.3 ms"),
        (0.142, "142 ms"),
        (1.0, "1.00 s"),
        (61.2, "61.2 s"),
        (300, "5.0 min"),
    ],
)
def test_seconds(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"),
        (0.25, "0.250"),
        (3.14159, "3.14"),
        (31.4159, "31.4"),
        (260.4, "260"),
        (131072, "131,072"),
        (1.2e-5, "1.20e-05"),
        (float("inf"), "inf"),
    ],
)
def test_numbers(value, text):
    assert number_text(value) == text


def test_ticks_are_short():
    assert [tick_text(v) for v in (0, 0.001, 0.5, 2, 512, 4096)] == ["0", "0.001", "0.5", "2", "512", "4,096"]


def test_a_value_carries_its_unit():
    assert value_text(0.002, "s") == "2.00 ms"
    assert value_text(2048, "bytes") == "2.00 KiB"
    assert value_text(260, "tok/s") == "260 tok/s"
    assert value_text(3, "") == "3.00"


@pytest.mark.parametrize(
    ("largest", "unit", "scale", "shown"),
    [
        (0.142, "s", 1e-3, "ms"),
        (12, "s", 1, "s"),
        (3 * 2**30, "bytes", 2**30, "GiB"),
        (100, "bytes", 1, "bytes"),
        (0, "s", 1e-9, "ns"),
        (5e6, "tok/s", 1, "tok/s"),
    ],
)
def test_an_axis_gets_the_unit_of_its_largest_value(largest, unit, scale, shown):
    assert axis_scale(largest, unit) == (scale, shown)
