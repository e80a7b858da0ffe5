"""Our non-maximum suppression against a plain greedy loop in torch, on dense scores, run in turns.

    python benchmarks/nms.py [--anchors 8400] [--classes 80] [--confidence 0.001] [--rounds 5]

Both sides get the same candidates (every class of every anchor above the confidence) and keep the same boxes. Prints
how many times faster ours is, for scores of a network that is sure of nothing (every class of every anchor is a
candidate) and of a trained one (few are).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch import Tensor

from yolo.boxes.convert import xywh_to_xyxy
from yolo.boxes.iou import box_iou
from yolo.boxes.nms import NMSOptions, suppress


def plain_loop(decoded: Tensor, options: NMSOptions) -> Tensor:
    """The textbook: take the best box, drop those that overlap it too much, again; [K, 6]."""
    classes, anchors = (decoded[4:] > options.confidence).nonzero(as_tuple=True)
    scores, boxes = decoded[4:][classes, anchors], xywh_to_xyxy(decoded[:4, anchors].T)
    left = scores.argsort(descending=True, stable=True)
    kept: list[Tensor] = []
    while len(left) and len(kept) < options.max_detections:
        best, left = left[0], left[1:]
        kept.append(best)
        overlap = box_iou(boxes[best, None], boxes[left]) > options.iou
        if not options.class_agnostic:
            overlap &= classes[left] == classes[best]
        left = left[~overlap]
    index = torch.stack(kept) if kept else left
    return torch.cat([boxes[index], scores[index, None], classes[index, None].to(boxes.dtype)], dim=1)


def dense(anchors: int, classes: int, sure: float) -> Tensor:
    """[4 + classes, anchors]: boxes xywh in 640 x 640 pixels, scores skewed to 0 by the power `sure`."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(2, anchors, generator=generator) * 640
    sizes = 8 + torch.rand(2, anchors, generator=generator) ** 3 * 300
    return torch.cat([centres, sizes, torch.rand(classes, anchors, generator=generator) ** sure])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anchors", type=int, default=8400)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--confidence", type=float, default=0.001)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    options = NMSOptions(confidence=args.confidence)
    for name, sure in (("every class of every anchor", 1.0), ("as of a trained network", 60.0)):
        decoded = dense(args.anchors, args.classes, sure)
        times: dict[str, list[float]] = {"ours": [], "loop": []}
        for _ in range(args.rounds):
            start = time.perf_counter()
            ours, _ = suppress(decoded, options)
            times["ours"].append(time.perf_counter() - start)
            start = time.perf_counter()
            expected = plain_loop(decoded, options)
            times["loop"].append(time.perf_counter() - start)
        assert torch.equal(ours, expected)
        candidates = int((decoded[4:] > args.confidence).sum())
        ratio = np.median(times["loop"]) / np.median(times["ours"])
        print(f"{name}: {candidates:,} candidates, {len(ours)} kept, ours {1e3 * np.median(times['ours']):.1f} ms, "
              f"{ratio:.0f}x faster than the loop, identical")  # fmt: skip


if __name__ == "__main__":
    main()
