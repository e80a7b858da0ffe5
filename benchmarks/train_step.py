"""Where a training step's time goes: `python benchmarks/train_step.py [--model v9-t --size 320 --batch 8]`.

Two tables on one CPU thread, medians of CPU time over turns in which all variants run one after the other, so that
other work on the machine slows them alike:

- a whole step (forward, loss, backward, SGD) in NCHW, in channels_last, and in channels_last under bf16 autocast;
- the loss alone (its forward and its backward down to the raw maps) as a share of the channels_last step, for few and
  for many targets.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from yolo.inference import lay_out
from yolo.losses.detection import DetectionLoss
from yolo.models.detection_model import DetectionModel
from yolo.models.registry import build_model

CLASSES = 80


def random_targets(count: int, batch: int, size: int) -> Tensor:
    """Boxes from 4 pixels to nearly the whole image, small ones more often, `[count, 6]`."""
    generator = torch.Generator().manual_seed(count)
    image = torch.randint(0, batch, (count, 1), generator=generator)
    label = torch.randint(0, CLASSES, (count, 1), generator=generator)
    extent = (torch.rand(count, 2, generator=generator) ** 2 * 0.9 * size).clamp(min=4)
    corner = torch.rand(count, 2, generator=generator) * (size - extent)
    return torch.cat([image, label, corner, corner + extent], dim=1)


class Step:
    """One variant of a training step, with weights and an optimiser of its own."""

    def __init__(
        self, model: DetectionModel, images: Tensor, *, channels_last: bool = True, bf16: bool = False
    ) -> None:
        self.model = lay_out(copy.deepcopy(model), channels_last)
        self.images = images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=0.9, fused=True)
        self.loss = DetectionLoss()
        self.bf16 = bf16

    def __call__(self, targets: Tensor) -> None:
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if self.bf16 else contextlib.nullcontext():
            branches = self.model(self.images)
            total = self.loss(branches, targets, self.model.strides, self.model.bins).total
        total.backward()
        self.optimizer.step()

    def loss_alone(self, targets: Tensor) -> Callable[[], object]:
        branches = tuple(tuple(m.detach().requires_grad_() for m in maps) for maps in self.model(self.images))
        leaves = [level for maps in branches for level in maps]

        def run() -> object:
            return torch.autograd.grad(self.loss(branches, targets, self.model.strides, self.model.bins).total, leaves)

        return run


def milliseconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return 1000 * (time.process_time() - start)


def in_turns(actions: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """CPU milliseconds of each action, once per turn; the first turn warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(repeats + 1):
        for name, action in actions.items():
            elapsed = milliseconds(action)
            if turn:
                times[name].append(elapsed)
    return times


def ratio(times: list[float], base: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(times, base, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="v9-t")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--targets", type=int, nargs="+", default=[30, 400])
    parser.add_argument("--repeats", type=int, default=11)
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_model(args.model, CLASSES).train()
    images = torch.rand(args.batch, 3, args.size, args.size)
    best = Step(model, images)
    variants = {"NCHW": Step(model, images, channels_last=False), "channels_last": best}
    variants["channels_last, bf16"] = Step(model, images, bf16=True)

    targets = random_targets(args.targets[0], args.batch, args.size)
    times = in_turns({name: partial(step, targets) for name, step in variants.items()}, args.repeats)
    for name, elapsed in times.items():
        print(f"{name}: step {statistics.median(elapsed):.0f} ms, {ratio(elapsed, times['NCHW']):.2f} of NCHW")

    for count in args.targets:
        targets = random_targets(count, args.batch, args.size)
        both = in_turns({"step": partial(best, targets), "loss": best.loss_alone(targets)}, args.repeats)
        print(
            f"{count} targets: step {statistics.median(both['step']):.0f} ms, "
            f"loss {statistics.median(both['loss']):.1f} ms, share {ratio(both['loss'], both['step']):.1%}"
        )


if __name__ == "__main__":
    main()
