from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from yolo import environments
from yolo.environments import Environment, Worker, run_worker
from yolo.errors import UserError

DOUBLER = """
import sys
from channel import Channel

channel = Channel()
print("a library talks")

def answer(arrays):
    if arrays and arrays[0].size == 0:
        raise ValueError("nothing to double")
    return [int(sys.argv[1]) * array for array in arrays]

channel.serve(answer)
"""


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "channel.py").write_text((environments.WORKERS / "channel.py").read_text())
    (tmp_path / "doubler.py").write_text(DOUBLER)
    monkeypatch.setattr(environments, "WORKERS", tmp_path)
    return tmp_path


def test_a_worker_answers_until_it_is_closed(scripts: Path) -> None:
    worker = Worker(Path(sys.executable), "doubler.py", "2")
    for size in (3, 200_000):
        arrays = [np.arange(size, dtype=np.float32).reshape(1, -1), np.ones(2, np.int8)]
        found = worker(arrays)
        assert [(a.dtype, a.shape) for a in found] == [(a.dtype, a.shape) for a in arrays]
        np.testing.assert_array_equal(found[0], 2 * arrays[0])
    assert worker([]) == []
    with pytest.raises(UserError, match=r"doubler.py failed: ValueError: nothing to double"):
        worker([np.ones(0)])
    worker.close()


def test_a_worker_that_does_not_start(scripts: Path) -> None:
    (scripts / "broken.py").write_text("import nowhere_to_be_found")
    with pytest.raises(UserError, match=r"broken.py failed: ModuleNotFoundError: .*nowhere_to_be_found"):
        Worker(Path(sys.executable), "broken.py")


def test_a_worker_that_hangs_is_killed(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "PATIENCE", 0.5)
    (scripts / "hangs.py").write_text(
        "import os, sys, time; print('no memory', file=sys.stderr); os.close(1); time.sleep(600)"
    )
    before = time.monotonic()
    with pytest.raises(UserError, match=r"hangs.py failed: no memory"):
        Worker(Path(sys.executable), "hangs.py")
    assert time.monotonic() - before < 60


def test_a_script_that_runs_to_its_end(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (scripts / "once.py").write_text("import os, sys; print(sys.argv[1], os.environ.get('PYTHONPATH'))")
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    assert run_worker(Path(sys.executable), "once.py", "a") == "a None\n"
    (scripts / "once.py").write_text("raise SystemExit('no such operator')")
    with pytest.raises(UserError, match=r"once.py failed with status 1: no such operator"):
        run_worker(Path(sys.executable), "once.py")


def test_what_a_script_leaves_among_temporary_files_goes_with_it(scripts: Path) -> None:
    (scripts / "once.py").write_text("import tempfile; print(tempfile.mkdtemp())")
    left = Path(run_worker(Path(sys.executable), "once.py").strip())
    assert left.parent.parent == Path(tempfile.gettempdir())
    assert not left.parent.exists()
    (scripts / "serves.py").write_text(
        "import tempfile, numpy\n"
        "from channel import Channel\n"
        "left = numpy.frombuffer(tempfile.mkdtemp().encode(), 'uint8')\n"
        "Channel().serve(lambda _: [left])\n"
    )
    worker = Worker(Path(sys.executable), "serves.py")
    left = Path(worker([])[0].tobytes().decode())
    assert left.is_dir()
    worker.close()
    assert not left.parent.exists()


def test_where_an_interpreter_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.delenv("YOLO_X_PYTHON", raising=False)
    here = Environment("X export", "numpy", "YOLO_X_PYTHON", ".venv-x", "scripts/setup_x.sh")
    assert here.python() == Path(sys.executable)
    other = Environment("X export", "nowhere_to_be_found", "YOLO_X_PYTHON", ".venv-x", "scripts/setup_x.sh")
    with pytest.raises(UserError, match=r"X export needs nowhere_to_be_found .* bash scripts/setup_x.sh .*YOLO_X"):
        other.python()
    made = tmp_path / ".venv-x/bin/python"
    made.parent.mkdir(parents=True)
    made.symlink_to(sys.executable)
    assert other.python() == made
    monkeypatch.setenv("YOLO_X_PYTHON", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"YOLO_X_PYTHON is .*none, expected the path of a Python interpreter"):
        other.python()
    monkeypatch.setenv("YOLO_X_PYTHON", os.path.realpath(sys.executable))
    assert other.python() == Path(os.path.realpath(sys.executable))


def test_what_is_no_python_has_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Environment("X export", "nowhere_to_be_found", "YOLO_X_PYTHON", ".venv-x", "scripts/setup_x.sh")
    monkeypatch.setenv("YOLO_X_PYTHON", "/bin/true")
    with pytest.raises(UserError, match="X export needs nowhere_to_be_found, which /bin/true does not have"):
        other.require_package()
