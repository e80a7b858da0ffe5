"""Arrays through pipes, for scripts that answer arrays with arrays (`yolo.environments.Worker`).

A message is a line of JSON, dtype and shape of each array, and then their bytes.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np


def send(pipe: BinaryIO, arrays: Sequence[Any]) -> None:
    """Write a message."""
    pipe.write(json.dumps([[array.dtype.str, array.shape] for array in arrays]).encode() + b"\n")
    for array in arrays:
        pipe.write(np.ascontiguousarray(array).data)
    pipe.flush()


def receive(pipe: BinaryIO) -> list[Any]:
    """Read a message. EOFError when the other side is gone."""
    head = pipe.readline()
    if not head.endswith(b"\n"):
        raise EOFError("the other side closed")
    arrays = []
    for dtype, shape in json.loads(head):
        size = math.prod(shape) * np.dtype(dtype).itemsize
        content = pipe.read(size)
        if len(content) != size:
            raise EOFError("the other side closed in the middle of an array")
        arrays.append(np.frombuffer(content, dtype).reshape(shape))
    return arrays


class Channel:
    """A script's ends. What else is printed, by whichever library, goes to standard error."""

    def __init__(self) -> None:
        self._in, self._out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        sys.stdout = sys.stderr

    def serve(self, answer: Callable[[list[Any]], Sequence[Any]]) -> None:
        """Say that the script is ready, then answer each list of arrays until the other side closes."""
        send(self._out, [])
        while True:
            try:
                arrays = receive(self._in)
            except EOFError:
                return
            send(self._out, answer(arrays))
