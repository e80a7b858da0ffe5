"""The blocks and heads of the published networks, with the parameter names of the authors' files (facts A.1, A.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REG_MAX = 16


class Conv(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, g: int = 1, act: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, groups=g, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class AConv(nn.Module):
    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv1(F.avg_pool2d(x, 2, 1, 0))


class ADown(nn.Module):
    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1 // 2, c2 // 2, 3, 2)
        self.cv2 = Conv(c1 // 2, c2 // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 2, 1, 0)
        half = x.shape[1] // 2
        return torch.cat((self.cv1(x[:, :half]), self.cv2(F.max_pool2d(x[:, half:], 3, 2, 1))), 1)


class RepConvN(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv1 = Conv(c, c, 3, act=False)
        self.conv2 = Conv(c, c, 1, act=False)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv1(x) + self.conv2(x))


class RepNBottleneck(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1 = RepConvN(c)
        self.cv2 = Conv(c, c, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x))


class RepNCSP(nn.Module):
    def __init__(self, c1: int, c2: int, n: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2 // 2)
        self.cv2 = Conv(c1, c2 // 2)
        self.cv3 = Conv(c2, c2)
        self.m = nn.Sequential(*(RepNBottleneck(c2 // 2) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class RepNCSPELAN4(nn.Module):
    def __init__(self, c1: int, c2: int, c3: int, c4: int, n: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c3)
        self.cv2 = nn.Sequential(RepNCSP(c3 // 2, c4, n), Conv(c4, c4, 3))
        self.cv3 = nn.Sequential(RepNCSP(c4, c4, n), Conv(c4, c4, 3))
        self.cv4 = Conv(c3 + 2 * c4, c2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).chunk(2, 1)
        c = self.cv2(b)
        return self.cv4(torch.cat((a, b, c, self.cv3(c)), 1))


class ELAN1(nn.Module):
    def __init__(self, c1: int, c2: int, c3: int, c4: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c3)
        self.cv2 = Conv(c3 // 2, c4, 3)
        self.cv3 = Conv(c4, c4, 3)
        self.cv4 = Conv(c3 + 2 * c4, c2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).chunk(2, 1)
        c = self.cv2(b)
        return self.cv4(torch.cat((a, b, c, self.cv3(c)), 1))


class SPPELAN(nn.Module):
    def __init__(self, c1: int, c2: int, c3: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c3)
        self.cv5 = Conv(4 * c3, c2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.cv1(x)
        b = F.max_pool2d(a, 5, 1, 2)
        c = F.max_pool2d(b, 5, 1, 2)
        return self.cv5(torch.cat((a, b, c, F.max_pool2d(c, 5, 1, 2)), 1))


class CBLinear(nn.Module):
    def __init__(self, c1: int, c2s: Sequence[int]) -> None:
        super().__init__()
        self.c2s = list(c2s)
        self.conv = nn.Conv2d(c1, sum(c2s), 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.conv(x).split(self.c2s, 1)


class CBFuse(nn.Module):
    def __init__(self, idx: Sequence[int]) -> None:
        super().__init__()
        self.idx = list(idx)

    def forward(self, xs: Sequence[Any]) -> Tensor:
        size = xs[-1].shape[2:]
        return sum((F.interpolate(x[i], size) for x, i in zip(xs, self.idx, strict=False)), start=xs[-1])


class Concat(nn.Module):
    def forward(self, xs: Sequence[Tensor]) -> Tensor:
        return torch.cat(tuple(xs), 1)


class Silence(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class DFL(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(REG_MAX, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data[:] = torch.arange(REG_MAX).view(1, REG_MAX, 1, 1)


def box_branches(ch: Sequence[int]) -> nn.ModuleList:
    c = -(-max(ch[0] // 4, 4 * REG_MAX, 16) // 4) * 4
    return nn.ModuleList(
        nn.Sequential(Conv(x, c, 3), Conv(c, c, 3, g=4), nn.Conv2d(c, 4 * REG_MAX, 1, groups=4)) for x in ch
    )


def class_branches(ch: Sequence[int], nc: int, width: int | None) -> nn.ModuleList:
    c = width if width is not None else max(ch[0], min(2 * nc, 128))
    return nn.ModuleList(nn.Sequential(Conv(x, c, 3), Conv(c, c, 3), nn.Conv2d(c, nc, 1)) for x in ch)


class DDetect(nn.Module):
    def __init__(self, ch: Sequence[int], nc: int, width: int | None) -> None:
        super().__init__()
        self.stride = torch.tensor([8.0, 16.0, 32.0])  # no buffer, as in the published files
        self.cv2, self.cv3, self.dfl = box_branches(ch), class_branches(ch, nc, width), DFL()

    def forward(self, xs: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        return ([torch.cat((a(x), b(x)), 1) for x, a, b in zip(xs, self.cv2, self.cv3, strict=True)],)


class DualDDetect(nn.Module):
    """Inputs: three of the auxiliary branch, then three of the main one. Outputs: main, auxiliary."""

    def __init__(self, ch: Sequence[int], nc: int, width: int | None) -> None:
        super().__init__()
        self.cv2, self.cv3, self.dfl = box_branches(ch[:3]), class_branches(ch[:3], nc, width), DFL()
        self.cv4, self.cv5, self.dfl2 = box_branches(ch[3:]), class_branches(ch[3:], nc, width), DFL()

    def forward(self, xs: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        auxiliary = [torch.cat((a(x), b(x)), 1) for x, a, b in zip(xs[:3], self.cv2, self.cv3, strict=True)]
        main = [torch.cat((a(x), b(x)), 1) for x, a, b in zip(xs[3:], self.cv4, self.cv5, strict=True)]
        return main, auxiliary
