"""What lies in a .tflite file beside the network: our record, and the names of inputs and outputs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from yolo.errors import UserError
from yolo.forms import INPUT
from yolo.runtime.metadata import RECORD_KEY, ExportRecord

SIGNATURE = "serving_default"
SEAL = b"yolo sha256 "
"""Behind the network, and behind it the digest of all before: a single changed byte can make LiteRT ask for all memory
that there is."""


def read_record(path: Path) -> ExportRecord:
    """What the file says about itself. UserError when it is none of `yolo export`, or was changed since."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    model = read_model(path)
    for entry in model.metadata or []:
        if entry.name == RECORD_KEY.encode():
            _require_sealed(path)
            content = bytes(model.buffers[entry.buffer].data)
            return ExportRecord.from_json(content.decode(errors="replace"), str(path))
    raise UserError(f"{path}: has no record of `yolo export` in it, which says what its inputs and outputs mean")


def write_record(path: Path, record: ExportRecord) -> None:
    """Put the record into a file, and our names on its input and outputs.

    Args:
        path: of a file with one subgraph, one input and the record's outputs in its order.
        record: to put there.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = read_model(path)
    (graph,) = model.subgraphs
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs = [_named(schema, INPUT, graph.inputs[0])]
    signature.outputs = [_named(schema, *pair) for pair in zip(record.outputs, graph.outputs, strict=True)]
    model.signatureDefs = [signature]
    for number, tensor in enumerate(graph.tensors):
        tensor.name = str(number)  # the converter's names say nothing, and are a twentieth of an INT8 file
    for entry in (*signature.inputs, *signature.outputs):
        graph.tensors[entry.tensorIndex].name = entry.name
    buffer, metadata = schema.BufferT(), schema.MetadataT()
    buffer.data = list(record.to_json().encode())
    metadata.name, metadata.buffer = RECORD_KEY, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), metadata]
    model.description = record.program
    path.write_bytes(sealed(content_of(model)))


def sealed(content: bytes) -> bytes:
    """A file with its digest at the end."""
    return content + SEAL + hashlib.sha256(content).digest()


def _require_sealed(path: Path) -> None:
    content = path.read_bytes()
    size = len(SEAL) + hashlib.sha256().digest_size
    if content != sealed(content[:-size]):
        raise UserError(f"{path}: is not as `yolo export` wrote it: something was changed or is missing")


def read_model(path: Path) -> Any:
    """The file's tables as objects. UserError when it is no TFLite file or there is no reader."""
    return tables_of(path.read_bytes(), path)


def tables_of(content: bytes, path: Path) -> Any:
    """The same of a file's content; `path` is what errors call it."""
    if content[4:8] != b"TFL3":
        raise UserError(f"{path}: not a TFLite file")
    try:
        from ai_edge_litert.tools import flatbuffer_utils
    except ImportError as error:
        raise UserError(f"{path}: TFLite files need ai-edge-litert: pip install 'yolo[tflite]'") from error
    import struct

    try:
        return flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    except (struct.error, IndexError, ValueError, TypeError, AttributeError) as error:  # tables that point nowhere
        raise UserError(f"{path}: a damaged TFLite file ({' '.join(str(error).split())[:120]})") from error


def content_of(model: Any) -> bytes:
    """The inverse of `tables_of`."""
    from ai_edge_litert.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def operator_name(model: Any, operator: Any) -> str:
    """Such as CONV_2D."""
    from ai_edge_litert.tools import flatbuffer_utils

    return str(flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex))


def _named(schema: Any, name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor
    return entry
