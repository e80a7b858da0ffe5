"""The published networks once more, slow and by layer number, with the parameter names of the authors' files.

Written from the tables of the facts (A.2, A.3), sharing nothing with `yolo.models`: what translated weights are
compared with. Saved whole, a network leaves a file of the shape of the published ones.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from tests.models.weights import official_blocks
from tests.models.weights.official_blocks import (
    ELAN1,
    SPPELAN,
    AConv,
    ADown,
    CBFuse,
    CBLinear,
    Concat,
    Conv,
    DDetect,
    DualDDetect,
    RepNCSPELAN4,
    Silence,
)


class DetectionModel(nn.Module):
    """Layers by number, `model.{number}.…`; each with the numbers of its inputs, counted from 0 or back from itself."""

    def __init__(self, graph: Iterable[tuple[Any, nn.Module]]) -> None:
        super().__init__()
        self.sources, layers = zip(*graph, strict=True)
        self.model = nn.Sequential(*layers)
        self.names = {0: "person"}
        self.yaml = {"depth_multiple": 1.0, "anchors": 3}

    def forward(self, images: Tensor) -> Any:
        outputs: list[Any] = []
        x: Any = images
        for source, layer in zip(self.sources, self.model, strict=True):
            if source == "image":
                x = layer(images)
            elif isinstance(source, int):
                x = layer(outputs[source] if outputs else images)
            else:
                x = layer([outputs[i] for i in source])
            outputs.append(x)
        return x


# Per network: stem; block at P2; then per level (channels of the down-sampling, block); (SPP out, inner); neck blocks
# at P4 and P3 going up; (down-sampling, block) at P4 and P5 going back. A block is (out, c3, c4).
TABLE: dict[str, Any] = {
    "v9-t": ((16, 32), (32, 32, 16), [(64, (64, 64, 32)), (96, (96, 96, 48)), (128, (128, 128, 64))], (128, 64),
             [(96, 96, 48), (64, 64, 32)], [(48, (96, 96, 48)), (64, (128, 128, 64))]),
    "v9-s": ((32, 64), (64, 64, 32), [(128, (128, 128, 64)), (192, (192, 192, 96)), (256, (256, 256, 128))], (256, 128),
             [(192, 192, 96), (128, 128, 64)], [(96, (192, 192, 96)), (128, (256, 256, 128))]),
    "v9-m": ((32, 64), (128, 128, 64), [(240, (240, 240, 120)), (360, (360, 360, 180)), (480, (480, 480, 240))],
             (480, 240), [(360, 360, 180), (240, 240, 120)], [(184, (360, 360, 180)), (240, (480, 480, 240))]),
    "v9-c": ((64, 128), (256, 128, 64), [(256, (512, 256, 128)), (512, (512, 512, 256)), (512, (512, 512, 256))],
             (512, 256), [(512, 512, 256), (256, 256, 128)], [(256, (512, 512, 256)), (512, (512, 512, 256))]),
    "v9-e": ((64, 128), (256, 128, 64), [(256, (512, 256, 128)), (512, (1024, 512, 256)), (1024, (1024, 512, 256))],
             (512, 256), [(512, 512, 256), (256, 256, 128)], [(256, (512, 512, 256)), (512, (512, 1024, 512))]),
}  # fmt: skip
REPEATS = {"v9-t": 3, "v9-s": 3, "v9-m": 1, "v9-c": 1, "v9-e": 2}


class Builder:
    """Appends layers and remembers what each puts out."""

    def __init__(self, name: str) -> None:
        self.stem, self.p2, self.levels, self.spp, self.up, self.back = TABLE[name]
        self.n = REPEATS[name]
        self.small = name in ("v9-t", "v9-s")
        self.down = ADown if name in ("v9-c", "v9-e") else AConv
        self.graph: list[tuple[Any, nn.Module]] = []
        self.out: list[Any] = []

    def add(self, source: Any, layer: nn.Module, channels: Any) -> int:
        self.graph.append((source, layer))
        self.out.append(channels)
        return len(self.graph) - 1

    def block(self, c: tuple[int, int, int]) -> int:
        return self.add(-1, RepNCSPELAN4(self.out[-1], *c, self.n), c[0])

    def halve(self, c: int) -> int:
        return self.add(-1, self.down(self.out[-1], c), c)

    def fuse(self, linears: Sequence[int], index: int) -> None:
        if linears:
            self.add([*linears, -1], CBFuse([index] * len(linears)), self.out[-1])

    def backbone(self, source: Any, linears: Sequence[int] = ()) -> list[int]:
        """Numbers of the layers that put out P1..P5. Element k of linears[k:] is added at the k-th linked level."""
        first = 5 - len(linears)  # the first linked level, P1 = 0
        at = [linears[level - first :] if linears and level >= first else [] for level in range(5)]
        self.add(source, Conv(3, self.stem[0], 3, 2), self.stem[0])
        self.fuse(at[0], 0)
        taps = [len(self.graph) - 1]
        self.add(-1, Conv(self.stem[0], self.stem[1], 3, 2), self.stem[1])
        self.fuse(at[1], 1 - first)
        if self.small:
            taps.append(self.add(-1, ELAN1(self.out[-1], *self.p2), self.p2[0]))
        else:
            taps.append(self.block(self.p2))
        for level, (width, block) in enumerate(self.levels, start=2):
            self.halve(width)
            self.fuse(at[level], level - first)
            taps.append(self.block(block))
        return taps

    def linear(self, taps: Sequence[int], widths: Sequence[int]) -> list[int]:
        return [self.add(t, CBLinear(self.out[t], widths[: i + 1]), 0) for i, t in enumerate(taps)]

    def top_down(self, taps: Sequence[int]) -> tuple[int, int, int]:
        """Numbers of the layers that put out P3, P4, P5."""
        p5 = self.add(taps[-1], SPPELAN(self.out[taps[-1]], *self.spp), self.spp[0])
        p4 = self.raise_and_join(taps[-2], self.up[0])
        return self.raise_and_join(taps[-3], self.up[1]), p4, p5

    def raise_and_join(self, tap: int, block: tuple[int, int, int]) -> int:
        self.add(-1, nn.Upsample(scale_factor=2), self.out[-1])
        self.add([-1, tap], Concat(), self.out[-1] + self.out[tap])
        return self.block(block)

    def bottom_up(self, p3: int, p4: int, p5: int) -> list[int]:
        ends = [p3]
        for (width, block), other in zip(self.back, (p4, p5), strict=True):
            self.halve(width)
            self.add([-1, other], Concat(), self.out[-1] + self.out[other])
            ends.append(self.block(block))
        return ends


def official(name: str, nc: int = 80, *, dual: bool = False, class_width: int | None = None) -> DetectionModel:
    """The network of a published file: GELAN form, or `dual` with the auxiliary branch. Random, statistics too."""
    b = Builder(name)
    if name == "v9-e" or (dual and not b.small):
        b.add("image", Silence(), 3)
    taps = b.backbone(0 if b.graph else -1)
    widths = [*b.stem, *(width for width, _ in b.levels)]
    auxiliary: Sequence[int] = ()
    if name == "v9-e":
        features = b.backbone(0, b.linear(taps, widths))
        auxiliary = b.top_down(taps) if dual else ()
        main = b.bottom_up(*b.top_down(features))
    else:
        main = b.bottom_up(*b.top_down(taps))
        if dual and b.small:
            auxiliary = b.top_down(taps)
        elif dual:
            auxiliary = b.backbone(0, b.linear(taps[2:], widths[2:]))[2:]
    ends = [*auxiliary, *main]
    head = DualDDetect if dual else DDetect
    b.add(ends, head([b.out[i] for i in ends], nc, class_width), 0)
    return randomised(DetectionModel(b.graph))


@torch.no_grad()
def randomised(network: DetectionModel) -> DetectionModel:
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.uniform_(0.5, 1.5)
            part.bias.normal_(0, 0.3)
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            part.num_batches_tracked += 7
        elif isinstance(part, nn.Conv2d) and part.bias is not None:
            part.bias.normal_()
    return network.eval()


@contextmanager
def as_their_modules(*more: type[nn.Module]) -> Iterator[None]:
    """While this lasts, the classes can be pickled as `models.common.Conv` and so on; afterwards no such exists."""
    common, main = ModuleType("models.common"), ModuleType("models.yolo")
    own = [c for c in globals().values() if isinstance(c, type) and issubclass(c, nn.Module)]
    own += [c for c in vars(official_blocks).values() if isinstance(c, type) and issubclass(c, nn.Module)]
    homes = {cls: cls.__module__ for cls in (*own, *more)}
    try:
        for cls in homes:
            place = main if "Detect" in cls.__name__ else common
            setattr(place, cls.__name__, cls)
            cls.__module__ = place.__name__
        sys.modules.update({"models": ModuleType("models"), "models.common": common, "models.yolo": main})
        yield
    finally:
        for name in ("models", "models.common", "models.yolo"):
            del sys.modules[name]
        for cls, home in homes.items():
            cls.__module__ = home


def save_official(network: nn.Module, path: Path, *more: type[nn.Module], **entries: Any) -> Path:
    """A file of the shape of the published ones: the whole network, pickled. `more` are classes of it not from here."""
    empty = dict.fromkeys(("optimizer", "best_fitness", "ema", "updates", "opt", "git", "date"))
    with as_their_modules(*more):
        torch.save({"model": network, **empty, "epoch": -1, **entries}, path)
    return path


def rewrite_names(dual: DetectionModel, name: str) -> dict[str, Tensor]:
    """The state dict of a dual network as WongKinYiu/YOLO writes it: head at 22, auxiliary branch after it."""
    small = name in ("v9-t", "v9-s")
    renamed = {}
    for key, tensor in dual.state_dict().items():
        number, rest = re.fullmatch(r"model\.(\d+)\.(.*)", key).groups()  # type: ignore[union-attr]
        layer = int(number)
        if layer == (29 if small else 38):
            renamed.update(_rewritten_head(rest, tensor, 30 if small else 38))
            continue
        layer = (layer if layer < 22 else layer + 1) if small else (layer - 1 if layer < 23 else layer)
        is_aconv = isinstance(dual.model[int(number)], AConv)
        rest = rest.replace("cv1", "conv") if is_aconv else re.sub(r"cv(\d)", r"conv\1", rest)
        renamed[f"{layer}.{re.sub(r'[.]m[.]', '.bottleneck.', rest)}"] = tensor
    return renamed


def _rewritten_head(rest: str, tensor: Tensor, auxiliary: int) -> dict[str, Tensor]:
    if rest.startswith("dfl"):
        layer = 22 if rest.startswith("dfl2") else auxiliary
        return {f"{layer}.heads.{i}.anc2vec.anc2vec.weight": tensor[..., None].clone() for i in range(3)}
    branch, level, rest = rest.split(".", 2)
    layer = 22 if branch in ("cv4", "cv5") else auxiliary
    return {f"{layer}.heads.{level}.{'anchor' if branch in ('cv2', 'cv4') else 'class'}_conv.{rest}": tensor}
