"""What the processes that work on one task tell one another; a process alone is the whole world."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")


def world_size() -> int:
    """Number of processes that work together, 1 for a process alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, equal on each of them; the tensor itself for a process alone."""
    if world_size() == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total


def from_all_ranks(value: Tensor) -> Tensor:
    """The same tensor of every process, `[processes, *shape]`, equal on each of them."""
    if world_size() == 1:
        return value[None]
    values = [torch.empty_like(value) for _ in range(world_size())]
    dist.all_gather(values, value)
    return torch.stack(values)


def gather_objects(mine: Value) -> list[Value]:
    """The value of every process, in the order of their ranks; values are pickled."""
    if world_size() == 1:
        return [mine]
    values: list = [None] * world_size()
    dist.all_gather_object(values, mine)
    return values
