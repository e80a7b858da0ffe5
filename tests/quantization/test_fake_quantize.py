from __future__ import annotations

import pytest
import torch
from torch import nn

pytest.importorskip("torchao")
from yolo.quantization.fake_quantize import (
    LEAST,
    SMALLEST_SCALE,
    FixedFakeQuantize,
    PerChannelFakeQuantize,
    RangeFakeQuantize,
    fake_quantizers,
    set_mode,
)

INT8 = {"dtype": torch.int8, "quant_min": -128, "quant_max": 127, "qscheme": torch.per_tensor_affine}
WEIGHTS = {"dtype": torch.int8, "quant_min": -127, "quant_max": 127, "qscheme": torch.per_channel_symmetric}


def test_calibration_widens_the_range_and_changes_nothing() -> None:
    fake = RangeFakeQuantize(**INT8)
    values = torch.tensor([0.5, 2.0])
    assert fake(values) is values
    fake(torch.tensor([1.0, -0.55]))
    assert (float(fake.low), float(fake.high)) == (pytest.approx(-0.55), 2.0)  # 0 is always inside
    assert float(fake.scale) == pytest.approx(2.55 / 255)
    assert int(fake.zero_point) == -128 + 55
    assert fake.calculate_qparams() == (fake.scale, fake.zero_point)


def test_quantised_values_are_levels() -> None:
    fake = RangeFakeQuantize(**INT8)
    fake(torch.tensor([-1.0, 3.0]))
    fake.mode = "quantise"
    values = torch.linspace(-2, 4, 1001, requires_grad=True)
    found = fake(values)
    levels = (found / fake.scale).detach()
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert (float(found.detach().min()), float(found.detach().max())) == (
        pytest.approx(-1, abs=0.01),
        pytest.approx(3, abs=0.01),
    )
    inside = (values > -0.99) & (values < 2.99)
    assert (found - values)[inside].abs().max() <= fake.scale / 2 + 1e-6
    assert (float(fake.low), float(fake.high)) == (-1, 3)
    found.sum().backward()
    assert torch.all(values.grad[inside] == 1)  # as if nothing were rounded
    assert torch.all(values.grad[(values < -1.02) | (values > 3.02)] == 0)


def test_a_range_moves_in_calibration_alone() -> None:
    fake = RangeFakeQuantize(**INT8)
    fake(torch.tensor([-1.0, 1.0]))
    fake(torch.tensor([0.5, 8.0]))
    assert (float(fake.low), float(fake.high)) == (-1, 8)
    for mode in ("quantise", "off"):
        fake.mode = mode
        fake(torch.tensor([-50.0, 50.0]))
        assert (float(fake.low), float(fake.high)) == (-1, 8)


def test_values_all_zero() -> None:
    fake = RangeFakeQuantize(**INT8)
    fake(torch.zeros(3))
    fake.mode = "quantise"
    assert float(fake.scale) == pytest.approx(SMALLEST_SCALE)
    assert torch.equal(fake(torch.zeros(3)), torch.zeros(3))


def test_a_known_range() -> None:
    fake = FixedFakeQuantize(step=1 / 256, zero=-128, **INT8)
    values = torch.tensor([0.0, 0.3, 1.0, 2.0])
    assert fake(values) is values
    fake.mode = "quantise"
    assert fake(values).tolist() == pytest.approx([0, 77 / 256, 255 / 256, 255 / 256])
    assert float(fake.scale) == 1 / 256


def test_weights_have_a_scale_for_each_channel() -> None:
    fake = PerChannelFakeQuantize(**WEIGHTS)
    weights = torch.randn(4, 3, 3, 3) * torch.tensor([0.1, 1.0, 10.0, 0.0])[:, None, None, None]
    assert fake(weights) is weights
    largest = weights.abs().amax((1, 2, 3))
    assert torch.equal(fake.scale[:3], largest[:3] / 127)
    assert float(fake.scale[3]) == float(fake.scale[2]) * LEAST
    assert fake.scales(torch.zeros(2, 1, 1, 1)).tolist() == pytest.approx([LEAST / 127] * 2)
    assert fake.zero_point.tolist() == [0] * 4
    fake.mode = "quantise"
    difference = (fake(weights) - weights).abs().amax((1, 2, 3))
    assert torch.all(difference <= fake.scale / 2 + 1e-7)
    assert torch.all(difference[:3] > 0)


def test_of_a_whole_network() -> None:
    network = nn.Sequential(RangeFakeQuantize(**INT8), nn.Sequential(PerChannelFakeQuantize(**WEIGHTS)))
    set_mode(network, "quantise")
    found = fake_quantizers(network)
    assert list(found) == ["0", "1.0"]
    assert [fake.mode for fake in found.values()] == ["quantise"] * 2
