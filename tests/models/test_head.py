from __future__ import annotations

import pytest
import torch
from torch import nn

from yolo.models.head import DetectHead

STRIDES = (8, 16, 32)


def convolutions(branch: nn.Module) -> list[nn.Conv2d]:
    return [part for part in branch.modules() if isinstance(part, nn.Conv2d)]


@pytest.mark.parametrize(
    ("num_classes", "expected"),
    [(80, (-11.537, -10.150, -8.764)), (1, (-7.155, -5.768, -4.382))],
)
def test_biases_start_at_the_class_prior(num_classes: int, expected: tuple[float, ...]) -> None:
    head = DetectHead((64, 96, 128), STRIDES, num_classes)
    for box, cls, value in zip(head.box, head.cls, expected, strict=True):
        assert convolutions(box)[-1].bias.tolist() == [1] * 64  # type: ignore[union-attr]
        assert convolutions(cls)[-1].bias.tolist() == pytest.approx([value] * num_classes, abs=6e-4)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("first", "num_classes", "expected"),
    [(64, 80, 80), (64, 1, 64), (64, 365, 100), (128, 80, 128), (240, 80, 240), (512, 80, 512)],
)
def test_default_class_width(first: int, num_classes: int, expected: int) -> None:
    head = DetectHead((first, 16, 16), STRIDES, num_classes)
    assert [[conv.out_channels for conv in convolutions(branch)[:2]] for branch in head.cls] == [[expected] * 2] * 3


@pytest.mark.parametrize(
    ("first", "reg_max", "expected"), [(64, 16, 64), (240, 16, 64), (512, 16, 128), (40, 2, 16), (200, 2, 52)]
)
def test_box_width_is_a_multiple_of_the_four_groups(first: int, reg_max: int, expected: int) -> None:
    head = DetectHead((first, 16, 16), STRIDES, 1, reg_max=reg_max)
    for branch in head.box:
        assert [conv.out_channels for conv in convolutions(branch)] == [expected, expected, 4 * reg_max]
        assert [conv.groups for conv in convolutions(branch)] == [1, 4, 4]
        assert [conv.kernel_size[0] for conv in convolutions(branch)] == [3, 3, 1]


def test_explicit_class_width() -> None:
    head = DetectHead((64, 96, 128), STRIDES, 80, class_width=128)
    assert [convolutions(branch)[-1].in_channels for branch in head.cls] == [128] * 3


def test_raw_map_holds_distances_before_classes() -> None:
    head = DetectHead((8, 12, 16), STRIDES, 3).eval()
    features = [torch.randn(2, c, 8 // s, 12 // s) for c, s in ((8, 1), (12, 2), (16, 4))]
    maps = head(features)
    assert [tuple(m.shape) for m in maps] == [(2, 67, 8, 12), (2, 67, 4, 6), (2, 67, 2, 3)]
    for m, x, box, cls in zip(maps, features, head.box, head.cls, strict=True):
        assert torch.equal(m[:, :64], box(x))
        assert torch.equal(m[:, 64:], cls(x))


def test_bins_are_frozen_whole_numbers() -> None:
    head = DetectHead((8, 12, 16), STRIDES, 3)
    assert head.bins.tolist() == list(range(16))
    assert not head.bins.requires_grad
    assert any(parameter is head.bins for parameter in head.parameters())


@pytest.mark.parametrize(("num_classes", "class_width"), [(0, None), (3, 0)])
def test_impossible_widths_are_refused(num_classes: int, class_width: int | None) -> None:
    with pytest.raises(ValueError, match=f"found {num_classes} and {64 if class_width is None else class_width}"):
        DetectHead((64, 96, 128), STRIDES, num_classes, class_width)
