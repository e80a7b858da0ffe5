from __future__ import annotations

import math

from yolo.evaluation.sparkline import defined, sparkline


def test_lowest_and_highest_value_have_the_outer_characters() -> None:
    assert sparkline([0.0, 0.5, 1.0, 0.25]) == "▁▅█▃"
    assert sparkline([0.3, 0.1, 0.2], ascii_only=True) == "#_="


def test_what_is_not_defined_is_a_gap() -> None:
    assert sparkline([0.1, math.nan, -1.0, 0.2]) == "▁  █"
    assert sparkline([math.nan, -1.0]) == "  "
    assert sparkline([]) == ""
    assert defined([0.0, math.nan, -1.0, 0.2]) == [0.0, 0.2]


def test_equal_values_are_in_the_middle() -> None:
    assert sparkline([0.4] * 3) == "▅▅▅"
    assert sparkline([0.0] * 2) == "▅▅"
