from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from yolo.models.blocks import Conv, RepConv, RepCSPELAN
from yolo.models.fuse import fuse


def test_conv_takes_in_its_norm(settle: Callable) -> None:
    x = torch.randn(2, 8, 6, 6)
    conv = settle(Conv(8, 12, 3, 2, groups=4), x)
    before = conv(x)
    fuse(conv)
    assert isinstance(conv.bn, nn.Identity)
    assert conv.conv.bias is not None
    torch.testing.assert_close(conv(x), before)


def test_rep_conv_becomes_one_kernel(settle: Callable) -> None:
    x = torch.randn(2, 6, 5, 7)
    rep = settle(RepConv(6, 10), x)
    before = rep(x)
    bn3, bn1 = rep.conv3.bn, rep.conv1.bn
    scale3, scale1 = (bn.weight / (bn.running_var + 1e-3) ** 0.5 for bn in (bn3, bn1))
    kernel = rep.conv3.conv.weight * scale3[:, None, None, None]
    kernel[:, :, 1, 1] += rep.conv1.conv.weight[:, :, 0, 0] * scale1[:, None]
    bias = bn3.bias - bn3.running_mean * scale3 + bn1.bias - bn1.running_mean * scale1

    fuse(rep)

    assert [type(part) for part in rep.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d)] == [nn.Conv2d]
    torch.testing.assert_close(rep.conv3.conv.weight, kernel)
    torch.testing.assert_close(rep.conv3.conv.bias, bias)
    torch.testing.assert_close(rep(x), F.silu(F.conv2d(x, kernel, bias, padding=1)))
    torch.testing.assert_close(rep(x), before, atol=1e-5, rtol=1e-5)


def test_second_call_changes_nothing(settle: Callable) -> None:
    x = torch.randn(2, 8, 5, 7)
    block = settle(RepCSPELAN(8, 8, 16, 2), x)
    fuse(block)
    once = {name: value.clone() for name, value in block.state_dict().items()}
    fuse(block)
    twice = block.state_dict()
    assert list(once) == list(twice)
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_other_convolutions_are_left_alone() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)).eval()
    fuse(module)
    assert isinstance(module[1], nn.BatchNorm2d)
    assert module[0].bias is None


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="RepConv in training mode"):
        fuse(RepConv(4, 4))
