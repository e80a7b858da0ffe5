"""What of a .tflite file XNNPACK takes, which runs such files on CPUs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path


def operators(path: Path) -> tuple[Counter[str], Counter[str]]:
    """Of a .tflite file all operators, and those that XNNPACK does not take."""
    from yolo.runtime.tflite import open_interpreter

    steps = open_interpreter(path)._get_ops_details()
    delegated = [step for step in steps if step["op_name"] == "DELEGATE"]
    given = [step for step in steps if step["op_name"] != "DELEGATE"]
    makers = {tensor: step for step in given for tensor in step["outputs"]}
    taken: set[int] = set()
    for delegate in delegated:  # back from what it gives to what it takes
        waiting = list(delegate["outputs"])
        while waiting:
            tensor = waiting.pop()
            step = makers.get(tensor)
            if step is not None and tensor not in delegate["inputs"] and step["index"] not in taken:
                taken.add(step["index"])
                waiting += list(step["inputs"])
    return (
        Counter(step["op_name"] for step in given),
        Counter(step["op_name"] for step in given if step["index"] not in taken),
    )
