"""`yolo predict` on files against the bare network on tensors that are ready, one image at a time, run in turns.

    python benchmarks/predict.py CHECKPOINT FOLDER [--images 200] [--rounds 3] [--threads 1] [--batch-size 4]

The network alone gets the letterboxed images as float tensors; the command decodes, letterboxes, detects, suppresses,
draws, and writes pictures and JSON. Prints both rates and their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from yolo.commands.predict import Job, PredictOptions, detect_images, load_detector
from yolo.commands.predict_outputs import Outputs, Tally
from yolo.commands.predict_sources import Source, list_sources
from yolo.detector import Detector
from yolo.inference import to_network_input

CHUNK = 40
"""Images of one turn."""


def bare(detector: Detector, tensors: list[torch.Tensor]) -> float:
    start = time.perf_counter()
    with torch.inference_mode():
        for tensor in tensors:
            detector.model(tensor)
    if detector.device.type == "cuda":
        torch.cuda.synchronize()
    return len(tensors) / (time.perf_counter() - start)


def command(detector: Detector, sources: list[Source], folder: Path, draw: bool, batch_size: int) -> float:
    outputs, tally = Outputs(folder, draw=draw, txt=False, crops=False), Tally(keep_entries=True)
    start = time.perf_counter()
    detect_images(Job(detector, detector.thresholds(), batch_size, outputs, tally), sources)
    tally.write_json(folder / "predictions.json")
    assert tally.images == len(sources)
    return len(sources) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the network, on both sides")
    parser.add_argument("--size", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=4, help="of the command")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--draw", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    options = PredictOptions(args.checkpoint, args.folder, size=args.size, device=args.device)
    detector = load_detector(options)
    there = list_sources(options.source)
    sources = [there[i % len(there)] for i in range(args.images)]
    tensors = []
    for source in sources:
        boxed = detector.read(source.path).boxed
        assert boxed is not None
        tensors.append(to_network_input(boxed.to(detector.device)))
    bare(detector, tensors[:10])
    rates: dict[str, list[float]] = {"network": [], "command": []}
    with tempfile.TemporaryDirectory() as folder:
        command(detector, sources[:10], Path(folder), args.draw, args.batch_size)
        for start in [*range(0, args.images, CHUNK)] * args.rounds:  # short turns: other work slows both alike
            rates["network"].append(bare(detector, tensors[start : start + CHUNK]))
            some = sources[start : start + CHUNK]
            rates["command"].append(command(detector, some, Path(folder), args.draw, args.batch_size))
    network, whole = (statistics.median(rates[name]) for name in ("network", "command"))
    ratio = statistics.median(b / a for a, b in zip(rates["network"], rates["command"], strict=True))
    print(f"network alone {network:.1f} images/s, yolo predict {whole:.1f} images/s: {ratio:.2f}x")


if __name__ == "__main__":
    main()
