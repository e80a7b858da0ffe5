from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from yolo.data.cache.lock import locked, try_lock
from yolo.errors import UserError

HOLD = """
import sys, time
from pathlib import Path
from yolo.data.cache.lock import locked
with locked(Path(sys.argv[1])):
    print("has it", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "cache"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), "1"], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "has it\n"
    with locked(folder):
        assert other.wait(5) == 0
    assert capsys.readouterr().out == f"waiting for another process that builds {folder}\n"
    assert [path.name for path in folder.parent.iterdir()] == ["cache.lock"]


def test_a_process_that_dies_gives_it_back(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "c"), "60"], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    other.stdout.readline()
    other.kill()
    other.wait()
    begun = time.monotonic()
    with locked(tmp_path / "c"):
        assert time.monotonic() - begun < 5


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sentence = r"file/a: a cache cannot be written there \(.*\): choose another data\.cache_dir"
    with pytest.raises(UserError, match=sentence), locked(tmp_path / "file" / "a" / "cache"):
        pass


def test_who_does_not_wait_is_told(tmp_path: Path) -> None:
    with (tmp_path / "f").open("a") as one, (tmp_path / "f").open("a") as other:
        assert try_lock(one.fileno())
        assert not try_lock(other.fileno())
        one.close()
        assert try_lock(other.fileno(), wait=True)
