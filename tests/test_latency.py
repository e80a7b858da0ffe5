from __future__ import annotations

import mmap
import time

import numpy as np
import pytest

import yolo.latency
from yolo.latency import Latency, PeakMemory, measure_in_turn, measure_stages, peak_of_children


def test_figures_of_known_times() -> None:
    seconds = np.arange(1, 101) / 1000
    found = Latency.of(seconds, batch=4)
    assert found.mean == pytest.approx(50.5)
    assert found.std == pytest.approx(seconds.std() * 1000)
    assert (found.p50, found.p95, found.p99) == pytest.approx(tuple(np.percentile(np.arange(1, 101), [50, 95, 99])))
    assert found.throughput == pytest.approx(4 / 0.0505)


def test_stages_get_what_the_one_before_gave() -> None:
    seen: list[int] = []
    waits = 0

    def wait() -> None:
        nonlocal waits
        waits += 1

    stages = {"double": lambda value: 2 * value, "keep": seen.append}
    seconds = measure_stages(stages, [1, 2, 3], warmup=2, runs=5, synchronize=wait)
    assert seen[-5:] == [2, 4, 6, 2, 4]
    assert len(seen) == 7
    assert {name: len(times) for name, times in seconds.items()} == {"double": 5, "keep": 5, "total": 5}
    assert waits == 7 * 3


def test_time_goes_to_its_stage() -> None:
    seconds = measure_stages({"slow": lambda _: time.sleep(0.02), "fast": lambda _: None}, [0], warmup=0, runs=3)
    assert (seconds["slow"] >= 0.02).all()
    assert seconds["fast"].max() < 0.02
    np.testing.assert_allclose(seconds["total"], seconds["slow"] + seconds["fast"], rtol=1e-9)


def test_candidates_take_turns() -> None:
    seen: list[tuple[str, int]] = []
    stages = [{"see": lambda value, name=name: seen.append((name, value))} for name in "ab"]
    found = measure_in_turn(stages, [7, 8], warmup=1, runs=2)
    assert seen == [(name, value) for value in (8, 7, 8) for name in "aabb"]  # the second of each counts
    assert [{name: len(times) for name, times in entry.items()} for entry in found] == [{"see": 2, "total": 2}] * 2


def test_a_peak_that_is_gone_still_counts() -> None:
    memory = PeakMemory()
    before = memory.growth
    with mmap.mmap(-1, 64_000_000) as block:  # numpy's could be memory that was freed before, but stayed
        block.write(b"1" * len(block))
    assert memory.growth - before > 50e6


def test_without_linux(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(yolo.latency, "_PROC", yolo.latency.Path("/no/such/folder"))
    assert peak_of_children() == 0
    assert PeakMemory().growth >= 0
    assert PeakMemory().start > 10e6
