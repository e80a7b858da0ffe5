from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from yolo.benchmark import (
    Benchmark,
    Candidate,
    benchmark_detector,
    latency_in_turn,
    network_stages,
    print_benchmark,
)
from yolo.boxes.nms import NMSOptions
from yolo.inference import detect, letterboxed
from yolo.models.registry import build_model

IMAGES = [np.random.default_rng(i).integers(0, 256, (40 + 8 * i, 64, 3), np.uint8) for i in range(3)]


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model("v9-t", num_classes=3).eval().deploy()


def figures() -> Benchmark:
    candidate = Candidate(network(), (64, 64), "center", NMSOptions(0.01))
    return benchmark_detector(candidate, IMAGES, batches=[1, 4], warmup=1, runs=3)


def test_every_stage_of_every_batch() -> None:
    found = figures()
    assert [entry.batch for entry in found.batches] == [1, 4]
    for entry in found.batches:
        assert list(entry.latency) == ["preprocess", "forward", "postprocess", "total"]
        parts = [entry.latency[name].mean for name in ("preprocess", "forward", "postprocess")]
        assert abs(entry.latency["total"].mean - sum(parts)) < 1e-6
        assert entry.memory >= 0
    assert found.weights >= 4 * found.parameters > 4e6


def test_the_stages_are_the_path_of_validation() -> None:
    model, options = network(), NMSOptions(0.001)
    value = IMAGES[:2]
    with torch.inference_mode():
        for stage in network_stages(Candidate(model, (64, 64), "center", options)).values():
            value = stage(value)
        expected = detect(
            model, letterboxed(IMAGES[:2], (64, 64), "center"), [i.shape[:2] for i in IMAGES[:2]], options, "center"
        )
    assert [len(rows) for rows in value] == [len(rows) for rows in expected] != [0, 0]
    for ours, theirs in zip(value, expected, strict=True):
        assert torch.equal(ours[:, 4:], theirs[:, 4:])


@pytest.mark.slow
def test_several_in_turn() -> None:
    candidates = [Candidate(network(), (side, side), "center", NMSOptions(0.01)) for side in (32, 256)]
    small, large = latency_in_turn(candidates, IMAGES, batch=2, warmup=1, runs=3)
    assert list(small) == list(large) == ["preprocess", "forward", "postprocess", "total"]
    assert small["forward"].p50 < large["forward"].p50
    assert small["total"].throughput == pytest.approx(2000 / small["total"].mean)


def test_table() -> None:
    out = io.StringIO()
    print_benchmark(Console(file=out, width=80), figures())
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for word in ("p99", "images/s", "preprocess", "total", "batch 4", "weights: "):
        assert word in text
