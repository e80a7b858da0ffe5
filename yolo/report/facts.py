"""What an evaluation was made of and on: program, versions, machine, data and settings."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

import yolo
from yolo.data.annotations import AnnotatedImage
from yolo.versions import versions

PACKAGES = ("torch", "lightning", "hotcoco", "numpy", "opencv-python-headless")


def collect_facts(
    records: Sequence[AnnotatedImage],
    class_names: Sequence[str],
    *,
    device: str | None = None,
    seed: int | None = None,
    settings: Mapping[str, object] | None = None,
) -> dict[str, str]:
    """Facts by name, in the order in which they are shown.

    Args:
        records: the evaluated images.
        class_names: their classes.
        device: what the network ran on.
        seed: of the run.
        settings: further facts, such as thresholds; None values, and what is said already, are left out.
    """
    installed = versions(PACKAGES)
    facts = {
        "Data": f"{len(records)} images, {sum(len(r.classes) for r in records)} objects, {len(class_names)} classes",
        "Data hash": data_hash(records, class_names),
        "Seed": None if seed is None else str(seed),
        "Device": device,
        "Program": f"yolo {installed.pop('yolo')}",
        "Commit": program_commit(),
        "Python": installed.pop("python"),
        **installed,
        "System": f"{platform.system()} {platform.machine()}",
    }
    said = {name.lower() for name in facts}
    facts |= {name: _in_words(value) for name, value in (settings or {}).items() if name.lower() not in said}
    return {name: value for name, value in facts.items() if value is not None}


def _in_words(value: object) -> str | None:
    """A value as people write it: a size as height x width."""
    if isinstance(value, (list, tuple)):
        return " x ".join(map(str, value))
    return None if value is None else str(value)


def data_hash(records: Iterable[AnnotatedImage], class_names: Sequence[str]) -> str:
    """SHA-256, shortened, over class names and images with id, size and objects; not over file names and pixels."""
    digest = hashlib.sha256(repr(tuple(class_names)).encode())
    for record in sorted(records, key=lambda r: r.image_id):
        digest.update(np.array([record.image_id, *record.size, len(record.classes)], "<i8").tobytes())
        digest.update(record.boxes.astype("<f4").tobytes())
        digest.update(record.classes.astype("<i8").tobytes())
        digest.update(record.crowd.astype("u1").tobytes())
    return digest.hexdigest()[:16]


def program_commit() -> str | None:
    """The commit of the checkout that this program runs from, marked when files differ; None outside of one."""
    package = Path(yolo.__file__).resolve().parent
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:  # installed below somebody else's checkout
        return None
    commit = _git(package, "rev-parse", "HEAD")
    changed = _git(package, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}, with local changes" if commit and changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None when it fails or is not there."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
