from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from yolo.errors import UserError
from yolo.models.profile import count_parameters
from yolo.models.registry import MODELS, build_model

# name, class width, parameters with and without auxiliary branch in training form, deployed; 80 classes
PARAMETERS = [
    ("v9-t", None, None, 2_036_560, 2_001_840),
    ("v9-t", 128, 3_717_680, 2_442_640, 2_407_632),
    ("v9-s", None, 9_804_512, 7_226_208, 7_105_888),
    ("v9-m", None, 32_878_432, 20_124_000, 19_978_672),
    ("v9-c", None, 51_182_080, 25_498_752, 25_288_768),
    ("v9-e", None, 69_529_664, 58_114_432, 57_345_920),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "class_width", "dual", "single", "deployed"), PARAMETERS)
def test_parameters_are_the_published_ones(
    name: str, class_width: int | None, dual: int | None, single: int, deployed: int
) -> None:
    with torch.device("meta"):
        model = build_model(name, 80, class_width=class_width)
        plain = build_model(name, 80, class_width=class_width, auxiliary=False)
    if dual is not None:
        assert count_parameters(model) == dual
    assert count_parameters(plain) == single
    assert count_parameters(model.deploy()) == deployed


@pytest.mark.parametrize("name", ["v9-t", "v9-c"])
def test_explicit_class_width_holds_in_both_heads(name: str) -> None:
    with torch.device("meta"):
        for width in (80, 128):
            model = build_model(name, 80, class_width=width)
            branches = (*model.head.cls, *model.get_submodule("auxiliary.head.cls").children())
            widths = {
                tuple(part.weight.shape[:2])
                for branch in branches
                for part in branch.children()
                if isinstance(part, nn.Conv2d)
            }
            assert widths == {(80, width)}


@pytest.mark.slow
def test_default_class_width_of_t_is_80() -> None:
    with torch.device("meta"):
        default, explicit = build_model("v9-t", 80), build_model("v9-t", 80, class_width=80)
    assert count_parameters(default) == count_parameters(explicit)


def test_models_start_in_training_mode_with_their_classes() -> None:
    model = build_model("v9-t", 7)
    assert model.training
    assert model.num_classes == 7


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown model 'v9-x': expected one of v9-t, v9-s, v9-m, v9-c, v9-e"):
        build_model("v9-x", 80)


def test_specs_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MODELS["v9-t"].spp = 3  # type: ignore[misc]
