from __future__ import annotations

import math

import pytest
import torch

from tests.export.random_network import randomise
from tests.export.small_network import SmallNetwork
from tests.quantization.test_network import SIZE, SMALL, annotated, maps
from yolo.export.parity import random_images
from yolo.quantization.network import QuantizedNetwork
from yolo.quantization.sensitivity import BETWEEN, PIXELS, Noise, PartlyQuantized, measure_noise


@pytest.fixture(scope="module")
def network() -> QuantizedNetwork:
    network = QuantizedNetwork(3, SMALL, SIZE, base=randomise(SmallNetwork(3)))
    network.calibrate(random_images(8, SIZE).split(1))
    return network.deploy()


@pytest.mark.slow
def test_each_part_alone_changes_the_answers_and_none_does_not(network: QuantizedNetwork) -> None:
    partly, images = PartlyQuantized(network).eval(), random_images(2, SIZE, seed=1)
    network.train()  # which computes in float, as the parts do
    in_float = maps(network.in_float(), images)
    assert torch.equal(maps(partly, images), in_float)
    partly.quantise(partly.parts)
    assert torch.equal(maps(partly, images), maps(network, images))
    for part in partly.parts:
        partly.quantise([part])
        assert not torch.equal(maps(partly, images), in_float), part
        assert not torch.equal(maps(partly, images), maps(network, images)), part
    partly.quantise([])
    assert torch.equal(maps(partly, images), in_float)
    assert torch.equal(maps(network, images), maps(network.deploy().train(), images))  # the network itself is as it was


def test_names_of_parts_and_every_tensor_in_one(network: QuantizedNetwork) -> None:
    partly = PartlyQuantized(network)
    assert {PIXELS, BETWEEN, "stem", "deeper", "head.box.0", "head.box.1", "head.cls.0", "head.cls.1"} <= set(
        partly.parts
    )
    assert sum(map(len, partly.parts.values())) == len(list(annotated(network)))
    assert len({id(module) for modules in partly.parts.values() for module in modules}) == len(list(annotated(network)))
    coarse, fine = (set(PartlyQuantized(network, depth).parts) for depth in (1, 3))
    assert "head" in coarse
    assert "head.box.0.0" in fine


def test_noise_of_parts_adds_up_to_about_that_of_the_whole(network: QuantizedNetwork) -> None:
    found = measure_noise(PartlyQuantized(network).eval(), random_images(4, SIZE, seed=2).split(1))
    assert [min(noise.decibels) for noise in found.values()] == sorted(min(noise.decibels) for noise in found.values())
    whole = found.pop("*")
    for kind in (0, 1):
        added = sum(noise.noise[kind] for noise in found.values())
        assert 0.3 < whole.noise[kind] / added < 3
        assert all(noise.signal[kind] == whole.signal[kind] for noise in found.values())
    # The branches of the head know nothing of one another.
    assert found["head.box.0"].noise[1] == found["head.cls.0"].noise[0] == 0
    assert found["head.box.0"].noise[0] > 0


def test_decibels() -> None:
    noise, zeros = Noise(), torch.zeros(2)
    noise.add([torch.tensor([10.0, 0.1]), zeros], [torch.tensor([10.0, 0.0]), zeros])
    assert noise.decibels == (pytest.approx(40, abs=1e-5), math.inf)
    noise.add([torch.tensor([0.0, 0.1]), zeros], [zeros, zeros])
    assert noise.decibels[0] == pytest.approx(40 - 10 * math.log10(2), abs=1e-5)
