"""What the evaluated ground truth looks like, as a matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from yolo.boxes.arrays import AREA_BOUNDS
from yolo.evaluation.coco import Floats, GroundTruth, Ints
from yolo.evaluation.plot_curves import shown_name

MOST_CLASSES = 30
SIZE_BUCKETS = (("small", "area < 32²"), ("medium", "32² to 96²"), ("large", "area > 96²"))


def draw_labels(ground_truth: GroundTruth, class_names: Sequence[str]) -> Figure:
    """Objects per class, where their centres lie, how large they are, and COCO's sizes; crowds are left out."""
    counts, centres, sides, buckets = label_statistics(ground_truth, len(class_names))
    figure = Figure(figsize=(10, 8), layout="constrained")
    ((classes, places), (shapes, sizes)) = figure.subplots(2, 2)
    _class_counts(classes, counts, class_names)
    _heat_map(places, centres, "box centre, share of the image's width", "height")
    places.invert_yaxis()  # y grows downwards in images
    places.set_aspect("equal")
    _heat_map(shapes, sides, "box width, share of the image's width", "box height, share of the image's height")
    shapes.set_aspect("equal")
    bars = sizes.bar([f"{name}\n{what}" for name, what in SIZE_BUCKETS], buckets, color="C2")
    total = max(int(buckets.sum()), 1)
    sizes.bar_label(bars, [f"{count} ({count / total:.0%})" for count in buckets])
    sizes.margins(y=0.15)
    sizes.set(ylabel="objects", title="COCO's sizes, in square pixels")
    figure.suptitle(f"{counts.sum()} objects in {len(ground_truth.images)} images", fontsize="medium")
    return figure


def label_statistics(ground_truth: GroundTruth, classes: int) -> tuple[Ints, Floats, Floats, Ints]:
    """Figures of the M objects that are no crowd.

    Returns:
        Objects per class [C]; box centres [M, 2] and sides [M, 2], x before y, as shares of the image; objects that are
        small, medium and large [3] as pycocotools counts them, which takes an area on an edge for both its neighbours,
        here for the smaller one.
    """
    kept = ~ground_truth.crowd
    boxes, areas = ground_truth.boxes[kept], ground_truth.areas[kept]
    sizes = {image["id"]: (image["width"], image["height"]) for image in ground_truth.images}
    whole = np.array([sizes[int(i)] for i in ground_truth.image_ids[kept]], np.float64).reshape(-1, 2)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / whole
    sides = (boxes[:, 2:] - boxes[:, :2]) / whole
    bucket = np.searchsorted(AREA_BOUNDS, areas, side="left")
    counts = np.bincount(ground_truth.classes[kept], minlength=classes)
    return counts, centres, sides, np.bincount(bucket, minlength=3)


def _class_counts(axes: Axes, counts: Ints, class_names: Sequence[str]) -> None:
    shown = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    rows = np.arange(len(shown))
    bars = axes.barh(rows, counts[shown], color="C0")
    letters = "small" if len(shown) <= 15 else 6
    axes.bar_label(bars, [str(count) for count in counts[shown]], padding=2, fontsize=letters)
    axes.set_yticks(rows, [shown_name(class_names[c], 24) for c in shown], fontsize=letters)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    title = "objects per class"
    if len(counts) > len(shown):
        title += f", the {len(shown)} most frequent of {len(counts)}"
    axes.set(title=title)


def _heat_map(axes: Axes, points: Floats, x_label: str, y_label: str) -> None:
    """How many of the points [M, 2] lie where; the more points, the finer the cells."""
    bins = int(np.clip(np.sqrt(len(points)) / 2, 10, 50))
    counts, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=bins, range=((0, 1), (0, 1)))
    highest = max(float(counts.max()), 1.0)
    picture = axes.imshow(
        np.ma.masked_equal(counts, 0),
        origin="lower",
        extent=(0, 1, 0, 1),
        norm=PowerNorm(0.5, 0, highest),
        cmap="viridis",
    )
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.figure.colorbar(picture, ax=axes, label="objects", fraction=0.045)
