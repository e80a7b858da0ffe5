"""GELAN, the network of YOLOv9 (arXiv 2402.13616), from the image down to the raw maps.

P1..P5 are maps at strides 2, 4, 8, 16, 32; the head reads P3..P5. While training, an auxiliary branch with a head of
its own gives the backbone more direct gradients (programmable gradient information); it is absent from evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from yolo.models.blocks import ELAN, SPPELAN, AConv, ADown, CBLinear, Conv, RepCSPELAN, cb_fuse, upsample
from yolo.models.detection_model import DetectionModel, Maps
from yolo.models.head import DetectHead

STRIDES = (8, 16, 32)

Widths = tuple[int, int]
"""Output and hidden channels of an ELAN block."""


@dataclass(frozen=True)
class GELANSpec:
    """The sizes of one GELAN network. Tuples run from the finest level to the coarsest."""

    stem: tuple[int, int]
    """Channels of the two stride-2 convolutions that lead to P1 and P2."""
    stage2: Widths
    """The block at P2."""
    downs: tuple[int, int, int]
    """Channels of the down-samplings that lead to P3, P4 and P5."""
    stages: tuple[Widths, Widths, Widths]
    """The backbone's blocks at P3, P4 and P5."""
    spp: int
    """Channels of the pyramid pooling at P5."""
    top_down: tuple[Widths, Widths]
    """The neck's blocks at P3 and P4 on the way up to the finest level."""
    bottom_up_downs: tuple[int, int]
    """Channels of the neck's down-samplings to P4 and P5."""
    bottom_up: tuple[Widths, Widths]
    """The neck's blocks at P4 and P5 on the way back to the coarsest level."""
    repeats: int
    """RepBottlenecks in each RepCSP."""
    stage2_block: Literal["elan", "rep_csp_elan"] = "rep_csp_elan"
    """Kind of the block at P2."""
    down: Literal["aconv", "adown"] = "aconv"
    """Kind of every down-sampling after the stem."""
    composite: Literal["main", "auxiliary"] | None = None
    """Where a second, composite backbone stands: in the main path, in the auxiliary branch, or nowhere. Without one in
    the auxiliary branch, that branch is a top-down path on the backbone."""

    @property
    def backbone_channels(self) -> tuple[int, ...]:
        """Channels of the backbone's P1..P5."""
        return (self.stem[0], self.stage2[0], *(out for out, _ in self.stages))

    def make_down(self, in_channels: int, out_channels: int) -> nn.Module:
        """A down-sampling by 2 of this network's kind."""
        return {"aconv": AConv, "adown": ADown}[self.down](in_channels, out_channels)

    def make_block(self, in_channels: int, widths: Widths) -> nn.Module:
        """A RepCSPELAN with this network's repeats."""
        return RepCSPELAN(in_channels, *widths, self.repeats)


class GELAN(DetectionModel):
    """The whole network: backbone, neck and head, and an auxiliary branch for training.

    Args:
        spec: its sizes.
        num_classes: number of classes.
        class_width: channels inside the class branches of both heads; None lets each head take its default.
        auxiliary: whether to build the auxiliary branch.
    """

    def __init__(
        self, spec: GELANSpec, num_classes: int, *, class_width: int | None = None, auxiliary: bool = True
    ) -> None:
        super().__init__(num_classes, STRIDES)
        self.backbone = Backbone(spec)
        self.composite = CompositeBackbone(spec, levels=5) if spec.composite == "main" else None
        self.top_down = TopDown(spec)
        self.bottom_up = BottomUp(spec)
        self.head = DetectHead(self.bottom_up.channels, STRIDES, num_classes, class_width)
        self.auxiliary = Auxiliary(spec, num_classes, class_width) if auxiliary else None

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        """Raw maps of the main branch, and while training of the auxiliary branch; see `DetectionModel.forward`.

        Raises:
            ValueError: when the images are not [B, 3, H, W] with H and W multiples of 32.
        """
        self.check_images(images)
        taps = self.backbone(images)  # P1..P5
        features = taps if self.composite is None else self.composite(images, taps)  # P1..P5
        maps = self.head(self.bottom_up(self.top_down(features)))
        if self.training and self.auxiliary is not None:
            return maps, self.auxiliary(images, taps)
        return (maps,)

    def backbone_modules(self) -> list[nn.Module]:
        """The backbone, and the composite backbone of v9-e's main path."""
        return [self.backbone] if self.composite is None else [self.backbone, self.composite]


class Backbone(nn.Module):
    """Images [B, 3, H, W] to P1..P5, a list of [B, spec.backbone_channels[i], H / 2^(i+1), W / 2^(i+1)]."""

    def __init__(self, spec: GELANSpec) -> None:
        super().__init__()
        p1, p2, p3, p4, p5 = (*spec.stem, *spec.downs)
        _, stage2, stage3, stage4, _ = spec.backbone_channels
        self.stem1 = Conv(3, p1, 3, 2)
        self.stem2 = Conv(p1, p2, 3, 2)
        self.stage2 = ELAN(p2, *spec.stage2) if spec.stage2_block == "elan" else spec.make_block(p2, spec.stage2)
        self.down3 = spec.make_down(stage2, p3)
        self.stage3 = spec.make_block(p3, spec.stages[0])
        self.down4 = spec.make_down(stage3, p4)
        self.stage4 = spec.make_block(p4, spec.stages[1])
        self.down5 = spec.make_down(stage4, p5)
        self.stage5 = spec.make_block(p5, spec.stages[2])

    def forward(self, images: Tensor, additions: Sequence[Tensor | None] = (None,) * 5) -> list[Tensor]:
        """P1..P5. Each addition that is not None is added to what enters its level, before that level's block."""
        a1, a2, a3, a4, a5 = additions
        p1 = add(self.stem1(images), a1)  # [B, C1, H/2, W/2]
        p2 = self.stage2(add(self.stem2(p1), a2))  # [B, C2, H/4, W/4]
        p3 = self.stage3(add(self.down3(p2), a3))  # [B, C3, H/8, W/8]
        p4 = self.stage4(add(self.down4(p3), a4))  # [B, C4, H/16, W/16]
        p5 = self.stage5(add(self.down5(p4), a5))  # [B, C5, H/32, W/32]
        return [p1, p2, p3, p4, p5]


def add(x: Tensor, addition: Tensor | None) -> Tensor:
    """x + addition, or x."""
    return x if addition is None else x + addition


class CompositeBackbone(nn.Module):
    """A second backbone that starts again from the images and takes in maps of the first one (CBNet, arXiv 1909.03625).

    The coarsest `levels` levels of the first backbone are linked: level i sends a map to each linked level up to i,
    and what enters level k of the second backbone is increased by all maps sent to it.
    """

    def __init__(self, spec: GELANSpec, levels: int) -> None:
        super().__init__()
        widths = (*spec.stem, *spec.downs)[-levels:]  # what the second backbone has where maps are added
        channels = spec.backbone_channels[-levels:]
        self.links = nn.ModuleList(CBLinear(c, widths[: i + 1]) for i, c in enumerate(channels))
        self.backbone = Backbone(spec)

    def forward(self, images: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Images [B, 3, H, W] and the first backbone's P1..P5 to the second one's P1..P5, of the same shapes."""
        levels = len(self.links)
        # sent[i][k]: from level i of the first backbone to level k <= i of the second
        sent = [link(x) for link, x in zip(self.links, features[-levels:], strict=True)]
        received = [cb_fuse([maps[k] for maps in sent[k:]]) for k in range(levels)]
        return self.backbone(images, [None] * (5 - levels) + received)


class TopDown(nn.Module):
    """Pyramid pooling at P5, then semantics passed down to the finer P4 and P3: P1..P5 to a new P3..P5."""

    def __init__(self, spec: GELANSpec) -> None:
        super().__init__()
        _, _, p3, p4, p5 = spec.backbone_channels
        self.spp = SPPELAN(p5, spec.spp)
        self.stage4 = spec.make_block(spec.spp + p4, spec.top_down[1])
        self.stage3 = spec.make_block(spec.top_down[1][0] + p3, spec.top_down[0])
        self.channels = (spec.top_down[0][0], spec.top_down[1][0], spec.spp)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """A list of [B, self.channels[i], H / s, W / s] for s = 8, 16, 32."""
        p3, p4, p5 = features[-3:]
        n5 = self.spp(p5)
        n4 = self.stage4(torch.cat((upsample(n5), p4), 1))
        n3 = self.stage3(torch.cat((upsample(n4), p3), 1))
        return [n3, n4, n5]


class BottomUp(nn.Module):
    """Detail passed back from P3 to the coarser P4 and P5: the top-down path's P3..P5 to the head's."""

    def __init__(self, spec: GELANSpec) -> None:
        super().__init__()
        (n3, _), (n4, _) = spec.top_down
        down4, down5 = spec.bottom_up_downs
        self.down4 = spec.make_down(n3, down4)
        self.stage4 = spec.make_block(down4 + n4, spec.bottom_up[0])
        self.down5 = spec.make_down(spec.bottom_up[0][0], down5)
        self.stage5 = spec.make_block(down5 + spec.spp, spec.bottom_up[1])
        self.channels = (n3, spec.bottom_up[0][0], spec.bottom_up[1][0])

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """A list of [B, self.channels[i], H / s, W / s] for s = 8, 16, 32."""
        n3, n4, n5 = features
        m4 = self.stage4(torch.cat((self.down4(n3), n4), 1))
        m5 = self.stage5(torch.cat((self.down5(m4), n5), 1))
        return [n3, m4, m5]


class Auxiliary(nn.Module):
    """The training-only branch: a top-down path or a composite backbone on the first backbone, with its own head."""

    def __init__(self, spec: GELANSpec, num_classes: int, class_width: int | None) -> None:
        super().__init__()
        self.path: TopDown | CompositeBackbone
        if spec.composite == "auxiliary":
            self.path = CompositeBackbone(spec, levels=3)
            channels = spec.backbone_channels[-3:]
        else:
            self.path = TopDown(spec)
            channels = self.path.channels
        self.head = DetectHead(channels, STRIDES, num_classes, class_width)

    def forward(self, images: Tensor, features: Sequence[Tensor]) -> Maps:
        """Images [B, 3, H, W] and the first backbone's P1..P5 to raw maps of the main branch's shapes."""
        if isinstance(self.path, TopDown):
            return self.head(self.path(features))
        return self.head(self.path(images, features)[-3:])
