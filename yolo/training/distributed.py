"""What several processes that train one network share: sums, buffers and their end."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from itertools import groupby

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from yolo.errors import UserError
from yolo.ranks import world_size

GRACE = 3.0
"""Seconds that a failing process leaves to the first one, which may have the same to say, before it speaks itself."""
LAST_WORDS = 10.0
"""Seconds in which the first process looks for the one whose failure is behind its own."""


@torch.no_grad()
def share_buffers(network: nn.Module) -> None:
    """Give every process the first one's buffers, in place: statistics of batch normalisation above all.

    Each process follows the statistics of its own images, and only the first writes checkpoints. All processes call
    this before they measure anything, so that they measure one network, the one a checkpoint hands out.
    """
    if world_size() == 1:
        return
    buffers = sorted(network.buffers(), key=lambda buffer: str(buffer.dtype))
    for _, group in groupby(buffers, key=lambda buffer: buffer.dtype):
        same_type = list(group)
        packed = torch.cat([buffer.flatten() for buffer in same_type])
        dist.broadcast(packed, src=0)
        for buffer, values in zip(same_type, packed.split([b.numel() for b in same_type]), strict=True):
            buffer.copy_(values.view_as(buffer))


def keep_buffers_out_of_forward(network: nn.Module) -> None:
    """Keep DDP from broadcasting all buffers before forward passes, which ranks with other numbers of them wait in."""
    if isinstance(network, DistributedDataParallel):
        network.broadcast_buffers = False


def refuse_setup(trainer: Trainer, *, sync_batchnorm: bool, use_distributed_sampler: bool) -> None:
    """UserError for trainer options that cannot work with several processes."""
    strategy = trainer.strategy
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
        raise UserError(f"--trainer.strategy is {type(strategy).__name__}, expected auto or ddp")
    if trainer.world_size == 1:
        return
    if sync_batchnorm and strategy.root_device.type == "cpu":
        raise UserError("--trainer.sync_batchnorm=true needs GPUs: torch cannot synchronise batch statistics on CPUs")
    if use_distributed_sampler:
        raise UserError("--trainer.use_distributed_sampler=true: the images are shared out among processes already")


@contextlib.contextmanager
def ending_together(trainer: Trainer) -> Iterator[None]:
    """End all processes of this machine when one of them fails, and let one of them say why.

    Without this, processes wait for a failed one in their next collective until its timeout of half an hour. Processes
    that someone else has started (torchrun, SLURM) are ended by whoever started them.

    Raises:
        SystemExit: in the first process, when another one has failed and said why; has that one's exit status.
    """
    try:
        yield
    except Exception as error:
        launched = getattr(trainer.strategy.launcher, "procs", [])
        others = [process for process in launched if isinstance(process, subprocess.Popen)]
        if others:
            launched.clear()  # Lightning's observer of this list would kill this process too
            status = None if isinstance(error, UserError) else _status_of_failed(others)
            for process in others:
                process.kill()
            if status is not None:
                raise SystemExit(status) from None
        elif trainer.world_size > 1 and not trainer.is_global_zero:
            time.sleep(GRACE)
        raise


def _status_of_failed(processes: list[subprocess.Popen]) -> int | None:
    """Exit status of the first process found to have failed by itself, None when none does soon."""
    deadline = time.monotonic() + LAST_WORDS
    while time.monotonic() < deadline:
        failed = [process.returncode for process in processes if process.poll()]
        if failed:
            return failed[0]
        time.sleep(0.05)
    return None
