from __future__ import annotations

import pytest
import torch

pytest.importorskip("torchao")
from tests.export.tflite_files import SIZE, calibration, small_network
from yolo.errors import UserError
from yolo.models.exportable import ExportableModel, RawOutputs
from yolo.models.head import branch
from yolo.quantization.post_training import (
    calibrated_graph,
    exported_graph,
    quantized_graph,
    with_fake_quantizers,
)

QUANTISE = "quantized_decomposed.quantize_per_tensor.default"


def test_a_quantised_network_computes_nearly_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    network = RawOutputs(ExportableModel(small_network(), SIZE, "raw"))
    graph = exported_graph(network, torch.zeros(1, 3, *SIZE))
    images = next(iter(calibration()))
    exact = graph(images)
    assert all(torch.equal(*pair) for pair in zip(exact, network(images), strict=True))
    prepared, left = calibrated_graph(graph, calibration(), [[0, 2], [1, 3]])
    quantised = quantized_graph(prepared)
    assert left == ()
    for one, other in zip(quantised(images), exact, strict=True):
        error = (one - other).abs()
        assert 0 < error.mean() < 0.1 * other.std()
        assert len(one.unique()) <= 256
    nodes = [node for node in quantised.graph.nodes if str(node.target).startswith("aten.")]
    tensors = [
        node for node in nodes if str(node.target) not in ("aten.chunk.default", "aten.split_with_sizes.default")
    ]
    assert len(tensors) > 40
    assert all(str(user.target) == QUANTISE for node in tensors for user in node.users)
    quantised.eval()  # as modules of torch, though torchao refuses it
    assert capfd.readouterr() == ("", "")


def test_the_range_is_that_of_all_images() -> None:
    images = [torch.full((1, 3, 8, 8), value) for value in (0.25, 1.0, 0.5)]
    network = torch.nn.Conv2d(3, 1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 1.0)
    prepared, _ = calibrated_graph(exported_graph(network, images[0]), images, [])
    graph = quantized_graph(prepared)
    assert [float(graph(each).mean()) for each in images] == pytest.approx([0.75, 3.0, 1.5], abs=3 / 255)


def test_equal_biases_are_parted() -> None:
    head = branch(4, 4, 5, 1, bias=-3.0).eval()
    graph, _ = with_fake_quantizers(exported_graph(head[2], torch.zeros(1, 4, 2, 2)), [])
    graph(torch.rand(1, 4, 2, 2))
    bias = quantized_graph(graph).get_parameter("bias")
    assert bias[:-1].tolist() == [-3.0] * 4
    assert -3 < bias[-1] < -3 + 1e-6


class Bright(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * 2 if images.mean() > 0.7 else images


def test_what_depends_on_numbers_in_the_images_has_no_graph() -> None:
    with pytest.raises(UserError, match=r"torch.export cannot make a graph of the network: .*data-dependent"):
        exported_graph(Bright(), torch.zeros(1, 3, 8, 8))
