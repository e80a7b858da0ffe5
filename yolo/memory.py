"""Memory that ran out, as one sentence with the settings that help."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from yolo.errors import UserError

# Matched in messages: torch knows many types of error for this, and an error of a worker arrives as text.
_DEVICE = re.compile(r"(CUDA|HIP|XPU|MPS).*out of memory|ALLOC_FAILED", re.DOTALL)
_HOST = re.compile(
    r"DefaultCPUAllocator: (can.t allocate|not enough) memory|(?<!OutOf)MemoryError|bad_alloc|mmap.*allocate memory"
)
# What the system's memory killer, a full /dev/shm and a failed allocation in C++ end a process with. When torch looks
# before the signal of the worker's end has come, it only sees that the worker is gone.
_WORKER = re.compile(
    r"DataLoader worker \(pid.*\) (?:is killed by signal: )?(Killed|Bus error|Aborted|exited unexpectedly)"
)


@dataclass(frozen=True)
class MemorySettings:
    """Settings that memory depends on, each as `--name (present value)`."""

    step: Sequence[str]
    """What the network's memory depends on."""
    workers: Sequence[str] = ()
    """What the memory of the processes that prepare batches depends on."""


def training_settings(trainer: Any, module: Any, data: Any) -> MemorySettings:
    """The settings of `yolo fit`."""
    batch = (
        f"--data.batch_size ({data.options.batch_size}, with --trainer.accumulate_grad_batches, now "
        f"{trainer.accumulate_grad_batches}, raised in turn)"
    )
    size = f"--model.image_size ({' x '.join(map(str, module.image_size))})"
    return MemorySettings((batch, size, f"--trainer.precision ({trainer.precision})"), _workers(data))


def validation_settings(trainer: Any, module: Any, data: Any) -> MemorySettings:
    """The settings of `yolo validate`."""
    size = f"--size ({' x '.join(map(str, module.image_size))})"
    step = f"--data.batch_size ({data.options.batch_size})", size, f"--precision ({trainer.precision})"
    return MemorySettings(step, _workers(data))


@contextlib.contextmanager
def memory_at_fault(settings: MemorySettings) -> Iterator[None]:
    """Turn exhausted memory of device, host or data workers into a UserError; any other error goes through."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        sentence = _sentence(error, settings)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def killed(process: int, status: int, settings: MemorySettings) -> str:
    """What to say of a process of several that a signal has ended: `status` is minus that signal's number."""
    what = f"process {process} was ended by {signal.Signals(-status).name}"
    if -status not in (signal.SIGKILL, signal.SIGBUS):
        return what
    return _advice(f"{what}, as happens when the host's memory runs out", settings.workers)


def _sentence(error: BaseException, settings: MemorySettings) -> str | None:
    text = " ".join(_messages(error))
    killed = _WORKER.search(text)
    if killed:
        what = f"a data worker was ended by the system ({killed[1]}), as happens when memory runs out"
        return _advice(what, settings.workers)
    host = _HOST.search(text)
    if host and "DataLoader worker" in text:
        return _advice("the memory of the host is exhausted in a data worker", settings.workers)
    if host:
        return _advice("the memory of the host is exhausted", settings.step)
    if _DEVICE.search(text) or type(error).__name__ == "OutOfMemoryError":
        return _advice(f"the memory of the device is exhausted ({str(error).splitlines()[0][:120]})", settings.step)
    return None


def _advice(what: str, settings: Sequence[str]) -> str:
    return f"{what}: what helps is a lower {', '.join(settings)}"


def _messages(error: BaseException | None) -> Iterator[str]:
    """Type and message of an error and of those it came from."""
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__


def _workers(data: Any) -> tuple[str, ...]:
    options = data.options
    prefetch = f"--data.prefetch_factor ({options.prefetch_factor})"
    return f"--data.num_workers ({options.num_workers})", prefetch, f"--data.batch_size ({options.batch_size})"
