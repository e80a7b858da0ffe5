from __future__ import annotations

import pytest
import torch

from tests.models.weights.official import official, rewrite_names
from yolo.models.registry import MODELS, build_model
from yolo.models.weights.layouts import LAYOUTS, our_name, our_value

CASES = [(name, layout) for name in MODELS for layout in LAYOUTS[name]]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layout"), CASES)
def test_every_official_name_has_one_place_in_our_network(name: str, layout: str) -> None:
    with torch.device("meta"):
        theirs = official(name, dual=layout != "gelan", class_width=None if name != "v9-t" else 80)
        ours = build_model(name, 80, auxiliary=layout != "gelan").state_dict()
        tensors = theirs.state_dict() if layout != "rewrite" else rewrite_names(theirs, name)
    translated = {their: our_name(their, LAYOUTS[name][layout]) for their in tensors}
    assert set(translated.values()) == set(ours)
    repeated = len(translated) - len(ours)  # the rewrite keeps the bins once per level
    assert repeated == (4 if layout == "rewrite" else 0)
    for their, our in translated.items():
        assert our is not None
        assert our_value(our, tensors[their]).shape == ours[our].shape, (their, our)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("model.4.cv2.0.m.1.cv1.conv1.bn.weight", "backbone.stage3.link1.0.bottlenecks.1.rep.conv3.bn.weight"),
        ("model.model.4.cv3.0.m.0.cv2.conv.weight", "backbone.stage3.link2.0.bottlenecks.0.conv.conv.weight"),
        ("4.conv2.0.bottleneck.2.conv1.conv2.bn.bias", "backbone.stage3.link1.0.bottlenecks.2.rep.conv1.bn.bias"),
        ("3.cv1.conv.weight", "backbone.down3.conv.conv.weight"),
        ("9.cv5.bn.running_var", "top_down.spp.merge.bn.running_var"),
        ("22.cv3.1.2.bias", "head.cls.1.2.bias"),
        ("22.dfl.conv.weight", "head.bins"),
        ("10.anything", None),
        ("99.cv1.conv.weight", None),
        ("22.cv9.0.weight", None),
        ("names", None),
        ("0", None),
    ],
)  # fmt: skip
def test_examples(theirs: str, ours: str | None) -> None:
    assert our_name(theirs, LAYOUTS["v9-t"]["gelan"]) == ours
