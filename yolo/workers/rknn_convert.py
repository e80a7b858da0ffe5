"""ONNX to .rknn by rknn-toolkit2: python rknn_convert.py FOLDER

FOLDER holds `model.onnx`, `settings.json` and for INT8 `images.txt`, paths of .npy files of uint8 [1, 3, H, W] RGB. It
gets `model.rknn` and the files that `rknn_build.py` builds the same network from. Printed are, in JSON, these files
and how often each operator occurs.
"""

import json
import pickle
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from rknn_build import FILES, built, configured, in_words, read_settings, require


def main(folder: Path) -> None:
    """Convert."""
    with in_words(folder):
        settings = read_settings()
        graph = Path(FILES[settings["quantization"]][0])
        if settings["quantization"] == "int8":
            rknn = configured(settings)
            require(rknn.load_onnx("model.onnx"))
            require(rknn.hybrid_quantization_step1(dataset="images.txt"))
            rknn.release()
            forget_place(Path("model.data"))
            if settings["float_edges"]:
                keep_float(Path("model.quantization.cfg"), edges(graph))
        require(built(settings).export_rknn("model.rknn"))
        operators = Counter(node.op_type for node in load(graph).node).most_common()
    print(json.dumps({"operators": dict(operators), "files": ["settings.json", *FILES[settings["quantization"]]]}))


def forget_place(path: Path) -> None:
    """Leave out of what the toolkit remembers in which folder it worked."""
    remembered = pickle.loads(path.read_bytes())  # which it has just written
    remembered["ori_model_path"] = "model.onnx"
    path.write_bytes(pickle.dumps(remembered, protocol=4))


def load(path: Path) -> Any:
    """The graph of an ONNX file; the toolkit's own are such, too."""
    import onnx

    return onnx.load(str(path)).graph


def edges(path: Path) -> list[str]:
    """Tensors that lose most in 8 bits: of the first convolutions, and of the last two in front of box logits.

    What activates a convolution is among them.
    """
    graph = load(path)
    makers = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    waiting, found = ["images"], []
    while waiting:
        for node in users.get(waiting.pop(), []):
            if node.op_type == "Conv":
                after = [
                    name for user in users.get(node.output[0], []) if user.op_type == "exSwish" for name in user.output
                ]
                found += [*node.output, *after]
            else:
                waiting += node.output
    for entry in graph.output:
        if entry.name.startswith("box_logits"):
            found += before(makers[entry.name], makers, convolutions=2)
    return list(dict.fromkeys(found))


def before(node: Any, makers: dict[str, Any], convolutions: int) -> list[str]:
    """What the last so many convolutions up to a node compute, and what activates them."""
    found = []
    while node is not None and convolutions:
        if node.op_type != "exDataConvert":
            found += node.output
        convolutions -= node.op_type == "Conv"
        node = makers.get(node.input[0]) if node.input else None
    return found


def keep_float(path: Path, tensors: list[str]) -> None:
    """Write the tensors into the quantisation's file as those to stay float16."""
    start, ranges = "custom_quantize_layers:", path.read_text()
    none = f"{start} {{}}\n"
    if not ranges.startswith(none):
        raise ValueError(f"{path} starts with {ranges[:60]!r}, expected {none!r}")
    lines = "".join(f"    {name}: float16\n" for name in tensors)
    path.write_text(f"{start}\n{lines}{ranges[len(none) :]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
