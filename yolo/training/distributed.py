"""What several processes that train one network share: sums, buffers and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from yolo.errors import UserError
from yolo.memory import MemorySettings, killed
from yolo.ranks import world_size
from yolo.training.stop_signal import end_as

GRACE = 3.0
"""Seconds that a failing process leaves to the first one, which may have the same to say, before it speaks itself."""
LAST_WORDS = 10.0
"""Seconds in which the first process looks for the one whose failure is behind its own."""

POLL = 0.05
"""Seconds between two looks at the other processes."""


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
def ending_together(trainer: Trainer, settings: MemorySettings) -> Iterator[None]:
    """End all processes of this machine when one of them fails, and let one of them say why.

    Without this, processes wait for a failed one in their next collective until its timeout of half an hour. Processes
    that someone else has started (torchrun, SLURM) are ended by whoever started them. `settings` are what the memory
    depends on. What Lightning makes of signals gets the status that belongs to them.

    Raises:
        SystemExit: in the first process, when another one has failed and said why; has that one's exit status.
        UserError: in the first process, when another one was ended from outside.
    """
    ended = threading.Event()
    launcher: Any = trainer.strategy.launcher
    if hasattr(launcher, "procs"):
        threading.Thread(target=_watch, args=(launcher, ended, settings), daemon=True).start()
    try:
        yield
    except SystemExit as stop:
        at_once = "at once, without another checkpoint" if trainer.state.fn == TrainerFn.FITTING else "at once"
        if isinstance(stop, SIGTERMException):
            end_as(trainer, signal.SIGTERM, at_once)
        if isinstance(stop.__context__, KeyboardInterrupt):
            end_as(trainer, signal.SIGINT, at_once)
        raise
    except Exception as error:
        ended.set()
        others = _launched(launcher)
        if others:
            launcher.procs = []  # the observer would kill this process too
            failed = None if isinstance(error, UserError) else _await_failed(others)
            for process in others:
                process.kill()
            if failed:
                raise _consequence(*failed, settings) from None
        elif trainer.world_size > 1 and not trainer.is_global_zero:
            time.sleep(GRACE)
        raise
    finally:
        ended.set()


def _watch(launcher: Any, ended: threading.Event, settings: MemorySettings) -> None:
    """In place of Lightning's observer, which kills this process without a word when another one has failed.

    This process waits for the other one in a collective, which fails at once (gloo) or not at all (NCCL).
    """
    while not (failed := _failed(_launched(launcher))):
        if ended.wait(POLL):
            return
    observed, launcher.procs = launcher.procs, list(launcher.procs)
    observed.clear()  # Lightning's observer is content with this
    if ended.wait(LAST_WORDS):
        return
    for process in _launched(launcher):
        process.kill()
    consequence = _consequence(*failed, settings)
    if isinstance(consequence, SystemExit):
        os._exit(int(consequence.code or 1))
    print(f"error: {consequence}", file=sys.stderr, flush=True)
    os._exit(2)  # the main thread cannot be reached


def _launched(launcher: Any) -> list[subprocess.Popen]:
    return [process for process in getattr(launcher, "procs", []) if isinstance(process, subprocess.Popen)]


def _failed(processes: list[subprocess.Popen]) -> tuple[int, int] | None:
    """Number, counted from the first process as 0, and exit status of one that has failed."""
    return next(((i, p.returncode) for i, p in enumerate(processes, 1) if p.poll()), None)


def _await_failed(processes: list[subprocess.Popen]) -> tuple[int, int] | None:
    """The first process found to have failed by itself, None when none does soon."""
    deadline = time.monotonic() + LAST_WORDS
    while time.monotonic() < deadline:
        if failed := _failed(processes):
            return failed
        time.sleep(POLL)
    return None


def _consequence(number: int, status: int, settings: MemorySettings) -> SystemExit | UserError:
    """What the first process raises when another has failed; one that a signal has ended could not say why."""
    return SystemExit(status) if status > 0 else UserError(killed(number, status, settings))
