from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.runtime.records import record
from tests.runtime.tensorflow_environment import needs_tensorflow, write_folder
from yolo import environments
from yolo.environments import Environment
from yolo.errors import UserError
from yolo.runtime import saved_model
from yolo.runtime.saved_model import ENVIRONMENT, RECORD, open_network, read_record

MEANS = """
import sys
import tensorflow as tf

@tf.function(input_signature=[tf.TensorSpec([1, 64, 96, 3], tf.float32, "images")])
def serve(images):
    mean = tf.reduce_mean(images, (1, 2))  # of each colour
    boxes = [tf.tile(mean[:, None, None, :1], [1, h, w, 16]) for h, w in ((4, 6), (2, 3))]
    scores = [tf.tile(mean[:, None, None, 1:], [1, h, w, 1]) for h, w in ((4, 6), (2, 3))]
    maps = {f"box_logits_{i}": level for i, level in enumerate(boxes)}
    return maps | {f"class_logits_{i}": level for i, level in enumerate(scores)}

module = tf.Module()
module.serve = serve
tf.saved_model.save(module, sys.argv[1], signatures={sys.argv[2]: serve})
"""


def test_reads_the_record(tmp_path: Path) -> None:
    assert read_record(write_folder(tmp_path / "a", record().to_json())) == record()


@pytest.mark.parametrize("read", [read_record, open_network])
def test_what_is_none_of_ours_is_refused(read: Callable[[Path], object], tmp_path: Path) -> None:
    cases = {None: "no record of `yolo export`", "{": "its record is no JSON", b"\xff": "cannot be read"}
    for index, (stored, fragment) in enumerate(cases.items()):
        path = write_folder(tmp_path / str(index), stored)
        with pytest.raises(UserError, match=fragment) as error:
            read(path)
        assert str(error.value).startswith(str(path))
    with pytest.raises(UserError, match=r"a folder without saved_model\.pb"):
        read(tmp_path)


def test_without_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_folder(tmp_path / "a", record().to_json())
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments, "find_spec", lambda name: None)
    monkeypatch.delenv("YOLO_TFLITE_PYTHON", raising=False)
    with pytest.raises(UserError, match=r"a: .* bash scripts/setup_tflite_export.sh makes it, or set YOLO_TFLITE_PY"):
        open_network(path)


def test_a_worker_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_folder(tmp_path / "a", record().to_json())
    monkeypatch.setattr(
        saved_model, "ENVIRONMENT", Environment("x", "numpy", "", "", "")
    )  # this one, without TensorFlow
    monkeypatch.setattr(environments, "WORKERS", tmp_path)
    (tmp_path / "tensorflow_model.py").write_text("raise SystemExit('it has no signature serving_default')")
    with pytest.raises(UserError, match=r"a: tensorflow_model.py failed: it has no signature serving_default"):
        open_network(path)


@pytest.fixture(scope="module")
def means(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel whose box logits are the mean of red, whose class logits those of green and blue."""
    path = tmp_path_factory.mktemp("means") / "means"
    for name, signature in ((path, "serving_default"), (path.with_name("other"), "other")):
        subprocess.run([ENVIRONMENT.python(), "-c", MEANS, name, signature], check=True, capture_output=True)
        (name / "assets.extra").mkdir()
        (name / RECORD).write_text(record(form="raw").to_json())
    return path


@pytest.mark.slow
@needs_tensorflow
def test_runs_a_folder(means: Path) -> None:
    network = open_network(means)
    images = torch.rand(2, 3, 64, 96)
    fine, coarse = network(images)[0]
    assert (fine.shape, coarse.shape) == ((2, 18, 4, 6), (2, 18, 2, 3))
    red, green, blue = images.mean((2, 3)).T
    for level in (fine, coarse):
        for channel, mean in ((0, red), (15, red), (16, green), (17, blue)):
            assert torch.allclose(level[:, channel, 1, 2], mean, atol=1e-5)
    assert network.cost == (7, sum(file.stat().st_size for file in means.rglob("*") if file.is_file()))


@pytest.mark.slow
@needs_tensorflow
def test_folders_that_are_not_what_their_record_says(means: Path) -> None:
    other = means.with_name("other")
    (means / RECORD).write_text(record(form="full").to_json())
    for path, fragment in (
        (means, r"its outputs are {'box_logits_0': \[1, 4, 6, 16\].*by its record they are {'output0': \[1, 6, 30\]}"),
        (other, "it has no signature serving_default"),
    ):
        with pytest.raises(UserError, match=f"{path.name}: tensorflow_model.py failed: {fragment}"):
            open_network(path)
    graph = other / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"other: tensorflow_model.py failed: OSError: Cannot parse file"):
        open_network(other)
