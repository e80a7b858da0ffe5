"""Make a SavedModel and a float32 TFLite file of an ONNX file, with onnx2tf and TensorFlow, without the network.

    python onnx2tf_convert.py [FILE.onnx FOLDER]

Into the folder go `saved_model`, `float32.tflite` and `operators.json`, the operators of each by number. Input and
images between layers are NHWC; outputs have the names and the order of the ONNX file's and, unless they are maps of
four dimensions, its shapes. Without arguments it only looks whether what it takes is there.
"""

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE = "calibration_image_sample_data_20x128x128x3_float32.npy"
"""Images that onnx2tf tries its operators on: downloaded, unless they lie in the working folder."""
SIGNATURE = "serving_default"
NHWC = (0, 2, 3, 1)
NO_OPERATORS = ("Const", "Identity", "NoOp", "Placeholder")
"""Nodes of a graph that compute nothing."""


def main() -> None:
    """Run the script; what libraries print goes to standard error, whose last line is the error."""
    os.dup2(2, 1)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    missing = [name for name in ("onnx2tf", "tensorflow") if find_spec(name) is None]
    missing += ["the program onnxsim"] if shutil.which("onnxsim") is None else []  # onnx2tf would go on, and fail later
    if missing:
        sys.exit(f"{sys.executable} lacks {' and '.join(missing)}")
    if len(sys.argv) > 1:
        os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
        convert(*(Path(argument).resolve() for argument in sys.argv[1:]))


def convert(source: Path, folder: Path) -> None:
    """Both files of one ONNX file."""
    import tensorflow as tf

    names = output_names(source)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        shutil.copy(source, Path(place, "model.onnx"))  # onnx2tf writes its own names into it
        np.save(Path(place, SAMPLE), np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
        os.chdir(place)
        module, operators = converted(names)
        os.chdir(folder)
    tf.saved_model.save(module, "saved_model", signatures={SIGNATURE: module.serve})
    function = module.serve.get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert()
    model, tflite_operators = named(content, names)
    Path("float32.tflite").write_bytes(model)
    Path("operators.json").write_text(json.dumps({"saved_model": operators, "tflite": tflite_operators}))


def output_names(source: Path) -> list[str]:
    """Of an ONNX file, in order."""
    import onnx

    return [output.name for output in onnx.load(source).graph.output]


def converted(names: list[str]) -> tuple[Any, dict[str, int]]:
    """A module whose `serve` gives the outputs by name, and its operators; of model.onnx in the working folder."""
    import onnx2tf
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = onnx2tf.convert(
        input_onnx_file_path="model.onnx",
        output_folder_path="model",
        disable_model_save=True,  # its SavedModel has no signature, its TFLite file names of its own
        non_verbose=True,
        verbosity="error",
    )
    (image,) = model.inputs
    signature = [tf.TensorSpec(image.shape, tf.float32, "images")]
    network = tf.function(lambda images: tf.nest.flatten(model(images)), input_signature=signature)
    # Its variables' names begin with a slash, which SavedModels refuse: constants have none.
    constant = convert_variables_to_constants_v2(network.get_concrete_function())
    channels_last = model.onnx_output_layouts

    def serve(images: Any) -> dict[str, Any]:
        outputs = dict(zip(model.output_names, constant(images), strict=True))
        return {name: laid_out(outputs[name], channels_last[name]) for name in names}

    def laid_out(output: Any, last: bool) -> Any:
        return output if len(output.shape) != 4 or last else tf.transpose(output, NHWC)

    module = tf.Module()
    module.serve = tf.function(serve, input_signature=signature)
    kinds = (operation.type for operation in constant.graph.get_operations())
    return module, dict(Counter(kind for kind in kinds if kind not in NO_OPERATORS).most_common())


def named(content: bytes, names: list[str]) -> tuple[bytes, dict[str, int]]:
    """A TFLite file with tensors named and ordered as its signature's outputs should be, and its operators."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    outputs = {entry.name.decode(): entry for entry in signature.outputs}
    for entry in (*signature.inputs, *signature.outputs):
        graph.tensors[entry.tensorIndex].name = entry.name
    signature.outputs = [outputs[name] for name in names]
    graph.outputs = [outputs[name].tensorIndex for name in names]
    kinds = [flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) for operator in graph.operators]
    return flatbuffer_utils.convert_object_to_bytearray(model), dict(Counter(kinds).most_common())


if __name__ == "__main__":
    main()
