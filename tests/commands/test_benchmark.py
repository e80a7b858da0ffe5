from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import assert_user_error, run_yolo
from tests.export.own_dataset import own_checkpoint, write_own_dataset
from yolo.commands.measurement import measure
from yolo.commands.validate import parse

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its file, a dataset."""
    folder = tmp_path_factory.mktemp("benchmark")
    checkpoint = own_checkpoint(folder)
    write_own_dataset(folder / "data", checkpoint)
    assert run_yolo("export", "-c", checkpoint, "--form=raw").returncode == 0
    return folder


DATA = ["--data.root=data", "--data.format=yolo", "--data.num_workers=0"]


@pytest.mark.slow
def test_files_beside_one_another(folder: Path) -> None:
    done = run_yolo("benchmark", "a.ckpt", "a.onnx", *DATA, "--threads=1", "--runs=4", "--warmup=0", "--batch-size=2",
                    "--output=out", cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["benchmark.json", "benchmark.png"]
    document = json.loads((folder / "out/benchmark.json").read_text())
    first, second = document["files"]
    assert [first["path"], second["path"]] == ["a.ckpt", "a.onnx"]
    assert (document["settings"]["threads"], document["settings"]["images"]) == (1, 6)
    options, data, _ = parse(["-c", str(folder / "a.ckpt"), f"--data.root={folder / 'data'}", "--data.format=yolo",
                              "--precision=32-true", "--device=cpu", "--workers=0"])  # fmt: skip
    assert first["figures"]["ap"] == pytest.approx(measure(options, data).as_dict()["mAP"], abs=1e-9)
    assert second["figures"]["ap"] == pytest.approx(first["figures"]["ap"], abs=1e-4)
    assert second["figures"]["size"] == (folder / "a.onnx").stat().st_size
    for entry in (first, second):
        assert 1e6 < entry["memory"] < 1e9
        assert entry["throughput"] > 0
        assert 0 < entry["figures"]["forward"]["p50"] < entry["figures"]["latency"]["p50"]
    rows = [line for line in done.stdout.splitlines() if line.startswith("│ a.")]
    assert [row.split("│")[1].strip() for row in rows] == ["a.ckpt", "a.onnx"]
    assert "+0.000000" in rows[0]
    assert "6 images of data; CPU, 1 thread;" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ([], ["files"]),
        (["a.onnx"], ["a.onnx does not know its dataset"]),
        (["a.ckpt", "none.onnx", *DATA], ["none.onnx: no such file"]),
        (["a.ckpt", "data/data.yaml", *DATA], ["data.yaml", "not a readable checkpoint"]),
        (["a.ckpt", *DATA, "--runs=0"], ["--runs is 0"]),
        (["a.ckpt", *DATA, "--output=data/out"], ["--output lies in the dataset folder"]),
        (["a.ckpt", *DATA, "--output=a.onnx"], ["a.onnx, which is a file"]),
        (["a.ckpt", "--data.root=nowhere", "--data.format=yolo"], ["nowhere"]),
    ],
)
def test_refused_before_any_work(
    arguments: list[str], fragments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("began to work")

    monkeypatch.setattr("yolo.commands.benchmark.measure_latency", never)
    assert_user_error(run_yolo("benchmark", *arguments, cwd=folder), *fragments)
