"""How long something takes, stage by stage, and what memory it needs.

Made of callables, so that a network and a file exported from it are measured in the same way.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stage = Callable[[Any], Any]


@dataclass(frozen=True)
class Latency:
    """Times of one stage over all runs, in milliseconds."""

    mean: float
    std: float
    p50: float
    p95: float
    p99: float
    throughput: float
    """Images per second."""

    @classmethod
    def of(cls, seconds: NDArray[np.float64], batch: int) -> Latency:
        """From the times [runs] of batches of `batch` images."""
        p50, p95, p99 = np.percentile(seconds * 1000, [50, 95, 99]).tolist()
        mean = float(seconds.mean())
        return cls(mean * 1000, float(seconds.std() * 1000), p50, p95, p99, batch / mean)


def measure_stages(
    stages: Mapping[str, Stage],
    inputs: Sequence[Any],
    *,
    warmup: int,
    runs: int,
    synchronize: Callable[[], None] = lambda: None,
) -> dict[str, NDArray[np.float64]]:
    """Time every stage, and all of them as `total`.

    Args:
        stages: each gets what the one before returned, the first an input.
        inputs: taken in turn, again from the start after the last.
        warmup: runs before those that count.
        runs: runs that count.
        synchronize: waits until the device has done what it was given; called before every reading of the clock.

    Returns:
        Seconds [runs] of each stage and of `total`.
    """
    readings = np.empty((runs, len(stages) + 1))
    for run in range(-warmup, runs):
        value = inputs[run % len(inputs)]
        synchronize()
        times = [time.perf_counter()]
        for stage in stages.values():
            value = stage(value)
            synchronize()
            times.append(time.perf_counter())
        if run >= 0:
            readings[run] = times
    seconds = np.diff(readings, axis=1)
    by_name = {name: seconds[:, number] for number, name in enumerate(stages)}
    return {**by_name, "total": readings[:, -1] - readings[:, 0]}


def measure_in_turn(
    candidates: Sequence[Mapping[str, Stage]],
    inputs: Sequence[Any],
    *,
    warmup: int,
    runs: int,
    synchronize: Callable[[], None] = lambda: None,
) -> list[dict[str, NDArray[np.float64]]]:
    """Time the stages of several candidates in rounds, so that what else the machine does hits all of them alike.

    In a round each runs twice on the same input, and the second counts: the first brings its weights back into the
    caches, and outlasts the threads of the candidate before, which spin for a while in case there is more to do.

    Args:
        candidates: stages of each, as in `measure_stages`.
        inputs: taken in turn, one a round.
        warmup: rounds before those that count.
        runs: rounds that count.
        synchronize: as in `measure_stages`.

    Returns:
        Of each candidate, seconds [runs] of each stage and of `total`.
    """
    rounds = [
        [
            measure_stages(stages, [inputs[number % len(inputs)]], warmup=1, runs=1, synchronize=synchronize)
            for stages in candidates
        ]
        for number in range(-warmup, runs)
    ][warmup:]
    return [
        {name: np.concatenate([found[at][name] for found in rounds]) for name in (*stages, "total")}
        for at, stages in enumerate(candidates)
    ]


class PeakMemory:
    """Growth of this process' peak memory since this object was made, in bytes."""

    def __init__(self) -> None:
        self.start = _resident()
        _forget_peak()

    @property
    def growth(self) -> int:
        """So far."""
        return max(_peak() - self.start, 0)


def peak_of_children(process: str = "self") -> int:
    """Bytes of the peaks of all processes that this one has started and that still run; 0 where Linux does not tell."""
    with contextlib.suppress(OSError):
        children = [child for file in (_PROC / process).glob("task/*/children") for child in file.read_text().split()]
        return sum((_from_status("VmHWM", child) or 0) + peak_of_children(child) for child in children)
    return 0


_PROC = Path("/proc")


def _from_status(name: str, process: str = "self") -> int | None:
    """A figure of Linux' status of a process, this one unless told, in bytes; None elsewhere."""
    with contextlib.suppress(OSError):
        status = (_PROC / process / "status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    return None


def _resident() -> int:
    resident = _from_status("VmRSS")
    return _peak() if resident is None else resident


def _peak() -> int:
    peak = _from_status("VmHWM")
    if peak is None:
        import resource  # not on Windows, which has neither

        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak


def _forget_peak() -> None:
    """Let the peak start from here, where the system can; elsewhere it is that of the whole process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
