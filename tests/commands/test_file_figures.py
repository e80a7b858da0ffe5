from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conftest import Run
from yolo.commands.file_figures import Rounds, figures_of, measure_latency, wide_console
from yolo.commands.measure_options import MeasureOptions
from yolo.commands.measurement import prepare
from yolo.data.options import DataOptions


def test_figures_are_those_of_the_evaluation(tiny_run: Run) -> None:
    data = DataOptions(format="shapes", shapes_val=3, num_workers=0)
    one = prepare(MeasureOptions(tiny_run.best, device="cpu", precision="32-true"), data)
    other = prepare(replace(one.options, size=(640,)), data)
    slow, fast = measure_latency([other, one], Rounds(batch=2, warmup=0, runs=3))
    assert slow["forward"].p50 > fast["forward"].p50
    metrics = one.run()
    found = figures_of(one, metrics, fast)
    assert (found.ap, found.ap50) == (metrics.as_dict()["mAP"], metrics.as_dict()["mAP50"])
    assert (found.f1, found.best_confidence) == (metrics.point.f1, metrics.analysis.best.confidence)
    assert (found.latency, found.forward) == (fast["total"], fast["forward"])
    assert found.size == one.module.model.deploy().cost[1]


@pytest.mark.parametrize(("columns", "width"), [("80", 110), ("150", 150)])
def test_tables_keep_their_figures(columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert wide_console().width == width
