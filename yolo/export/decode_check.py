"""Whether the float decode at the end of a .tflite file is the network's: it alone, on logits of all sizes.

On images, the rounding of an INT8 network before it hides what it does to boxes, and a bin that nothing falls into.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from yolo.models.exportable import ExportableModel, rows

SPREAD = 4.0
"""Standard deviation of the logits."""
FLOAT32 = 0
"""Of schema.fbs."""
BOXES, SCORES = 1e-2, 1e-4
"""Largest differences that pass, of boxes in pixels: as in files of 32 bits. (v9-t: 0.00006 and 0.00000006.)"""


@torch.no_grad()
def decode_failures(model: ExportableModel, path: Path) -> list[str]:
    """The checks that a file fails, a sentence each.

    Args:
        model: what the file was made of, of form `split` or `full`.
        path: of the file.
    """
    from yolo.runtime.tflite import open_interpreter
    from yolo.runtime.tflite_file import read_model

    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "decode.tflite"
        content = _decode_alone(read_model(path))
        if content is None:
            return ["decode: the file does not end in a softmax and a sigmoid of float numbers"]
        alone.write_bytes(content)
        interpreter = open_interpreter(alone)
    generator = torch.Generator().manual_seed(0)
    widths = 4 * model.get_buffer("bins").numel(), model.classes
    maps = [[SPREAD * torch.randn(1, width, *size, generator=generator) for width in widths] for size in model.levels]
    for kind, entry in zip(zip(*maps, strict=True), interpreter.get_input_details(), strict=True):
        logits = torch.cat([rows(level, size) for level, size in zip(kind, model.levels, strict=True)], 1)
        interpreter.set_tensor(entry["index"], logits.reshape(*entry["shape"]).numpy())
    interpreter.invoke()
    outputs = [torch.from_numpy(interpreter.get_tensor(entry["index"])) for entry in interpreter.get_output_details()]
    wanted = model.outputs([logits.to(model.get_buffer("bins").device) for pair in maps for logits in pair])
    difference = (torch.cat(outputs, 1) - torch.cat(wanted, 1).cpu()).abs()  # [1, 4 + C, A]
    boxes, scores = float(difference[:, :4].max()), float(difference[:, 4:].max())
    if boxes <= BOXES and scores <= SCORES:  # so that NaN fails
        return []
    return [
        f"decode: of the same logits, boxes differ by {boxes:.3g} pixels ({BOXES:g} are allowed) and scores by "
        f"{scores:.3g} ({SCORES:g} is)"
    ]


def _decode_alone(model: Any) -> bytes | None:
    """A file of what is behind the box logits [1, A, 4, R] and class logits [1, A, C], its inputs; None without it."""
    from yolo.runtime.tflite_file import content_of, operator_name

    (graph,) = model.subgraphs
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    inputs: dict[str, int] = {}
    kept, waiting = [], list(graph.outputs)
    while waiting:
        operator = makers.pop(waiting.pop(), None)
        if operator is None:
            continue
        kept.append(operator)
        name = operator_name(model, operator)
        if name in ("SOFTMAX", "LOGISTIC"):
            inputs[name] = operator.inputs[0]
        else:
            waiting += list(operator.inputs)
    if len(inputs) != 2 or any(graph.tensors[index].type != FLOAT32 for index in inputs.values()):
        return None
    graph.operators = [operator for operator in graph.operators if operator in kept]
    graph.inputs = [inputs["SOFTMAX"], inputs["LOGISTIC"]]
    model.signatureDefs = []
    return content_of(model)
