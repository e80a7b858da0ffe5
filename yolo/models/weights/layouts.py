"""How other programs name the tensors of a YOLOv9 network, as tables, and the translation into our names.

Theirs are numbered layers: `model.4.cv2.0.m.1.cv1.conv1.bn.weight` in the files of the paper's authors, with the same
layers and other words in those of their rewrite (WongKinYiu/YOLO). A layout is the list of layers of such a file; each
entry says which of our modules it is, "" where a layer has no weights. Words inside a layer are the same everywhere.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from torch import Tensor

Layout: TypeAlias = tuple[str, ...]
Words: TypeAlias = "dict[str, tuple[str, Words]]"

OURS = "ours"
PREFIX = re.compile(r"^(?:model\.)+(?=\d)")  # in front of the layer's number in many files

STAGES = "stem1 stem2 stage2 down3 stage3 down4 stage4 down5 stage5"
FUSED_FROM_P3 = "stem1 stem2 stage2 down3 - stage3 down4 - stage4 down5 - stage5"  # - is the sum with other maps
FUSED_FROM_P1 = "stem1 - stem2 - stage2 down3 - stage3 down4 - stage4 down5 - stage5"
TOP_DOWN = "spp - - stage4 - - stage3"  # - - is up-sampling and concatenation
BOTTOM_UP = "down4 - stage4 down5 - stage5"  # - is concatenation


def _under(module: str, names: str) -> Layout:
    return tuple("" if name == "-" else f"{module}.{name}" for name in names.split())


BACKBONE = _under("backbone", STAGES)
NECK = _under("top_down", TOP_DOWN) + _under("bottom_up", BOTTOM_UP)
AUX_TOP_DOWN = _under("auxiliary.path", TOP_DOWN)
AUX_COMPOSITE = _under("auxiliary.path.links", "0 1 2") + _under("auxiliary.path.backbone", FUSED_FROM_P3)
TWO_BACKBONES = (
    "",  # the image
    *BACKBONE,
    *_under("composite.links", "0 1 2 3 4"),
    *_under("composite.backbone", FUSED_FROM_P1),
)

GELAN = (*BACKBONE, *NECK, "head")
WITH_TOP_DOWN = {
    "gelan": GELAN,
    "dual": (*BACKBONE, *NECK, *AUX_TOP_DOWN, "both heads"),
    "rewrite": (*GELAN, *AUX_TOP_DOWN, "auxiliary.head"),
}
WITH_COMPOSITE = {
    "gelan": GELAN,
    "dual": ("", *BACKBONE, *NECK, *AUX_COMPOSITE, "both heads"),
    "rewrite": (*GELAN, *AUX_COMPOSITE, "auxiliary.head"),
}
LAYOUTS: dict[str, dict[str, Layout]] = {
    "v9-t": WITH_TOP_DOWN,
    "v9-s": WITH_TOP_DOWN,
    "v9-m": WITH_COMPOSITE,
    "v9-c": WITH_COMPOSITE,
    "v9-e": {
        "gelan": (*TWO_BACKBONES, *NECK, "head"),
        "dual": (*TWO_BACKBONES, *AUX_TOP_DOWN, *NECK, "both heads"),
    },
}
"""By architecture: `gelan` is the deployed form, `dual` that with the auxiliary branch, `rewrite` WongKinYiu/YOLO."""

_MAIN = {"cv2": "box", "cv3": "cls", "dfl": "bins", "anchor_conv": "box", "class_conv": "cls", "anc2vec": "bins"}
HEADS = {
    "head": {theirs: f"head.{ours}" for theirs, ours in _MAIN.items()},
    "auxiliary.head": {theirs: f"auxiliary.head.{ours}" for theirs, ours in _MAIN.items()},
    "both heads": {
        "cv2": "auxiliary.head.box",
        "cv3": "auxiliary.head.cls",
        "dfl": "auxiliary.head.bins",
        "cv4": "head.box",
        "cv5": "head.cls",
        "dfl2": "head.bins",
    },
}

_REP: Words = {"conv1": ("conv3", {}), "conv2": ("conv1", {})}  # theirs count branches, ours say the kernel
_BOTTLENECK: Words = {"conv1": ("rep", _REP), "conv2": ("conv", {})}
_CSP: Words = {
    "conv1": ("enter", {}),
    "conv2": ("bypass", {}),
    "conv3": ("merge", {}),
    "bottleneck": ("bottlenecks", {"*": ("*", _BOTTLENECK)}),
}
_LINK: Words = {"0": ("0", _CSP)}
BLOCKS: dict[str, Words] = {
    "stage": {
        "conv1": ("enter", {}),
        "conv2": ("link1", _LINK),
        "conv3": ("link2", _LINK),
        "conv4": ("merge", {}),
    },
    "down": {"conv1": ("conv", {}), "conv2": ("pooled", {})},
    "spp": {"conv1": ("enter", {}), "conv5": ("merge", {})},
}
"""Words inside a layer by the kind of our module, with those of the official files spelled like the rewrite's."""


def our_name(name: str, layout: Layout) -> str | None:
    """Our name of a tensor in a file of this layout, None when the layout has no place for it."""
    layer, *words = PREFIX.sub("", name).split(".")
    if not layer.isdecimal() or int(layer) >= len(layout) or not layout[int(layer)] or not words:
        return None
    module = layout[int(layer)]
    if module in HEADS:
        return _in_head(words, HEADS[module])
    kind = module.rpartition(".")[2].rstrip("0123456789")
    return ".".join([module, *_translate(words, BLOCKS.get(kind, {}))])


def our_value(name: str, tensor: Tensor) -> Tensor:
    """The tensor in our shape: others keep the values of the distribution's bins as a convolution [1, 16, 1, ...]."""
    return tensor.flatten() if name.endswith("head.bins") else tensor


def _in_head(words: list[str], names: dict[str, str]) -> str | None:
    if words[0] == "heads" and len(words) > 3:  # level first, then box or class
        words = [words[2], words[1], *words[3:]]
    ours = names.get(words[0])
    return ours if ours is None or ours.endswith("bins") else ".".join([ours, *words[1:]])


def _translate(words: list[str], table: Words) -> list[str]:
    translated: list[str] = []
    for position, word in enumerate(words):
        spelled = re.sub(r"^cv(?=\d$)", "conv", word) if word != "m" else "bottleneck"
        if spelled not in table and "*" not in table:
            return translated + words[position:]
        ours, table = table[spelled] if spelled in table else table["*"]
        translated.append(word if ours == "*" else ours)
    return translated
