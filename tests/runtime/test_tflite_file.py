from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

import pytest

from tests.export.tflite_files import edited, needs_tflite, small_file
from tests.runtime.records import record
from yolo.errors import UserError
from yolo.runtime.tflite import open_network
from yolo.runtime.tflite_file import SEAL, SIGNATURE, read_model, read_record, sealed, write_record

pytestmark = [needs_tflite, pytest.mark.slow]


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_record(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_in_a_file(tmp_path: Path) -> None:
    small = small_file()
    path = small.at(tmp_path)
    assert read_record(path) == small.record
    model = read_model(path)
    (signature,) = model.signatureDefs
    assert signature.signatureKey == SIGNATURE.encode()
    assert [entry.name for entry in signature.inputs] == [b"images"]
    assert [entry.name for entry in signature.outputs] == [b"boxes", b"scores"]
    assert model.description == small.record.program.encode()
    assert small.content.endswith(SEAL + hashlib.sha256(small.content[: -len(SEAL) - 32]).digest())


def test_what_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    assert "no such file" in refusal(path)
    for content in (b"", b"no model", b"\x08\x07" * 99, b"\x1c\0\0\0TFL2" + bytes(99)):
        path.write_bytes(content)
        assert "not a TFLite file" in refusal(path)
    for seed in range(20):
        path.write_bytes(random.Random(seed).randbytes(4) + b"TFL3" + random.Random(seed).randbytes(3000))
        assert "a damaged TFLite file" in refusal(path)
    path.write_bytes(b"\x1c\0\0\0TFL3")
    assert "a damaged TFLite file" in refusal(path)
    foreign = edited(small_file().content, lambda model: setattr(model, "metadata", None))
    path.write_bytes(foreign)
    assert "no record of `yolo export`" in refusal(path)
    path.write_bytes(sealed(foreign))
    assert "no record of `yolo export`" in refusal(path)


def test_a_record_that_is_none(tmp_path: Path) -> None:
    def spoil(model) -> None:
        (entry,) = (entry for entry in model.metadata if entry.name == b"yolo")
        model.buffers[entry.buffer].data = list(b"{")

    path = tmp_path / "a.tflite"
    path.write_bytes(sealed(edited(small_file().content, spoil)))
    assert "its record is no JSON" in refusal(path)


def test_a_changed_file_never_reaches_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single byte of the kind makes LiteRT ask for gigabytes: 50 of them, and 25 files that end early."""

    def never(*_) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("yolo.runtime.tflite.open_interpreter", never)
    content = small_file().content
    path = tmp_path / "a.tflite"
    for seed in range(75):
        draw = random.Random(seed)
        changed = bytearray(content[: draw.randrange(8, len(content))] if seed % 3 == 0 else content)
        if seed % 3:
            place = draw.randrange(8, len(content))
            changed[place] ^= draw.randrange(1, 256)
        path.write_bytes(changed)
        with pytest.raises(
            UserError, match=r"a\.tflite: (a damaged TFLite file|has no record|is not as `yolo export`)"
        ):
            open_network(path)


def test_a_changed_weight_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    content = bytearray(small_file().content)
    content[-40000] ^= 1
    path.write_bytes(content)
    assert "is not as `yolo export` wrote it: something was changed or is missing" in refusal(path)
    path.write_bytes(small_file().content[:-44])
    assert "is not as `yolo export` wrote it" in refusal(path)


def test_without_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_file().at(tmp_path)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.tools", None)
    assert "pip install 'yolo[tflite]'" in refusal(path)


def test_records_need_as_many_outputs_as_the_file_has(tmp_path: Path) -> None:
    path = small_file().at(tmp_path)
    with pytest.raises(ValueError, match=r"longer|shorter"):
        write_record(path, record(form="full"))
