"""Network in rknn-toolkit2's simulator: python rknn_model.py FOLDER

FOLDER holds what `rknn_build.py` builds it from. Answers float32 [1, 3, H, W] RGB in 0..1 with the network's outputs.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from channel import Channel
from rknn_build import built, in_words, read_settings, require


def main(folder: Path) -> None:
    """Serve."""
    channel = Channel()
    with in_words(folder):
        rknn = built(read_settings())
        require(rknn.init_runtime(target=None))

    def answer(arrays: list[Any]) -> list[Any]:  # the network takes pixels of 0..255, whose scale is part of it
        return [np.asarray(output) for output in rknn.inference([arrays[0] * np.float32(255)], data_format=["nchw"])]

    channel.serve(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
