from __future__ import annotations

import pytest
import torch

from yolo.boxes.anchors import make_anchors
from yolo.boxes.decode import (
    boxes_to_distances,
    decode_logits,
    decode_maps,
    distances_to_boxes,
    expected_distances,
    flatten_maps,
)

BINS = torch.arange(16.0)


def one_hot_logits(distances: list[int]) -> torch.Tensor:
    logits = torch.zeros(4, 16)
    logits[torch.arange(4), torch.tensor(distances)] = 1000
    return logits.flatten()


def test_distances_and_boxes_are_inverse() -> None:
    point, box = torch.tensor([12.0, 20.0]), torch.tensor([4.0, 18.0, 20.0, 50.0])
    assert boxes_to_distances(point, box).tolist() == [8, 2, 8, 30]
    assert torch.equal(distances_to_boxes(point, boxes_to_distances(point, box)), box)
    assert boxes_to_distances(torch.tensor([0.0, 0.0]), box).tolist() == [-4, -18, 20, 50]


def test_expectation_of_one_hot_and_uniform_distributions() -> None:
    assert expected_distances(one_hot_logits([0, 3, 7, 15]), BINS).tolist() == [0, 3, 7, 15]
    assert torch.allclose(expected_distances(torch.zeros(2, 5, 64), BINS), torch.full((2, 5, 4), 7.5))
    assert torch.allclose(expected_distances(torch.zeros(64), BINS / 2), torch.full((4,), 3.75))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_flatten_keeps_each_cell_together_in_anchor_order(memory_format: torch.memory_format) -> None:
    maps = [torch.randn(2, 64 + 3, h, w).to(memory_format=memory_format) for h, w in ((4, 6), (2, 3))]
    box_logits, class_logits = flatten_maps(maps, 3)
    assert box_logits.shape == (2, 30, 64)
    assert class_logits.shape == (2, 30, 3)
    for image in range(2):
        cells = [level[image, :, i, j] for level in maps for i in range(level.shape[2]) for j in range(level.shape[3])]
        assert torch.equal(torch.cat([box_logits, class_logits], -1)[image], torch.stack(cells))


def test_flatten_gives_float32() -> None:
    box_logits, class_logits = flatten_maps([torch.zeros(1, 66, 2, 2, dtype=torch.bfloat16)], 2)
    assert box_logits.dtype == class_logits.dtype == torch.float32


def test_decode_of_one_hot_distributions() -> None:
    maps = [torch.zeros(1, 64 + 2, 4, 4), torch.zeros(1, 64 + 2, 2, 2)]
    maps[0][0, :64, 1, 2] = one_hot_logits([1, 1, 2, 0])  # centre (20, 12), stride 8: box 12, 4, 36, 12
    maps[0][0, 64:, 1, 2] = torch.tensor([0.0, 3.0])
    maps[1][0, :64, 1, 0] = one_hot_logits([0, 1, 3, 2])  # centre (8, 24), stride 16: box 8, 8, 56, 56
    decoded = decode_maps(maps, (8, 16), BINS)
    assert decoded.shape == (1, 6, 20)
    assert decoded.dtype == torch.float32
    sigmoid_of_3 = 1 / (1 + 2.718281828459045**-3)
    assert decoded[0, :, 1 * 4 + 2].tolist() == pytest.approx([24, 8, 24, 8, 0.5, sigmoid_of_3], abs=1e-6)
    assert decoded[0, :, 16 + 1 * 2 + 0].tolist() == pytest.approx([32, 32, 48, 48, 0.5, 0.5], abs=1e-6)


def test_decode_does_not_lose_precision_under_autocast() -> None:
    maps = [torch.randn(1, 64 + 2, 4, 4, generator=torch.Generator().manual_seed(0))]
    expected = decode_maps(maps, (8,), BINS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(decode_maps(maps, (8,), BINS), expected)


def test_maps_without_room_for_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="got 64"):
        decode_maps([torch.zeros(1, 64, 2, 2)], (8,), BINS)


def test_decode_with_constant_anchors_is_the_same() -> None:
    maps = [torch.randn(2, 64 + 3, 4, 6), torch.randn(2, 64 + 3, 2, 3)]
    anchors = make_anchors([(4, 6), (2, 3)], [8, 16])
    boxes, scores = decode_logits(*flatten_maps(maps, 3), anchors, BINS)
    decoded = decode_maps(maps, [8, 16], BINS)
    assert torch.equal(boxes.transpose(1, 2), decoded[:, :4])
    assert torch.equal(scores.transpose(1, 2), decoded[:, 4:])
