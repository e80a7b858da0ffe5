"""`yolo` in processes of its own, which are forked off one that has imported what takes longest.

Importing Lightning and its company anew takes longer than most of what tests have a command do. A fork has a session,
signals, output and an end of its own all the same.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

from yolo.models.checkpoint import allow_network

ROOT = Path(__file__).parents[1]
multiprocessing.get_context("forkserver").set_forkserver_preload(
    ["lightning.pytorch", "yolo.commands.fit", "yolo.commands.qat_finetune"]
)

# Most runs are as good with it as with v9-t, and quicker.
SMALL = "tests.training.witness.SmallNetwork"
allow_network(SMALL)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Launched:
    """`python -m yolo ARGUMENTS`, begun. As many threads as in this process: their number decides the order of sums."""

    def __init__(self, *arguments: str | Path, cwd: Path) -> None:
        self._outputs = [tempfile.NamedTemporaryFile("w+", encoding="utf-8", errors="replace") for _ in range(2)]  # noqa: SIM115
        places = [output.name for output in self._outputs]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
        self.process = ForkServerProcess(
            target=_run, args=([*map(str, arguments)], str(cwd), places, dict(environment))
        )
        self.process.start()
        atexit.register(self._kill)  # a test may fail before its end, and multiprocessing waits for it

    def finish(self, seconds: float = 180) -> Done:
        """How it ends. Fails the test, and ends its whole session, when it or what it started lives longer."""
        self.process.join(seconds)
        late = self.process.exitcode is None
        left = late or not self._is_gone(10)  # workers of a killed process look for it every 5
        self._kill()
        self.process.join()
        atexit.unregister(self._kill)
        assert self.process.exitcode is not None
        done = Done(self.process.exitcode, *map(self._text, range(2)))
        if left:
            what = f"no end after {seconds} s" if late else "processes that it started outlive it"
            pytest.fail(f"{what}\n{done.stdout}\n{done.stderr}")
        return done

    def _is_gone(self, seconds: float) -> bool:
        """Whether all of its session end within a number of seconds."""
        end = time.monotonic() + seconds
        while living(self.process.pid):
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.send_signal(signal.SIGKILL, group=True)

    def send_signal(self, number: int, group: bool = False) -> None:
        """To the process, or to all of its session."""
        assert self.process.pid is not None
        (os.killpg if group else os.kill)(self.process.pid, number)

    def wait_until(self, reached: Callable[[], bool], seconds: float = 60) -> None:
        """Fails the test when the command ends before, or after a number of seconds."""
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, "never reached"
            assert self.process.exitcode is None or reached(), self._text(1)
            time.sleep(0.01)

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._text(0)

    def _text(self, output: int) -> str:
        self._outputs[output].seek(0)
        return self._outputs[output].read()


def living(group: int | None) -> list[int]:
    """Processes of a group but for those that have ended and wait for their parent."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, of, state in rows if int(of) == group and not state.startswith("Z")]


def launch_yolo(*arguments: str | Path, cwd: Path, seconds: float = 180, fresh: bool = False) -> Done:
    """`python -m yolo ARGUMENTS` in a process of its own, as signals and several devices need it: Lightning starts the
    further processes with the command line of the first. A fork ends at once, a `fresh` interpreter winds up."""
    if not fresh:
        return Launched(*arguments, cwd=cwd).finish(seconds)
    done = subprocess.run(
        [sys.executable, "-m", "yolo", *arguments], cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=seconds, start_new_session=True,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def _run(arguments: list[str], folder: str, outputs: list[str], environment: dict[str, str]) -> None:
    """What a fork does: becomes a process like one that a shell has started, and runs the command."""
    os.setsid()
    for place, standard in zip(outputs, (1, 2), strict=True):
        os.dup2(os.open(place, os.O_WRONLY), standard)
    multiprocessing.set_start_method(None, force=True)  # workers of its own begin as ever
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # programs in the background ignore Ctrl-C
    sys.argv = ["yolo", *arguments]
    try:
        runpy.run_module("yolo", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
