from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest

from yolo.environments import WORKERS
from yolo.workers.channel import receive, send

SCRIPT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from channel import Channel
channel = Channel()
print("a library speaks")
os.write(1, b"and so does C\\n")
channel.serve(lambda arrays: [array * 2 for array in reversed(arrays)])
"""


@pytest.mark.parametrize(
    "arrays",
    [
        [],
        [np.arange(6, dtype=np.float32).reshape(1, 2, 3)],
        [np.array(7, np.int8), np.zeros((0, 3), np.float64), np.arange(12, dtype=np.uint8).reshape(3, 4).T],
    ],
)
def test_what_is_sent_arrives(arrays: list[np.ndarray]) -> None:
    pipe = io.BytesIO()
    send(pipe, arrays)
    send(pipe, [np.ones(2)])
    pipe.seek(0)
    found = receive(pipe)
    assert [array.dtype for array in found] == [array.dtype for array in arrays]
    for one, other in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(one, other)
    assert receive(pipe)[0].tolist() == [1, 1]


def test_the_other_side_ends() -> None:
    pipe = io.BytesIO()
    send(pipe, [np.arange(10)])
    content = pipe.getvalue()
    for length in (0, 5, content.index(b"\n") + 1, len(content) - 1):
        with pytest.raises(EOFError, match="the other side closed"):
            receive(io.BytesIO(content[:length]))


def test_a_script_answers_until_its_input_ends() -> None:
    """Whatever it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(WORKERS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert receive(process.stdout) == []  # it is ready
    for number in (1, 2):
        send(process.stdin, [np.array([number]), np.array([0.5])])
        assert [array.tolist() for array in receive(process.stdout)] == [[1.0], [2 * number]]
    out, errors = process.communicate(timeout=30)
    assert (out, process.returncode) == (b"", 0)
    assert b"a library speaks" in errors
    assert b"and so does C" in errors
