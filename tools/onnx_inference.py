"""Detect in one image with an ONNX file of `yolo export`: onnxruntime, numpy and opencv, nothing else.

    python tools/onnx_inference.py --model best.onnx --image image.jpg --output result.jpg

Written to be ported: letterbox, decode and non-maximum suppression are plain arithmetic on arrays, one step a line.
Files without the record of `yolo export` work too when their output is [1, 4 + classes, anchors].
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, by the import
import onnxruntime

GREY = 114
DEFAULT_CONFIDENCE, DEFAULT_IOU, DEFAULT_MAX_DETECTIONS = 0.25, 0.45, 300


def letterbox(image, height, width, corner=False):
    """Scale an image to fit into height x width, and pad it with grey.

    Args:
        image: uint8 [h, w, 3].
        height: of the network's input.
        width: of the network's input.
        corner: put the content into the top left corner instead of the centre.

    Returns:
        uint8 [height, width, 3]; pixels per pixel along x and y; columns to the left and rows above of the content.
    """
    h, w = image.shape[:2]
    scale = min(height / h, width / w)
    new_h, new_w = max(round(h * scale), 1), max(round(w * scale), 1)  # halves round to even
    top, left = (0, 0) if corner else ((height - new_h) // 2, (width - new_w) // 2)
    canvas = np.full((height, width, 3), GREY, np.uint8)
    canvas[top : top + new_h, left : left + new_w] = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    return canvas, (new_w / w, new_h / h), (left, top)


def to_input(canvas, dtype):
    """BGR uint8 [H, W, 3] to RGB [1, 3, H, W] in 0..1."""
    planes = canvas[:, :, ::-1].transpose(2, 0, 1)[None]
    return np.ascontiguousarray(planes.astype(np.float32) / 255).astype(dtype)


def sigmoid(x):
    """1 / (1 + exp(-x)) without overflow."""
    return np.exp(-np.logaddexp(0, -x))


def decode_level(box_logits, class_logits, stride, bins):
    """Boxes and scores of one level of a file of form raw.

    Args:
        box_logits: [4 * R, h, w]: for the left, top, right and bottom side in turn, logits over R distances.
        class_logits: [C, h, w].
        stride: pixels per cell.
        bins: [R] the distances, in strides.

    Returns:
        xyxy [h * w, 4] in pixels of the input and probabilities [h * w, C].
    """
    _, h, w = box_logits.shape
    logits = box_logits.reshape(4, len(bins), h * w)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)  # softmax over the bins
    left, top, right, bottom = (weights * np.asarray(bins)[None, :, None]).sum(axis=1) * stride  # each [h * w]
    cell = np.arange(h * w)
    x = (cell % w + 0.5) * stride  # row by row, the middle of each cell
    y = (cell // w + 0.5) * stride
    boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=1)
    return boxes, sigmoid(class_logits.reshape(len(class_logits), h * w).T)


def decode(outputs, record):
    """xyxy [A, 4] in pixels of the input and probabilities [A, C], from the outputs of the file in any form."""
    outputs = [output[0].astype(np.float32) for output in outputs]
    form = record.get("form", "full")
    if form == "raw":
        pairs = zip(outputs[::2], outputs[1::2], record["strides"], strict=True)
        levels = [decode_level(boxes, classes, stride, record["bins"]) for boxes, classes, stride in pairs]
        return np.concatenate([level[0] for level in levels]), np.concatenate([level[1] for level in levels])
    if form not in ("full", "split"):
        raise ValueError(f"its form is {form!r}")
    centres, scores = outputs if form == "split" else (outputs[0][:4], outputs[0][4:])
    x, y, w, h = centres
    return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1), scores.T


def iou(box, others):
    """Intersection over union of a box xyxy [4] with others [N, 4]."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    both = np.maximum(width, 0) * np.maximum(height, 0)
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    return both / np.maximum(area + areas - both, 1e-9)


def detect(boxes, scores, confidence, iou_threshold, max_detections):
    """Non-maximum suppression within each class.

    Args:
        boxes: xyxy [A, 4].
        scores: [A, C].
        confidence: lowest score of a detection, exclusive.
        iou_threshold: overlap with a better detection above which one is dropped.
        max_detections: the best that are kept.

    Returns:
        Boxes [K, 4], scores [K], classes [K], best first.
    """
    anchors, classes = np.nonzero(scores > confidence)  # one anchor may be of several classes
    boxes, scores = boxes[anchors], scores[anchors, classes]
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order) and len(kept) < max_detections:
        best, order = order[0], order[1:]
        kept.append(best)
        same = classes[order] == classes[best]
        order = order[~(same & (iou(boxes[best], boxes[order]) > iou_threshold))]
    return boxes[kept], scores[kept], classes[kept]


def to_original(boxes, scale, offset, size):
    """Boxes xyxy [K, 4] from pixels of the input to pixels of the image of `size` (height, width), clipped to it."""
    boxes = (boxes - np.array([*offset, *offset])) / np.array([*scale, *scale])
    limits = np.array([size[1], size[0], size[1], size[0]])
    return np.clip(boxes, 0, limits)


def draw(image, boxes, scores, classes, names):
    """Boxes with names and scores, drawn into the image."""
    for box, score, index in zip(boxes, scores, classes, strict=True):
        x1, y1, x2, y2 = (round(float(value)) for value in box)
        colour = tuple(
            int(value) for value in cv2.cvtColor(np.uint8([[[37 * index % 180, 200, 230]]]), cv2.COLOR_HSV2BGR)[0, 0]
        )
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, 2)
        cv2.putText(
            image, f"{names[index]} {score:.2f}", (x1, max(y1 - 4, 12)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1
        )


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description="Detect in one image with an ONNX file of `yolo export`.")
    parser.add_argument("--model", required=True, help="ONNX file")
    parser.add_argument("--image", required=True, help="image to detect in")
    parser.add_argument("--output", help="image to write with the detections drawn; none when left out")
    parser.add_argument("--conf-thresh", type=float, help="lowest score of a detection (the file's, else 0.25)")
    parser.add_argument("--iou-thresh", type=float, help="overlap of duplicates (the file's, else 0.45)")
    parser.add_argument("--num-classes", type=int, help="number of classes (the file's)")
    parser.add_argument("--input-size", type=int, nargs=2, metavar=("H", "W"), help="size of the input (the file's)")
    parser.add_argument("--class-names", help="text file with one class name per line (the file's)")
    return parser.parse_args()


@contextlib.contextmanager
def at_fault(what):
    """End the program with one sentence when something in the block fails: files of others can be anything."""
    try:
        yield
    except Exception as error:
        sys.exit(f"error: {what} ({' '.join(str(error).split())[:200]})")


def open_model(path):
    """A session of onnxruntime, and the record that `yolo export` wrote into the file, empty in files of others."""
    with at_fault(f"{path}: not an ONNX file that onnxruntime can run"):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with at_fault(f"{path}: its record is not as `yolo export` writes it"):
        record = dict(json.loads(session.get_modelmeta().custom_metadata_map.get("yolo", "{}")))
    return session, record


def input_size(options, shape):
    """Height and width of an input of that shape: its own, or those asked for where it leaves them open."""
    if len(shape) != 4:
        sys.exit(f"error: {options.model}: its input is {shape}, expected images [batch, 3, height, width]")
    sides = [side if isinstance(side, int) else None for side in shape[2:]]
    asked = options.input_size or sides
    if None in asked:
        sys.exit("error: the file takes images of any size, choose one with --input-size")
    if min(asked) < 1 or any(side not in (None, wanted) for side, wanted in zip(sides, asked, strict=True)):
        sys.exit(f"error: --input-size is {asked}, the file takes images {shape}")
    return asked


def class_names(options, record, classes):
    """One name per class: of the file given, else of the record, else numbers."""
    if options.num_classes not in (None, classes):
        sys.exit(f"error: --num-classes is {options.num_classes}, the file has {classes}")
    where, names = options.model, record.get("class_names") or [f"Class {index}" for index in range(classes)]
    if options.class_names is not None:
        where = options.class_names
        with at_fault(f"{where}: not a text file"):
            names = Path(where).read_text(encoding="utf-8").splitlines()
    if len(names) < classes:
        sys.exit(f"error: {where}: {len(names)} names for {classes} classes")
    return names


def thresholds(options, record):
    """Confidence, IoU and number of detections: those given, else those of the record, else common ones."""
    trained = record.get("config", {}).get("model", {})
    confidence, overlap = options.conf_thresh, options.iou_thresh
    if confidence is None:
        confidence = trained.get("nms_conf_threshold", DEFAULT_CONFIDENCE)
    if overlap is None:
        overlap = trained.get("nms_iou_threshold", DEFAULT_IOU)
    return confidence, overlap, int(trained.get("nms_max_detections", DEFAULT_MAX_DETECTIONS))


def main():
    """Detect, print, draw."""
    options = arguments()
    for path in (options.model, options.image, options.class_names):
        if path and not Path(path).is_file():
            sys.exit(f"error: {path}: no such file")
    if options.output and Path(options.output).resolve() == Path(options.image).resolve():
        sys.exit(f"error: --output is {options.output}, the image itself")
    image = None
    with contextlib.suppress(cv2.error):
        image = cv2.imread(options.image)
    if image is None:
        sys.exit(f"error: {options.image}: not an image that opencv can read")
    print(f"Loading model: {options.model}")
    session, record = open_model(options.model)
    entry = session.get_inputs()[0]
    print(f"Input: {entry.name} {entry.shape}")
    for output in session.get_outputs():
        print(f"Output: {output.name} {output.shape}")
    height, width = input_size(options, entry.shape)
    canvas, scale, offset = letterbox(image, height, width, record.get("letterbox") == "corner")
    dtype = np.float16 if entry.type == "tensor(float16)" else np.float32
    print(f"Processing image: {options.image} at {height} x {width}")
    with at_fault(f"{options.model}: its outputs are not those of a detector of `yolo export`"):
        boxes, scores = decode(session.run(None, {entry.name: to_input(canvas, dtype)}), record)
        names = class_names(options, record, scores.shape[1])
        boxes, scores, found = detect(boxes, scores, *thresholds(options, record))
    boxes = to_original(boxes, scale, offset, image.shape[:2])
    print(f"Found {len(found)} detections")
    for number, (box, score, index) in enumerate(zip(boxes, scores, found, strict=True)):
        print(f"  [{number}] {names[index]}: {score:.3f} [{', '.join(f'{value:.1f}' for value in box)}]")
    if options.output:
        draw(image, boxes, scores, found, names)
        with at_fault(f"{options.output}: cannot be written"):
            if not cv2.imwrite(options.output, image):
                raise OSError("opencv does not say why")
        print(f"Saved result to: {options.output}")


if __name__ == "__main__":
    main()
