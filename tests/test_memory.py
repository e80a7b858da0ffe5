from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import TINY_FIT, Run, assert_user_error, run_yolo
from tests.tiny_dataset import write_dataset
from tests.training.test_module import TINY
from yolo.data.loaders import ImageLoader
from yolo.errors import UserError
from yolo.memory import MemorySettings, memory_at_fault

RAISING = "--trainer.callbacks=tests.training.callbacks.poison.Raising"
FIT = [*TINY_FIT, f"--model.model_config={TINY}", "--trainer.accumulate_grad_batches=3"]
STEP = ["--data.batch_size (8", "--trainer.accumulate_grad_batches, now 3", "--model.image_size (64 x 64)",
        "--trainer.precision (32-true)"]  # fmt: skip
WORKERS = ["--data.num_workers (1)", "--data.prefetch_factor (4)", "--data.batch_size (8)"]


class GreedyLoader(ImageLoader):
    """Runs out of memory, or is ended by a signal, in the process that loads."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __call__(self, path: Path):
        if self.how == "MemoryError":
            raise MemoryError("Unable to allocate 3 TiB")
        os.kill(os.getpid(), getattr(signal, self.how))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "fragment"),
    [
        ("device", "the memory of the device is exhausted (CUDA out of memory. Tried to allocate 20.00 MiB."),
        ("host", "the memory of the host is exhausted: what helps is"),
        ("python", "the memory of the host is exhausted: what helps is"),
    ],
)
def test_fit_names_the_settings_that_help(kind: str, fragment: str, tmp_path: Path) -> None:
    done = run_yolo(*FIT, RAISING, f"--trainer.callbacks.kind={kind}", cwd=tmp_path)
    assert_user_error(done, fragment, *STEP)


def test_other_errors_keep_their_traceback(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        run_yolo(*FIT, RAISING, "--trainer.callbacks.kind=other", cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "fragment"),
    [
        ("SIGKILL", "a data worker was ended by the system ("),
        ("MemoryError", "the memory of the host is exhausted in a data worker"),
    ],
)
def test_workers(how: str, fragment: str, tmp_path: Path) -> None:
    loader = [f"--data.image_loader={__name__}.GreedyLoader", f"--data.image_loader.how={how}"]
    write_dataset(tmp_path / "dataset")
    source = ["--data.format=yolo", "--data.root=dataset", "--data.num_workers=1"]
    done = run_yolo(*FIT, *loader, *source, cwd=tmp_path)
    assert_user_error(done, fragment, *WORKERS)


def test_validate(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you ...")

    monkeypatch.setattr("yolo.training.module.detect", exhausted)
    done = run_yolo("validate", "--checkpoint", tiny_run.best, "--device=cpu")
    assert_user_error(done, "host is exhausted", "--data.batch_size (8)", "--size (64 x 64)", "--precision (32-true)")


def test_predict(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise RuntimeError("MPS backend out of memory (MPS allocated: 20 GB)")

    monkeypatch.setattr("yolo.detector.to_network_input", exhausted)
    image = tiny_run.folder / "predictions.jpg"
    done = run_yolo("predict", "--checkpoint", tiny_run.best, "--source", image, "--size=96", cwd=tmp_path)
    assert_user_error(
        done, "memory of the device is exhausted (MPS backend out of memory", "--batch-size (4)", "--size (96)"
    )


@pytest.mark.parametrize(
    "message",
    [
        "DataLoader worker (pid 5) is killed by signal: Segmentation fault. ",
        "It is possible that dataloader's workers are out of shared memory.",
        "shape mismatch",
    ],
)
def test_what_is_not_memory_goes_through(message: str) -> None:
    with pytest.raises(RuntimeError), memory_at_fault(MemorySettings(["--a"], ["--b"])):
        raise RuntimeError(message)


def test_the_cause_counts_too() -> None:
    def fail() -> None:
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ...")
        except RuntimeError as error:
            raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly") from error

    with pytest.raises(UserError, match=r"Bus error.*--b"), memory_at_fault(MemorySettings(["--a"], ["--b"])):
        fail()
