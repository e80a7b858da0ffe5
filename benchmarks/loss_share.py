"""Share of the loss in a training step: `python benchmarks/loss_share.py [--model v9-t --size 320 --batch 8]`.

Times a whole step (forward, loss, backward, SGD) and the loss alone (its forward and its backward down to the raw maps)
in turns on one CPU thread, and prints medians of CPU time for few and for many targets. The share is the median over
the turns, so that other work on the machine slows both sides alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from yolo.losses.detection import DetectionLoss
from yolo.models.registry import build_model


def random_targets(count: int, batch: int, num_classes: int, size: int) -> Tensor:
    """Boxes from 4 pixels to nearly the whole image, small ones more often, `[count, 6]`."""
    generator = torch.Generator().manual_seed(count)
    image = torch.randint(0, batch, (count, 1), generator=generator)
    label = torch.randint(0, num_classes, (count, 1), generator=generator)
    extent = (torch.rand(count, 2, generator=generator) ** 2 * 0.9 * size).clamp(min=4)
    corner = torch.rand(count, 2, generator=generator) * (size - extent)
    return torch.cat([image, label, corner, corner + extent], dim=1)


def milliseconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return 1000 * (time.process_time() - start)


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
    model = build_model(args.model, 80).train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, fused=True)
    images = torch.rand(args.batch, 3, args.size, args.size).to(memory_format=torch.channels_last)
    loss = DetectionLoss()

    for count in args.targets:
        targets = random_targets(count, args.batch, 80, args.size)

        def step(targets: Tensor = targets) -> None:
            optimizer.zero_grad()
            loss(model(images), targets, model.strides, model.bins).total.backward()
            optimizer.step()

        step()
        branches = tuple(tuple(level.detach().requires_grad_() for level in maps) for maps in model(images))

        def loss_alone(branches: tuple[tuple[Tensor, ...], ...] = branches, targets: Tensor = targets) -> None:
            total = loss(branches, targets, model.strides, model.bins).total
            torch.autograd.grad(total, [level for maps in branches for level in maps])

        loss_alone()
        pairs = [(milliseconds(step), milliseconds(loss_alone)) for _ in range(args.repeats)]
        whole, alone = (statistics.median(column) for column in zip(*pairs, strict=True))
        share = statistics.median(alone / whole for whole, alone in pairs)
        print(f"{count} targets: step {whole:.0f} ms, loss {alone:.1f} ms, share {share:.1%}")


if __name__ == "__main__":
    main()
