from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo.models.blocks import (
    ELAN,
    SPPELAN,
    AConv,
    ADown,
    CBLinear,
    Conv,
    RepBottleneck,
    RepConv,
    RepCSP,
    RepCSPELAN,
    cb_fuse,
    upsample,
)


def conv_bn(conv: Conv, x: Tensor) -> Tensor:
    """Conv written out with plain arithmetic for the normalisation, without activation; eval mode."""
    bn = conv.bn
    assert isinstance(bn, nn.BatchNorm2d)
    assert bn.running_mean is not None
    assert bn.running_var is not None
    c = conv.conv
    y = F.conv2d(x, c.weight, None, c.stride, c.weight.shape[-1] // 2, groups=c.groups)
    scale = bn.weight / (bn.running_var + 1e-3) ** 0.5
    return (y - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None]


def silu(x: Tensor) -> Tensor:
    return x / (1 + (-x).exp())


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 1, 4), (3, 2, 1)])
def test_conv_is_convolution_norm_silu(kernel: int, stride: int, groups: int, settle: Callable) -> None:
    x = torch.randn(2, 8, 6, 10)
    conv = settle(Conv(8, 12, kernel, stride, groups), x)
    torch.testing.assert_close(conv(x), silu(conv_bn(conv, x)))
    assert conv(x).shape == (2, 12, 6 // stride, 10 // stride)
    assert conv.conv.bias is None
    assert (conv.bn.eps, conv.bn.momentum) == (1e-3, 0.03)


def test_every_norm_in_a_block_has_the_published_constants() -> None:
    norms = [part for part in RepCSPELAN(8, 8, 16, 2).modules() if isinstance(part, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}


@pytest.mark.parametrize("size", [(8, 12), (2, 2)])
def test_down_sampling_halves_even_sizes(size: tuple[int, int]) -> None:
    x = torch.randn(2, 8, *size)
    for down in (AConv(8, 20), ADown(8, 20)):
        assert down(x).shape == (2, 20, size[0] // 2, size[1] // 2)


def test_adown_convolves_one_half_and_pools_the_other(settle: Callable) -> None:
    x = torch.randn(2, 8, 8, 8)
    down = settle(ADown(8, 12), x)
    smooth = (x[..., :-1, :-1] + x[..., 1:, :-1] + x[..., :-1, 1:] + x[..., 1:, 1:]) / 4
    expected = torch.cat(
        [
            silu(conv_bn(down.conv, smooth[:, :4])),
            silu(conv_bn(down.pooled, F.max_pool2d(smooth[:, 4:], 3, 2, 1))),
        ],
        1,
    )
    torch.testing.assert_close(down(x), expected)


def test_rep_conv_is_two_branches_without_identity(settle: Callable) -> None:
    x = torch.randn(2, 6, 5, 7)
    rep = settle(RepConv(6, 6), x)
    torch.testing.assert_close(rep(x), silu(conv_bn(rep.conv3, x) + conv_bn(rep.conv1, x)))


def test_rep_csp_runs_half_the_width_through_residual_steps(settle: Callable) -> None:
    x = torch.randn(2, 6, 5, 7)
    csp = settle(RepCSP(6, 10, repeats=2), x)
    y = silu(conv_bn(csp.enter, x))
    assert len(csp.bottlenecks) == 2
    for step in csp.bottlenecks:
        assert isinstance(step, RepBottleneck)
        y = y + silu(conv_bn(step.conv, step.rep(y)))
    z = silu(conv_bn(csp.bypass, x))
    assert y.shape[1] == z.shape[1] == 5
    torch.testing.assert_close(csp(x), silu(conv_bn(csp.merge, torch.cat([y, z], 1))))


@pytest.mark.parametrize("block", [ELAN(6, 10, 8), RepCSPELAN(6, 10, 8, 1)])
def test_elan_aggregates_every_step(block: ELAN, settle: Callable) -> None:
    x = torch.randn(2, 6, 5, 7)
    settle(block, x)
    entry = silu(conv_bn(block.enter, x))
    first = block.link1(entry[:, 4:])
    second = block.link2(first)
    expected = silu(conv_bn(block.merge, torch.cat([entry, first, second], 1)))
    torch.testing.assert_close(block(x), expected)


def test_rep_csp_elan_links_are_rep_csp_then_conv() -> None:
    block = RepCSPELAN(6, 10, 8, 3)
    for link in (block.link1, block.link2):
        assert isinstance(link, nn.Sequential)
        assert [type(part) for part in link] == [RepCSP, Conv]
        assert len(link[0].bottlenecks) == 3  # type: ignore[arg-type]


def test_sppelan_sees_1_5_9_and_13_cells(settle: Callable) -> None:
    x = torch.randn(2, 6, 9, 11)
    block = settle(SPPELAN(6, 8), x)
    entry = silu(conv_bn(block.enter, x))
    assert entry.shape[1] == 4
    views = [F.max_pool2d(entry, size, 1, size // 2) for size in (1, 5, 9, 13)]
    torch.testing.assert_close(block(x), silu(conv_bn(block.merge, torch.cat(views, 1))))


def test_cb_linear_is_a_biased_projection_in_parts() -> None:
    link = CBLinear(6, (3, 5, 2))
    x = torch.randn(2, 6, 4, 5)
    parts = link(x)
    assert [part.shape[1] for part in parts] == [3, 5, 2]
    weight = link.conv.weight[:, :, 0, 0]
    expected = torch.einsum("oc,bchw->bohw", weight, x) + link.conv.bias[None, :, None, None]  # type: ignore[index]
    torch.testing.assert_close(torch.cat(parts, 1), expected)


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_cb_fuse_sums_maps_resized_to_the_first(levels: int) -> None:
    maps = [torch.randn(2, 3, 32 >> i, 48 >> i) for i in range(levels)]
    direct = sum(m.repeat_interleave(1 << i, 2).repeat_interleave(1 << i, 3) for i, m in enumerate(maps))
    torch.testing.assert_close(cb_fuse(maps), direct)


def test_upsample_repeats_cells() -> None:
    x = torch.arange(4.0).view(1, 1, 2, 2)
    assert upsample(x).flatten().tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]
