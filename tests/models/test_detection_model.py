from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from yolo.models.blocks import Conv
from yolo.models.detection_model import DetectionModel, Maps
from yolo.models.head import DetectHead
from yolo.models.registry import build_model


class OneLevel(DetectionModel):
    """What a user writes: a network with one level and an auxiliary part, in a few lines."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, strides=(4,))
        self.body = nn.Sequential(Conv(3, 8, 3, 2), Conv(8, 16, 3, 2))
        self.head = DetectHead((16,), self.strides, num_classes)
        self.auxiliary = DetectHead((16,), self.strides, num_classes)

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        self.check_images(images)
        features = [self.body(images)]
        if self.training and self.auxiliary is not None:
            return self.head(features), self.auxiliary(features)
        return (self.head(features),)


class OwnBins(DetectionModel):
    """A network without DetectHead brings its bins as a buffer."""

    def __init__(self) -> None:
        super().__init__(2)
        self.register_buffer("bins", torch.arange(4.0))


def test_custom_network(settle: Callable) -> None:
    images = torch.rand(2, 3, 16, 24)
    model = OneLevel(3)
    main, auxiliary = model(images)
    assert [tuple(m.shape) for m in (*main, *auxiliary)] == [(2, 67, 4, 6)] * 2
    settle(model, images)
    decoded = model.decode(model(images)[0])
    assert decoded.shape == (2, 7, 24)
    deployed = model.deploy()
    assert isinstance(deployed, OneLevel)
    torch.testing.assert_close(deployed.decode(deployed(images)[0]), decoded, atol=1e-3, rtol=1e-4)


def test_bins_are_the_heads_or_the_networks_own() -> None:
    model = OneLevel(3)
    assert model.bins is model.head.bins
    own = OwnBins()
    assert own.bins.tolist() == [0, 1, 2, 3]
    assert "bins" in own.state_dict()


def test_forward_must_be_written() -> None:
    with pytest.raises(NotImplementedError, match="OwnBins must define forward"):
        OwnBins()(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize("shape", [(1, 3, 64, 80), (1, 3, 33, 64), (1, 4, 64, 64), (3, 64, 64)])
def test_images_that_do_not_fit_are_refused_by_shape(shape: tuple[int, ...]) -> None:
    model = build_model("v9-t", 3, auxiliary=False)
    with pytest.raises(ValueError, match=rf"multiples of 32, found \({', '.join(map(str, shape))}\)"):
        model(torch.zeros(shape))


def test_deploy_leaves_the_model_as_it_was() -> None:
    model = build_model("v9-t", 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    deployed = model.deploy()
    after = model.state_dict()
    assert model.training
    assert model.auxiliary is not None
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in deployed.parameters()}
    assert not shared


def test_deployed_model_is_fused_and_has_one_branch() -> None:
    deployed = build_model("v9-t", 3).deploy()
    assert not deployed.training
    assert deployed.auxiliary is None
    assert not any(isinstance(part, nn.BatchNorm2d) for part in deployed.modules())
    assert not any("auxiliary" in name or "conv1." in name for name in deployed.state_dict())
    assert len(deployed.train()(torch.rand(1, 3, 32, 32))) == 1


@pytest.mark.slow
def test_deploying_twice_is_harmless() -> None:
    once = build_model("v9-t", 3).deploy()
    twice = once.deploy().state_dict()
    assert all(torch.equal(value, twice[name]) for name, value in once.state_dict().items())
    assert len(twice) == len(once.state_dict())


@pytest.mark.parametrize(
    "name",
    [
        "v9-t",
        "v9-s",
        pytest.param("v9-m", marks=pytest.mark.slow),
        pytest.param("v9-c", marks=pytest.mark.slow),
        pytest.param("v9-e", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_deployed_model_computes_what_the_training_form_does(
    name: str, dtype: torch.dtype, images: Callable, settle: Callable
) -> None:
    batch = images(2, 96, 160).to(dtype)
    model = settle(build_model(name, 80).to(dtype), batch, calibrate=dtype == torch.float64)
    maps = model(batch)[0]
    deployed = model.deploy()
    expected, found = model.decode(maps), deployed.decode(deployed(batch)[0])
    assert found.shape == (2, 84, 12 * 20 + 6 * 10 + 3 * 5)
    assert all(m.std((0, 2, 3)).mean() > 0.5 for m in maps)  # the comparison is about something
    assert expected[:, 4:].std(2).mean() > 0.05
    assert (found - expected)[:, :4].abs().max() < 1e-2
    assert (found - expected)[:, 4:].abs().max() < 1e-4
    if dtype == torch.float64:
        for a, b in zip(deployed(batch)[0], maps, strict=True):
            torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-7)


def test_cost_counts_parameters_and_bytes() -> None:
    model = OneLevel(3).deploy()
    count = sum(parameter.numel() for parameter in model.parameters())
    assert model.cost == (count, 4 * count)
    assert OwnBins().cost == (0, 16)
    assert model.fixed_size is None
