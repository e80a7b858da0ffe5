from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.processes import SMALL, Done
from yolo.cli import main

if "PYTEST_XDIST_WORKER" in os.environ:  # each core has a worker of its own: more threads wait for each other
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
else:
    torch.set_num_threads(2)


# The files that take longest, the longest first.
LONGEST = (
    "tests/test_learning", "tests/test_docs", "commands/test_resume", "tests/test_learning_int8",
    "training/test_distributed", "commands/test_qat_finetune", "commands/test_fit", "commands/test_export",
    "training/test_loggers",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: what runs last runs on one core while the others wait."""

    def place(item: pytest.Item) -> int:
        return next((i for i, name in enumerate(LONGEST) if f"{name}.py" in item.nodeid), len(LONGEST))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Caches of tests go to a folder of this session, not to the user's."""
    os.environ["YOLO_CACHE_DIR"] = str(tmp_path_factory.mktemp("caches"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the sample data sets; tests that need it are skipped without it."""
    folder = os.environ.get("YOLO_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("YOLO_TEST_DATA names no folder of sample data")
    return Path(folder)


# Without the plots of each epoch, which take longer than its training.
PLOTS = "--model.save_metrics_plots=true"
TINY_FIT = [
    "fit", "--config=quickstart", f"--model.model_config={SMALL}", "--model.image_size=64", "--data.shapes_train=24",
    "--data.shapes_val=9", "--data.batch_size=8", "--data.num_workers=0", "--data.close_mosaic_epochs=1",
    "--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.logger.init_args.save_dir=runs",
    "--model.save_metrics_plots=false",
]  # fmt: skip
V9_T = "--model.model_config=v9-t"


@dataclass(frozen=True)
class Run:
    """What `yolo fit` left and printed."""

    folder: Path
    output: str

    @property
    def best(self) -> Path:
        return self.folder / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs of a small network on two dozen embedded images, through the command line."""
    folder = tmp_path_factory.mktemp("tiny")
    done = run_yolo(*TINY_FIT, PLOTS, cwd=folder)
    assert done.returncode == 0, done.stderr
    return Run(folder / "runs" / "quickstart" / "version_0", done.stdout)


def run_yolo(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """`yolo ARGUMENTS` as the command line runs it, in this process: its exit status and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    status, here = 0, Path.cwd()
    os.chdir(cwd or here)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    finally:
        os.chdir(here)
    return Done(status, out.getvalue(), err.getvalue())


def assert_user_error(done: Done, *fragments: str) -> None:
    """Exit status 2, one sentence on stderr that holds every fragment, no traceback."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    for fragment in fragments:
        assert fragment in lines[0], (fragment, lines[0])
