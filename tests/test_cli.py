from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import assert_user_error, run_yolo
from yolo import __version__
from yolo.cli import COMMANDS, main

CPU_SECONDS = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "yolo", *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""


@pytest.mark.parametrize(
    ("arguments", "seconds"), [(["--help"], 0.4), (["predict", "--help"], 0.8), (["check-data", "--help"], 0.8)]
)
def test_help_is_quick(arguments: list[str], seconds: float) -> None:
    used = subprocess.run(
        [sys.executable, "-c", CPU_SECONDS, *arguments], capture_output=True, text=True, check=True
    ).stdout
    assert float(used) < seconds


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described(name: str) -> None:
    done = run_yolo(name, "--help")
    assert done.returncode == 0, done.stderr
    if name == "fit":  # help of `fit` is Lightning's: ours are the sections below
        for option in ("--model.learning_rate", "--data.mosaic_prob", "--ema.decay", "--model.assigner_topk"):
            position = done.stdout.rindex(f"  {option} ")
            text = " ".join(done.stdout[position : position + 500].split())
            assert "(type: " in text
            assert "default: " in text
            assert len(text[: text.index("(type: ")].split()) > 4, text
        return
    skipped = ("help", "data CONFIG", "data.bbox_mosaic CONFIG", "data.image_loader.help")
    options = [block for block in done.stdout.split("\n  --")[1:] if not block.startswith(skipped)]
    assert options
    for block in options:
        text = " ".join(block.split())
        described = text.partition("(")[0].split()[2:]
        assert described, text
        assert "default: " in text or "required" in text, text


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    output = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert name in output
        assert command.summary in output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_row_of_the_table_runs(name: str) -> None:
    assert callable(importlib.import_module(COMMANDS[name].module).main)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


def test_unknown_command() -> None:
    assert_user_error(run_yolo("trian"), "unknown command 'trian'", "fit, validate, predict, info")


def test_letters_that_the_terminal_does_not_have_end_nothing(tmp_path: Path) -> None:
    truth = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}
    image = {"id": 1, "file_name": "a.jpg", "height": 9, "width": 9}
    content = {"images": [image], "annotations": [truth], "categories": [{"id": 1, "name": "é"}]}
    (tmp_path / "é.json").write_text(json.dumps(content))
    (tmp_path / "found.json").write_text("[]")
    arguments = ["evaluate", "--gt", "é.json", "--detections", "found.json", "--no-plots", "--no-report", "-o", "ü"]
    done = subprocess.run(
        [sys.executable, "-m", "yolo", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "on \\xe9.json" in done.stdout
    assert "results in \\xfc" in done.stdout
