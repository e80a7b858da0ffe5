"""The corridor: who may import whom, and which heavy packages stay out until they are needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import yolo

PACKAGE = Path(yolo.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ALLOWED = {
    "boxes": {"boxes"},
    "models": {"models", "boxes"},
    "losses": {"losses", "models", "boxes"},
    "data": {"data", "boxes"},
    "evaluation": {"evaluation", "data", "boxes"},
    "report": {"report", "evaluation", "data", "boxes"},
    "runtime": {"runtime", "models", "boxes"},
    "quantization": {"quantization", "data", "models", "boxes"},
    "export": {"export", "runtime", "quantization", "models", "boxes"},
    "training": {"training", "quantization", "evaluation", "data", "losses", "models", "boxes"},
}
OPTIONAL = {
    "ai_edge_litert", "ai_edge_quantizer", "litert_torch", "onnx", "onnxruntime", "onnxslim", "pycocotools", "rknn",
    "tensorflow", "torchao", "torchvision", "transformers", "wandb",
}  # fmt: skip
USERS = {
    "ai_edge_litert": {"runtime/tflite.py", "runtime/tflite_file.py"},
    "ai_edge_quantizer": {"export/litert.py"},
    "litert_torch": {"export/litert.py"},
    "onnx": {f"export/{name}.py" for name in ("onnx", "onnx_integers", "rknn_graph")},
    "onnxruntime": {"runtime/onnx.py"},
    "onnxslim": {"export/onnx.py"},
    "torchao": {f"quantization/{name}.py" for name in ("fake_quantize", "post_training", "tflite_rules")},
    "wandb": {"training/loggers.py"},
}
"""Modules that import them, most inside functions."""


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_from_the_left(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        rooms = {name.split(".")[1] for name in imported(path) if name.startswith("yolo.")}
        shared = {p.stem for p in PACKAGE.glob("*.py")}
        assert rooms - shared <= ALLOWED[room], path


@pytest.mark.parametrize("room", ["boxes", "models", "losses"])
def test_networks_and_losses_know_nothing_of_lightning(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        assert not any(name.split(".")[0] == "lightning" for name in imported(path)), path


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_module_needs_itself() -> None:
    """Whichever module is imported first, nothing is imported that is still being imported."""
    modules = {module_name(path): path for path in FILES}
    needs: dict[str, set[str]] = {}
    for name, path in modules.items():
        found: set[str] = set()
        for node in ast.parse(path.read_text()).body:  # what is imported inside functions comes later
            if isinstance(node, ast.ImportFrom) and node.module:
                parts = node.module.split(".")
                found |= {".".join(parts[: i + 1]) for i in range(len(parts))}  # packages above it run too
        needs[name] = {n for n in found if n in modules and n != name and not name.startswith(f"{n}.")}
    while free := {name for name, others in needs.items() if not others}:
        needs = {name: others - free for name, others in needs.items() if name not in free}
    assert not needs


@pytest.mark.slow
def test_optional_packages_are_not_needed() -> None:
    users: dict[str, set[str]] = {}
    for path in FILES:
        if path.parent.name == "workers":  # scripts of environments that have what they need
            continue
        for name in {name.split(".")[0] for name in imported(path)} & OPTIONAL:
            users.setdefault(name, set()).add(str(path.relative_to(PACKAGE)))
    assert users == USERS
    assert {name for path in FILES for name in imported(path) if name.startswith("hotcoco")} == {"hotcoco"}
    assert [p.name for p in FILES if "hotcoco" in imported(p)] == ["coco.py"]
    drawing = [p.name for p in FILES if any(name.startswith("matplotlib") for name in imported(p))]
    assert drawing == [
        "plot_confusion.py",
        "plot_curves.py",
        "plot_files.py",
        "plot_labels.py",
        "plots.py",
        "lr_finder.py",
    ]


def test_the_command_table_needs_no_heavy_package() -> None:
    code = "import sys, yolo.cli, yolo.commands.predict, yolo.commands.info, yolo.commands.export; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "lightning", "cv2", "numpy", "rich"} & set(modules)


def test_every_module_has_a_test_file() -> None:
    tests = Path(__file__).parent
    missing = []
    for path in FILES:
        relative = path.relative_to(PACKAGE)
        if path.name.startswith("__") or not any(
            isinstance(n, ast.FunctionDef | ast.ClassDef) for n in ast.parse(path.read_text()).body
        ):
            continue
        places = [tests / relative.parent, tests / relative.parts[0] if len(relative.parts) > 1 else tests]
        if not any((place / f"test_{path.name}").is_file() for place in places):
            missing.append(str(relative))
    assert missing == []
