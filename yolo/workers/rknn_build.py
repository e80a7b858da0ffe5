"""A network in rknn-toolkit2, from the files that `rknn_convert.py` leaves in a folder.

`settings.json` has the target and the quantisation. An INT8 network is `model.model` (graph), `model.data` (what the
toolkit remembers) and `model.quantization.cfg` (ranges), which its first step of hybrid quantisation wrote. A float16
network, and one whose ranges were learnt in training and lie in the graph, is `model.onnx`. The toolkit's simulator
runs networks that it has built, and refuses .rknn files.
"""

import argparse
import contextlib
import io
import json
import os
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILES = {
    "int8": ("model.model", "model.data", "model.quantization.cfg"),
    "fp16": ("model.onnx",),
    "learnt": ("model.onnx",),
}


@contextlib.contextmanager
def in_words(folder: Path) -> Iterator[None]:
    """Work in the folder, and end the script with what the toolkit says last when it fails: it says it in its log."""
    os.chdir(folder)
    log = (folder / "log.txt").open("w+b")
    kept = [(number, os.dup(number)) for number in (1, 2)]
    for number, _ in kept:
        os.dup2(log.fileno(), number)
    failure: Any = None
    try:
        yield
    except (Exception, SystemExit) as error:  # the toolkit raises what happens to go wrong in it, and exits
        failure = error
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in kept:
            os.dup2(copy, number)
    if failure is not None:
        log.seek(0)
        plain = re.sub(r"\x1b\[[\d;]*m", "", log.read().decode(errors="replace"))
        said = re.findall(r"(?<![^\r\n])E (?!rknn-toolkit2 version)(?!.*Traceback)(.+)", plain)
        sys.exit(said[0] if said else (str(failure).strip() or repr(failure)).splitlines()[-1])


def require(status: int) -> None:
    """RuntimeError unless a step of the toolkit ended well."""
    if status != 0:
        raise RuntimeError(f"rknn-toolkit2 gave status {status}")


def configured(settings: dict[str, Any]) -> Any:
    """An RKNN for images of 0..255 that the network takes as 0..1."""
    from rknn.api import RKNN

    rknn = RKNN(verbose=False)
    status = rknn.config(
        mean_values=[[0, 0, 0]],
        std_values=[[255, 255, 255]],
        target_platform=settings["target_platform"],
        custom_string=settings["custom_string"],
        quantized_dtype="w8a8",
        quantized_method="channel",
    )
    require(status)
    return rknn


def built(settings: dict[str, Any]) -> Any:
    """The RKNN of the files in the current folder; it can be simulated and exported."""
    names = FILES[settings["quantization"]]
    if settings["quantization"] == "int8":
        from rknn.api import RKNN

        require_harmless(Path("model.data").read_bytes())
        rknn = RKNN(verbose=False)
        require(rknn.hybrid_quantization_step2(*names))
    else:
        rknn = configured(settings)
        require(rknn.load_onnx(names[0]))
        require(rknn.build(do_quantization=False))
    return rknn


def read_settings() -> dict[str, Any]:
    """Of the current folder."""
    settings: dict[str, Any] = json.loads(Path("settings.json").read_text())
    return settings


def require_harmless(content: bytes) -> None:
    """UnpicklingError unless a pickle, as `model.data` is, which the toolkit will load, builds only plain values."""

    class Plain(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) != ("argparse", "Namespace"):
                raise pickle.UnpicklingError(f"model.data names {module}.{name}, which the toolkit never writes there")
            return argparse.Namespace

    Plain(io.BytesIO(content)).load()
