from __future__ import annotations

import numpy as np
import pytest

from yolo.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, span


def test_the_corners_of_the_data_are_those_of_the_drawing() -> None:
    chart = Chart("key", "", "", "", (10, 20), (-1, 1))
    assert [chart.across(10), chart.across(20)] == [LEFT, WIDTH - RIGHT]
    assert [chart.up(-1), chart.up(1)] == [HEIGHT - BOTTOM, TOP]


def test_a_straight_line_keeps_its_ends_and_a_bend_its_corner() -> None:
    chart = Chart("key", "", "", "")
    chart.add("straight", np.linspace(0, 1, 1001), np.full(1001, 0.5), 0)
    assert len(chart.lines[0].points.split()) == 2
    chart.add("step", [0, 0.25, 0.5, 0.5, 1], [0, 0, 0, 1, 1], 1)
    assert len(chart.lines[1].points.split()) == 4
    chart.add("there and back", [0, 1, 0.5], [0, 0, 0], 1)
    assert len(chart.lines[2].points.split()) == 3


def test_what_is_left_out_lies_on_the_line() -> None:
    rng = np.random.default_rng(0)
    x = np.maximum.accumulate(rng.random(400).round(1)).repeat(3)  # stands still, steps and turns
    y = rng.random(400).round(1).repeat(3)
    chart = Chart("key", "", "", "")
    chart.add("walk", x, y, 0)
    corners = np.array([pair.split(",") for pair in chart.lines[0].points.split()], float)
    assert len(corners) < 400
    for point in np.stack([chart.across(x), chart.up(y)], axis=1):
        along = np.diff(corners, axis=0)
        share = ((point - corners[:-1]) * along).sum(axis=1) / (along**2).sum(axis=1)
        nearest = corners[:-1] + share.clip(0, 1)[:, None] * along
        assert np.linalg.norm(nearest - point, axis=1).min() < 0.15


def test_a_gap_parts_a_line() -> None:
    chart = Chart("key", "", "", "")
    chart.add("a", [0, 0.5, np.nan, 0.7, 1], [0, 1, np.nan, 1, 0], 0)
    assert [len(run.split()) for run in chart.lines[0].points.split("|")] == [2, 2]
    chart.add("b", [np.nan, np.nan], [0, 1], 0)
    assert chart.lines[1].points == ""
    chart.add("one point", [0.5], [0.5], 0)
    assert len(chart.lines[2].points.split()) == 1


def test_forty_lines_have_forty_styles() -> None:
    chart = Chart("key", "", "", "")
    for number in range(20):
        chart.add(str(number), [0, 1], [0, 1], number)
    assert len({line.style for line in chart.lines}) == 20


@pytest.mark.parametrize(
    ("axis", "texts"),
    [
        ((0, 1), ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ((1, 75), ["20", "40", "60"]),
        ((0, 0.013), ["0", "0.005", "0.01"]),
        ((0, 9e6), ["0", "2e+06", "4e+06", "6e+06", "8e+06"]),
        ((1, 2), ["1", "1.2", "1.4", "1.6", "1.8", "2"]),
    ],
)
def test_ticks_are_round(axis: tuple[float, float], texts: list[str]) -> None:
    assert [text for _, text in Chart("key", "", "", "", axis, axis).x_ticks] == texts


def test_epochs_have_no_fractions() -> None:
    chart = Chart("key", "", "", "", (1, 2), whole=True)
    assert [text for _, text in chart.x_ticks] == ["1", "2"]


def test_an_axis_holds_all_values() -> None:
    assert span([[3.0, 5.0], [4.0, float("nan")]]) == (0, 5)
    assert span([[-3.0, 5.0]]) == (-3, 5)
    assert span([[0.0, 0.0]]) == (0, 1)
    assert span([]) == (0, 1)
    assert span([[float("inf")]]) == (0, 1)
