"""The bricks of GELAN: convolutions, down-sampling, re-parameterised CSP-ELAN blocks and composite links.

All blocks map NCHW float tensors and keep H and W unless they say otherwise. Sources: GELAN and RepNCSPELAN from
YOLOv9 (arXiv 2402.13616), CSPNet (1911.11929), ELAN (2211.04800), RepVGG (2101.03697), CBNet (1909.03625).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BN_EPS = 1e-3  # weights trained with these two give other outputs under PyTorch's defaults (1e-5, 0.1)
BN_MOMENTUM = 0.03


class Conv(nn.Module):
    """Conv2d without bias, padded by kernel // 2 -> BatchNorm2d -> SiLU: [B, in, H, W] -> [B, out, H/stride, W/stride].

    After `fuse` the convolution carries the normalisation as its weights and bias, and `bn` is the identity.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(out_channels, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.act: nn.Module = nn.SiLU() if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, activate."""
        return self.act(self.bn(self.conv(x)))


class AConv(nn.Module):
    """Halve the size: 2x2 average at stride 1, 3x3 convolution at stride 2. [B, in, H, W] -> [B, out, H/2, W/2]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = Conv(in_channels, out_channels, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Down-sample by 2; H and W must be even."""
        return self.conv(F.avg_pool2d(x, 2, 1))  # H -> H - 1 -> H / 2


class ADown(nn.Module):
    """Halve the size, half the channels by convolution and half by max-pooling. [B, in, H, W] -> [B, out, H/2, W/2]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = Conv(in_channels // 2, out_channels // 2, 3, 2)
        self.pooled = Conv(in_channels // 2, out_channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Down-sample by 2; H and W must be even."""
        a, b = F.avg_pool2d(x, 2, 1).chunk(2, 1)  # 2 x [B, in/2, H-1, W-1]
        return torch.cat((self.conv(a), self.pooled(F.max_pool2d(b, 3, 2, 1))), 1)


class RepConv(nn.Module):
    """SiLU of a 3x3 and a 1x1 Conv-BN in parallel, without identity branch: [B, in, H, W] -> [B, out, H, W].

    After `fuse` both are the one 3x3 convolution `conv3` and `conv1` is None.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv3 = Conv(in_channels, out_channels, 3, activation=False)
        self.conv1: Conv | None = Conv(in_channels, out_channels, 1, activation=False)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Sum of the branches, activated."""
        y = self.conv3(x)
        return self.act(y if self.conv1 is None else y + self.conv1(x))


class RepBottleneck(nn.Module):
    """x + Conv3x3(RepConv(x)): [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rep = RepConv(channels, channels)
        self.conv = Conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Residual step."""
        return x + self.conv(self.rep(x))


class RepCSP(nn.Module):
    """Cross-stage partial: half the output width goes through `repeats` RepBottlenecks, half goes past them.

    [B, in, H, W] -> [B, out, H, W].
    """

    def __init__(self, in_channels: int, out_channels: int, repeats: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.enter = Conv(in_channels, half)
        self.bottlenecks = nn.Sequential(*(RepBottleneck(half) for _ in range(repeats)))
        self.bypass = Conv(in_channels, half)
        self.merge = Conv(2 * half, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Both paths, concatenated and mixed."""
        return self.merge(torch.cat((self.bottlenecks(self.enter(x)), self.bypass(x)), 1))


class ELAN(nn.Module):
    """Efficient layer aggregation: every intermediate of a chain is concatenated. [B, in, H, W] -> [B, out, H, W].

    The entry has `hidden` channels, of which the second half runs through the two links of the chain, each of
    hidden / 2 channels. Here a link is a 3x3 Conv; `RepCSPELAN` puts a RepCSP before it.
    """

    def __init__(self, in_channels: int, out_channels: int, hidden: int) -> None:
        super().__init__()
        self.enter = Conv(in_channels, hidden)
        self.link1 = self.link(hidden // 2)
        self.link2 = self.link(hidden // 2)
        self.merge = Conv(2 * hidden, out_channels)

    def link(self, channels: int) -> nn.Module:
        """One link of the chain: [B, channels, H, W] -> the same shape."""
        return Conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Aggregate the entry's two halves and the outputs of both links."""
        y0, y1 = self.enter(x).chunk(2, 1)  # 2 x [B, hidden/2, H, W]
        y2 = self.link1(y1)
        y3 = self.link2(y2)
        return self.merge(torch.cat((y0, y1, y2, y3), 1))  # [B, 2*hidden, H, W] -> [B, out, H, W]


class RepCSPELAN(ELAN):
    """ELAN whose links are RepCSP -> 3x3 Conv: [B, in, H, W] -> [B, out, H, W]."""

    def __init__(self, in_channels: int, out_channels: int, hidden: int, repeats: int) -> None:
        self.repeats = repeats
        super().__init__(in_channels, out_channels, hidden)

    def link(self, channels: int) -> nn.Module:
        """One link of the chain."""
        return nn.Sequential(RepCSP(channels, channels, self.repeats), Conv(channels, channels, 3))


class SPPELAN(nn.Module):
    """Spatial pyramid pooling: three chained 5x5 max-pools, all aggregated. [B, in, H, W] -> [B, out, H, W]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.enter = Conv(in_channels, out_channels // 2)
        self.merge = Conv(2 * out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Fields of view of 1, 5, 9 and 13 cells, concatenated and mixed."""
        maps = [self.enter(x)]  # [B, out/2, H, W]
        for _ in range(3):
            maps.append(F.max_pool2d(maps[-1], 5, 1, 2))
        return self.merge(torch.cat(maps, 1))  # [B, 4 * out/2, H, W] -> [B, out, H, W]


class CBLinear(nn.Module):
    """A biased 1x1 convolution cut into one map per width: [B, in, H, W] -> list of [B, width, H, W]."""

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.conv = nn.Conv2d(in_channels, sum(widths), 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Project and cut along the channels."""
        return list(self.conv(x).split(self.widths, 1))


def cb_fuse(maps: Sequence[Tensor]) -> Tensor:
    """Sum of maps resized (nearest) to the first: [B, C, H, W], [B, C, H/2, W/2], ... -> [B, C, H, W].

    Added from the coarsest up, since resizing by 2 twice is resizing by 4: one full-size map is made instead of one per
    addend.
    """
    total = maps[-1]
    for finer in reversed(maps[:-1]):
        total = finer + upsample(total)
    return total


def upsample(x: Tensor) -> Tensor:
    """Double the size by nearest neighbour: [B, C, H, W] -> [B, C, 2H, 2W]."""
    return F.interpolate(x, scale_factor=2.0)
