from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.runtime.records import record
from yolo.boxes.decode import decode_maps
from yolo.errors import UserError
from yolo.runtime.network import ExportedNetwork, require_outputs


def outputs_of(images: np.ndarray, form: str) -> list[np.ndarray]:
    """Outputs that tell which image they are of: its mean, plus numbers of their own."""
    shapes = record(form=form).outputs.values()
    means = images.mean((1, 2, 3))
    rng = np.random.default_rng(0)
    return [means.reshape(-1, *[1] * len(shape)) + rng.random((1, *shape)).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("batch", [1, 2, 4, None])
@pytest.mark.parametrize("form", ["full", "split", "raw"])
def test_any_number_of_images_whatever_the_file_takes(form: Any, batch: int | None) -> None:
    sizes: list[int] = []

    def run(images: np.ndarray) -> list[np.ndarray]:
        sizes.append(len(images))
        return outputs_of(images, form)

    network = ExportedNetwork(record(form=form, batch=batch), run, 10)
    images = torch.rand(3, 3, 64, 96).to(memory_format=torch.channels_last)
    decoded = network.decode(network(images)[0])
    expected = [torch.from_numpy(array) for array in outputs_of(images.numpy(), form)]
    if form == "raw":
        maps = [torch.cat(pair, 1) for pair in zip(expected[::2], expected[1::2], strict=True)]
        wanted = decode_maps(maps, (16, 32), torch.arange(4.0))
    else:
        wanted = torch.cat(expected, 1)
    assert decoded.shape == (3, 6, 30)
    assert torch.allclose(decoded, wanted)
    assert set(sizes) == {batch or 3}


def test_other_sizes_are_refused() -> None:
    network = ExportedNetwork(record(), lambda images: [], 10)
    with pytest.raises(UserError, match=r"\[B, 3, 64, 96\], found \[1, 3, 96, 64\]"):
        network(torch.zeros(1, 3, 96, 64))


def test_outputs_of_other_shapes_are_refused() -> None:
    network = ExportedNetwork(record(), lambda images: [np.zeros((1, 6, 31), np.float32)], 10)
    with pytest.raises(UserError, match=r"shapes \[\(1, 6, 31\)\], by its record they are \[\(1, 6, 30\)\]"):
        network(torch.zeros(1, 3, 64, 96))


def test_takes_the_place_of_a_network() -> None:
    network = ExportedNetwork(record(), lambda images: outputs_of(images, "full"), 10)
    assert network.deploy() is network
    assert network.cost == (7, 10)
    assert (network.fixed_size, network.num_classes, network.strides) == ((64, 96), 2, (16, 32))
    assert network.bins.tolist() == [0, 1, 2, 3]
    assert not network.training


def test_outputs_must_be_those_of_the_record() -> None:
    require_outputs({"output0": ["batch", 6, 30]}, record(), "f")
    for wrong in ({"output0": [1, 7, 30]}, {"output": [1, 6, 30]}, {"output0": [1, 6, 30], "b": [1]}):
        with pytest.raises(UserError, match="f: its outputs are"):
            require_outputs(wrong, record(), "f")
