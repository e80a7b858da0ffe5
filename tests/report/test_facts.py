from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import yolo
from tests.evaluation.test_evaluator import RECORDS
from yolo.report import facts
from yolo.report.facts import collect_facts, data_hash, program_commit

NAMES = ["cat", "dog"]


def test_the_hash_changes_with_the_labels_alone() -> None:
    first = RECORDS[0]
    expected = data_hash(RECORDS, NAMES)
    assert len(expected) == 16
    assert data_hash(list(reversed(RECORDS)), NAMES) == expected
    assert data_hash([replace(first, path=Path("/other/place.png")), *RECORDS[1:]], NAMES) == expected
    changed = [
        replace(first, image_id=99),
        replace(first, size=(100, 101)),
        replace(first, boxes=first.boxes + np.float32(0.5)),
        replace(first, classes=first.classes[::-1].copy()),
        replace(first, crowd=~first.crowd),
    ]
    hashes = {data_hash([record, *RECORDS[1:]], NAMES) for record in changed} | {data_hash(RECORDS, ["dog", "cat"])}
    assert len(hashes | {expected}) == 7


def test_the_usual_facts_without_paths() -> None:
    found = collect_facts(
        RECORDS, NAMES, device="cpu", seed=3, settings={"Size": (64, 64), "Nothing": None, "device": "x"}
    )
    assert found["Data"] == "3 images, 3 objects, 2 classes"
    assert found["Seed"] == "3"
    assert found["Device"] == "cpu"
    assert found["Size"] == "64 x 64"
    assert "device" not in found  # said already
    assert "Nothing" not in found
    assert {"Data hash", "Program", "Python", "torch", "hotcoco", "System"} <= found.keys()
    text = " ".join(found.values())
    assert str(Path.home()) not in text
    assert str(Path(yolo.__file__).parent) not in text
    assert "Seed" not in collect_facts(RECORDS, NAMES)


def test_commit_of_a_checkout_and_of_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "yolo"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(facts.yolo, "__file__", str(package / "__init__.py"))
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    assert program_commit() is None
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    assert program_commit() is None  # somebody else's repository around an installed program
    subprocess.run([*git, "add", "site"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "ours"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert program_commit() == head
    (package / "__init__.py").write_text("changed")
    assert program_commit() == f"{head}, with local changes"
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert program_commit() is None
