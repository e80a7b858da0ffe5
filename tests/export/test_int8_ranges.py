from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.export.test_int8_checks import failures, post_training_file
from tests.export.tflite_files import needs_tflite, small_file
from yolo.export.int8_checks import check_int8
from yolo.export.int8_ranges import tensor_range
from yolo.runtime.tflite_file import content_of, operator_name, read_model

pytestmark = [needs_tflite, pytest.mark.slow]


def test_a_changed_scale_and_zero_point_of_activations(tmp_path: Path) -> None:
    for change in (_other_scale, _other_zero_point):
        place, one, other = failures(change, tmp_path)
        assert re.fullmatch(r"INT8 ranges: conv2d\w* has others in the file", place)
        assert "of the network's tensors are not in the file, the first with scale" in one
        assert "of the file's tensors are not the network's, the first with scale" in other
        assert one.startswith("INT8 ranges: 1 of ")
        assert other.startswith("INT8 ranges: 1 of ")


def _silu_input(model: Any) -> Any:
    """Of the first SiLU: a tensor with a range of its own."""
    return model.subgraphs[0].tensors[model.subgraphs[0].operators[1].outputs[0]]


def _other_scale(model: Any) -> None:
    _silu_input(model).quantization.scale[0] *= 1.01


def _other_zero_point(model: Any) -> None:
    _silu_input(model).quantization.zeroPoint[0] += 1


def test_ranges_in_the_wrong_place(tmp_path: Path) -> None:
    """One tensor has the range of another, or two have each other's: the file still has every range."""
    small = small_file("raw", "int8")
    model = read_model(small.at(tmp_path))
    tensors = [tensor for tensor in model.subgraphs[0].tensors if tensor_range(model, tensor) is not None]
    body, spoiled = small.written.quantized.body, 0  # type: ignore[union-attr]
    for one, other in itertools.pairwise(tensors):
        first, second = one.quantization, other.quantization
        if first.scale[0] == second.scale[0]:
            continue
        for one_has, other_has in ((second, first), (second, second)):
            one.quantization, other.quantization = one_has, other_has
            (tmp_path / "a.tflite").write_bytes(content_of(model))
            assert any(failure.startswith("INT8 ranges: ") for failure in check_int8(body, tmp_path / "a.tflite"))
            spoiled += 1
        one.quantization, other.quantization = first, second
    assert spoiled > 50


def test_ranges_in_the_wrong_place_are_named(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        first, second = (graph.tensors[graph.operators[number].outputs[0]] for number in (1, 5))  # inputs of SiLUs
        first.quantization, second.quantization = second.quantization, first.quantization

    found = failures(change, tmp_path)
    assert sum(bool(re.fullmatch(r"INT8 ranges: conv2d\w* has others in the file", failure)) for failure in found) == 2
    for where in ("the network in the file", "the file in the network"):
        assert any(f"INT8 ranges: 2 operators of {where} have others, the first MUL, by" in text for text in found)


class Unfused(nn.Module):
    """Activations that are no part of the operator before them: its result is used elsewhere, or there is no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.first(images)
        x = F.relu6(x) + x
        one, other = F.leaky_relu(x).chunk(2, 1)
        return self.last(torch.cat((F.relu(one), other), 1))


def test_an_activation_has_a_range_of_its_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    graph, path = post_training_file(Unfused(), tmp_path)
    model = read_model(path)
    names = {operator_name(model, operator) for operator in model.subgraphs[0].operators}
    assert {"RELU6", "LEAKY_RELU"} < names
    assert check_int8(graph, path) == []
