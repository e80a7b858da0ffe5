"""Run a SavedModel on arrays that come through pipes.

    python tensorflow_model.py FOLDER THREADS INPUTS OUTPUTS

INPUTS and OUTPUTS are JSON, the shape of each by name, in the order in which they come and go.
"""

import json
import os
import sys
from typing import Any

from channel import Channel

SIGNATURE = "serving_default"


def main() -> None:
    """Run the script; standard error ends with what is wrong with the folder."""
    channel = Channel()
    folder, threads = sys.argv[1], int(sys.argv[2])
    inputs, outputs = (json.loads(argument) for argument in sys.argv[3:])
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = tf.saved_model.load(folder)
    if SIGNATURE not in model.signatures:
        sys.exit(f"it has no signature {SIGNATURE}")
    run = model.signatures[SIGNATURE]
    require("inputs", run.structured_input_signature[1], inputs)
    require("outputs", run.structured_outputs, outputs)

    def answer(arrays: list[Any]) -> list[Any]:
        found = run(**{name: tf.constant(array) for name, array in zip(inputs, arrays, strict=True)})
        return [found[name].numpy() for name in outputs]

    channel.serve(answer)


def require(kind: str, specs: dict[str, Any], expected: dict[str, list[int]]) -> None:
    """End the script unless the shapes are those expected."""
    found = {
        name: spec.shape.as_list() if spec.shape.rank is not None else None for name, spec in sorted(specs.items())
    }
    if found != expected:
        sys.exit(f"its {kind} are {found}, by its record they are {expected}")


if __name__ == "__main__":
    main()
