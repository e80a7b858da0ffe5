from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("torchao")
from yolo.quantization.post_training import exported_graph
from yolo.quantization.rewrites import average_by_convolution, upsample_by_concatenation

AVERAGE, UPSAMPLE = "aten.avg_pool2d.default", "aten.upsample_nearest2d.vec"


class Calling(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(torch.sin(x))


def both(function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, set[str]]:
    """Output before and after, and the operators after."""
    images = torch.rand(1, 3, 8, 10)
    graph = exported_graph(Calling(function), images)
    before = graph(images)
    upsample_by_concatenation(average_by_convolution(graph))
    return before, graph(images), {str(node.target) for node in graph.graph.nodes}


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2, "stride": 1},
        {"kernel_size": 2},
        {"kernel_size": (1, 3), "stride": (2, 1)},
        {"kernel_size": 3, "stride": 2, "padding": (1, 0)},
        {"kernel_size": 2, "count_include_pad": False},  # says nothing without padding
    ],
)
def test_average_pools_become_convolutions(options: dict) -> None:
    before, after, operators = both(lambda x: F.avg_pool2d(x, **options))
    assert AVERAGE not in operators
    assert "aten.conv2d.default" in operators
    assert after.shape == before.shape
    assert (after - before).abs().max() < 1e-6


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "stride": 2, "ceil_mode": True},
        {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
        {"kernel_size": 2, "divisor_override": 3},
    ],
)
def test_other_average_pools_are_left(options: dict) -> None:
    before, after, operators = both(lambda x: F.avg_pool2d(x, **options))
    assert AVERAGE in operators
    assert torch.equal(after, before)


def test_upsampling_becomes_concatenations() -> None:
    before, after, operators = both(lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"))
    assert UPSAMPLE not in operators
    assert "aten.cat.default" in operators
    assert torch.equal(after, before)


@pytest.mark.parametrize("options", [{"scale_factor": 3.0}, {"scale_factor": (2.0, 1.0)}, {"size": (16, 20)}])
def test_other_upsampling_is_left(options: dict) -> None:
    before, after, operators = both(lambda x: F.interpolate(x, **options, mode="nearest"))
    assert UPSAMPLE in operators
    assert torch.equal(after, before)


def test_any_number_of_images() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AvgPool2d(2, 1), nn.Upsample(scale_factor=2.0))
    graph = exported_graph(network, torch.zeros(2, 3, 8, 8), any_batch=True)
    upsample_by_concatenation(average_by_convolution(graph))
    images = torch.rand(5, 3, 8, 8)
    assert (graph(images) - network(images)).abs().max() < 1e-6
