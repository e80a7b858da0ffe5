"""Arithmetic in integers: LiteRT's own answers, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.export.tflite_files import needs_tflite
from yolo.export import litert
from yolo.export.parity import random_images
from yolo.quantization.fake_quantize import PerChannelFakeQuantize, set_mode
from yolo.quantization.integers import Activated, Addition, Integers, Levels, Sums
from yolo.quantization.integers import _weights as rounded_weights
from yolo.quantization.post_training import (
    calibrated_graph,
    copied,
    exported_graph,
    quantized_graph,
    with_fake_quantizers,
)
from yolo.quantization.rewrites import rewrite_for_xnnpack
from yolo.runtime.tflite import from_numbers, open_interpreter, to_numbers


class Operators(nn.Module):
    """Each once: convolutions with and without groups, strides, bias and activation, and what stands between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.grouped = nn.Conv2d(16, 16, 3, 1, 1, groups=4, bias=False)
        self.wide = nn.Conv2d(32, 8, 5, 1, 2)
        self.last = nn.Conv2d(24, 5, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.stem(images)
        features = features * torch.sigmoid(features)
        grouped = torch.relu(self.grouped(features))
        one, other = (features + grouped).chunk(2, 1)
        pooled = nn.functional.avg_pool2d(torch.cat((one, other), 1), 2, 1, 0)
        pooled = nn.functional.interpolate(nn.functional.max_pool2d(pooled, 3, 2, 1), scale_factor=2.0)
        wide = self.wide(torch.cat((features, pooled), 1))
        return self.last(torch.cat((wide, grouped), 1)), wide.clamp(0.0, 0.5)


class ChannelsLast(nn.Module):
    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.inner = graph

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.inner(images.permute(0, 3, 1, 2))
        return tuple(output.permute(0, 2, 3, 1) for output in (outputs if isinstance(outputs, tuple) else (outputs,)))


def tflite_answers(graph: nn.Module, images: Tensor, path: Path) -> list[list[Tensor]]:
    """Of each image all outputs of the file that LiteRT makes of a graph with quantise operators."""
    height, width = images.shape[2:]
    path.write_bytes(litert.convert(ChannelsLast(graph), (height, width), quantized=True))
    runner = open_interpreter(path).get_signature_runner()
    ((name, taken),), given = runner.get_input_details().items(), runner.get_output_details()

    def answers(image: Tensor) -> list[Tensor]:
        found = runner(**{name: to_numbers(image.permute(1, 2, 0)[None].numpy(), taken)})
        ordered = sorted(found, key=lambda output: int(output.rpartition("_")[2]))
        return [torch.from_numpy(from_numbers(found[key], given[key])).permute(0, 3, 1, 2) for key in ordered]

    return [answers(image) for image in images]


@pytest.mark.slow
@needs_tflite
@torch.no_grad()
def test_every_operator_answers_as_in_a_tflite_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = random_images(12, (64, 64))
    prepared, left = calibrated_graph(exported_graph(Operators(), images[:1]), images[:6].split(1), [])
    assert left == ()
    integers, in_float = Integers(copied(prepared)), copied(prepared)
    files = tflite_answers(quantized_graph(rewrite_for_xnnpack(prepared)), images, tmp_path / "a.tflite")
    for image, wanted in zip(images, files, strict=True):
        found = integers(image[None])
        assert len(found) == len(wanted) == 2
        for one, other in zip(found, wanted, strict=True):
            assert len(other.unique()) > 50
            assert torch.equal(one, other), (one != other).float().mean()
    half = images[:1].bfloat16()
    wanted = integers(half.float())[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(integers(half)[0], wanted)
    assert not torch.equal(in_float(images[:1])[0], integers(images[:1])[0])  # which calibrates, and rounds nothing


def levels(steps: list[int], scale: float) -> Levels:
    return Levels(torch.tensor(steps).float(), torch.tensor([scale]))


def test_products_round_half_to_even_and_sums_half_up() -> None:
    """As XNNPACK's kernels do; its files would differ in each such place."""
    one = torch.tensor([1.0])
    halves = Sums(torch.tensor([-3.0, -1.0, 1.0, 3.0, 5.0]), torch.tensor([0.5]))
    assert halves.rounded(one).tolist() == [-2, 0, 0, 2, 2]
    added = Addition((levels([-3, -1, 1, 3, 5], 0.5), levels([0, 0, 0, 0, 0], 0.25)))
    assert added.rounded(one).tolist() == [-1, 0, 1, 2, 3]
    assert added.values.tolist() == [-1.5, -0.5, 0.5, 1.5, 2.5]


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e5, 1e9])
def test_sums_of_scales_far_apart(scale: float) -> None:
    """Which XNNPACK leaves to others, and whose factors do not fit 32 bits."""
    added = Addition((levels([-120, 7, 250], 1.0), levels([0, 1, 2], 0.5)))
    wanted = (added.values.double() / scale).round()
    torch.testing.assert_close(added.rounded(torch.tensor([scale])).double(), wanted, rtol=1e-6, atol=0)


def test_an_activation_comes_after_rounding() -> None:
    """Its bounds are levels: 6 is the 15th of 0.4, and 6.2, which would be the 16th, is none."""
    sums = Sums(torch.tensor([-4.0, 15.4, 15.6, 100.0]), torch.tensor([0.4]))
    assert Activated(sums, torch.relu).rounded(torch.tensor([0.4])).tolist() == [0, 15, 16, 100]
    assert Activated(sums, lambda x: x.clamp(0, 6)).rounded(torch.tensor([0.4])).tolist() == [0, 15, 15, 15]


def test_weights_are_rounded_in_64_bits() -> None:
    """As the converter does: one in a million would be another number in 32."""
    weights = torch.rand(64, 1 << 16, generator=torch.Generator().manual_seed(0)) - 0.5
    scales = weights.abs().amax(1) / 127
    found = rounded_weights(PerChannelFakeQuantize.for_constants(), weights).steps
    wanted = np.rint(weights.numpy().astype(np.float64) / scales.numpy().astype(np.float64)[:, None])
    np.testing.assert_array_equal(found.numpy(), wanted)
    assert ((weights / scales[:, None]).round().numpy() != wanted).any()


@pytest.mark.slow
@needs_tflite
@torch.no_grad()
def test_weights_in_the_middle_between_two_numbers(tmp_path: Path) -> None:
    """They go away from 0."""
    network, images = nn.Conv2d(3, 2, 1), random_images(3, (8, 8))
    network.weight.copy_(torch.tensor([[127, 0.5, -1.5], [-127, -0.5, 2.5]])[..., None, None] / 64)
    prepared, _ = calibrated_graph(exported_graph(network, images[:1]), images.split(1), [])
    integers = Integers(copied(prepared))
    files = tflite_answers(quantized_graph(prepared), images, tmp_path / "a.tflite")
    steps = rounded_weights(PerChannelFakeQuantize.for_constants(), network.weight).steps.flatten(1)
    assert steps.tolist() == [[127, 1, -2], [-127, -1, 3]]
    assert all(torch.equal(integers(image[None]), wanted[0]) for image, wanted in zip(images, files, strict=True))


class Fuse(nn.Module):
    """What a part kept in float may do with quantised tensors."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return torch.cat((one + other, one * other, torch.add(one, other, alpha=2), nn.functional.relu(one)), 1)


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(16, 3, 1)
        self.fuse = Fuse()

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.fuse(self.one(images), self.other(images)))


@pytest.mark.parametrize("keep_float", [[], ["fuse"], ["one", "fuse"]])
@torch.no_grad()
def test_parts_in_float_take_quantised_tensors(keep_float: list[str]) -> None:
    torch.manual_seed(0)
    images = random_images(4, (16, 16))
    prepared, _ = with_fake_quantizers(exported_graph(Around(), images[:1]), [], keep_float)
    for image in images.split(1):
        prepared(image)
    set_mode(prepared, "quantise")
    for image in images.split(1):
        simulated, found = prepared(image), Integers(prepared)(image)
        step = prepared.get_submodule("range_conv2d_2").scale
        assert (found - simulated).abs().max() <= 1.01 * step
        assert (found - simulated).abs().mean() < 0.05 * step
        assert simulated.std() > 20 * step


@torch.no_grad()
def test_a_convolution_answers_as_in_integers_of_numpy() -> None:
    torch.manual_seed(1)
    network, images = nn.Conv2d(3, 4, 3), random_images(2, (16, 16), seed=2)
    prepared, _ = calibrated_graph(exported_graph(network, images[:1]), images[:1].split(1), [])
    found = Integers(prepared)(images[1:])
    pixels = np.rint(images[1].numpy() * 255).astype(np.int64)
    scales = network.weight.abs().amax((1, 2, 3)).numpy() / np.float32(127)
    kernel = np.rint(network.weight.numpy().astype(np.float64) / scales[:, None, None, None]).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), (1, 2))  # [3, 14, 14, 3, 3]
    step = np.float32(1 / 255) * scales
    bias = np.rint(network.bias.numpy().astype(np.float64) / (np.float64(np.float32(1 / 255)) * scales)).astype(
        np.int64
    )
    sums = np.einsum("chwij,ocij->ohw", windows, kernel) + bias[:, None, None]
    given = prepared.get_submodule("range_conv2d")
    rounded = np.rint(sums.astype(np.float32) * (step / given.scale.numpy())[:, None, None])
    rounded = rounded.clip(-128 - given.zero_point.numpy(), 127 - given.zero_point.numpy())
    np.testing.assert_array_equal(found[0].numpy(), rounded.astype(np.float32) * given.scale.numpy())
