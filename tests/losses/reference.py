"""The assigner and the loss as slowly and plainly as they can be written: float64, one element at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

Box = tuple[float, float, float, float]
Site = tuple[int, int]
"""(image, anchor)"""


@dataclass
class Target:
    image: int
    label: int
    box: Box


@dataclass
class Anchor:
    x: float
    y: float
    stride: float
    sides: list[list[float]]
    """Logits of the four distributions."""
    logits: list[float]
    """Class logits."""

    @property
    def box(self) -> Box:
        left, top, right, bottom = (
            sum(k * p for k, p in enumerate(softmax(side))) * self.stride for side in self.sides
        )
        return self.x - left, self.y - top, self.x + right, self.y + bottom


@dataclass
class Settings:
    topk: int = 13
    alpha: float = 0.5
    beta: float = 6.0
    floor: float = 0.01
    varifocal: bool = False
    pos_weight: float = 1.0


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(x - max(logits)) for x in logits]
    return [p / sum(powers) for p in powers]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def read_targets(targets: Tensor) -> list[Target]:
    return [Target(int(row[0]), int(row[1]), (row[2], row[3], row[4], row[5])) for row in targets.tolist()]


def read_anchors(maps: Sequence[Tensor], strides: Sequence[int], num_bins: int) -> list[list[Anchor]]:
    """The anchors of each image."""
    images: list[list[Anchor]] = []
    for image in range(maps[0].shape[0]):
        images.append([])
        for level, stride in zip(maps, strides, strict=True):
            for i in range(level.shape[2]):
                for j in range(level.shape[3]):
                    cell = level[image, :, i, j].tolist()
                    sides = [cell[k * num_bins : (k + 1) * num_bins] for k in range(4)]
                    anchor = Anchor((j + 0.5) * stride, (i + 0.5) * stride, stride, sides, cell[4 * num_bins :])
                    images[-1].append(anchor)
    return images


def ciou(a: Box, b: Box) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    iou = width * height / (area_a + area_b - width * height)
    diagonal = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    distance = ((a[0] + a[2]) / 2 - (b[0] + b[2]) / 2) ** 2 + ((a[1] + a[3]) / 2 - (b[1] + b[3]) / 2) ** 2
    v = 4 / math.pi**2 * (math.atan((b[2] - b[0]) / (b[3] - b[1])) - math.atan((a[2] - a[0]) / (a[3] - a[1]))) ** 2
    return iou - distance / diagonal - (v * v / (1 - iou + v) if v > 0 else 0)


def is_inside(anchor: Anchor, box: Box) -> bool:
    return box[0] < anchor.x < box[2] and box[1] < anchor.y < box[3]


def squared_distance(anchor: Anchor, box: Box) -> float:
    return (anchor.x - (box[0] + box[2]) / 2) ** 2 + (anchor.y - (box[1] + box[3]) / 2) ** 2


class Assigner:
    """After construction: `owner[image, anchor]` is a target's index, `score[image, anchor]` its soft target."""

    def __init__(self, images: list[list[Anchor]], targets: list[Target], settings: Settings) -> None:
        self.images, self.targets, self.settings = images, targets, settings
        boxes = [[anchor.box for anchor in anchors] for anchors in images]
        self.overlap: list[dict[int, float]] = []
        self.metric: list[dict[int, float]] = []
        for target in targets:
            overlaps = {a: max(ciou(box, target.box), settings.floor) for a, box in enumerate(boxes[target.image])}
            self.overlap.append(overlaps)
            self.metric.append(
                {
                    a: sigmoid(anchor.logits[target.label]) ** settings.alpha * overlaps[a] ** settings.beta
                    for a, anchor in enumerate(images[target.image])
                }
            )
        self.owner: dict[Site, int] = {}
        self.share_out()
        self.starved = [t for t in range(len(targets)) if t not in self.owner.values()]
        for t in self.starved:
            self.feed(t)
        self.score = {site: self.soft_target(site, t) for site, t in self.owner.items()}

    def candidates(self, t: int) -> list[int]:
        anchors, box = self.images[self.targets[t].image], self.targets[t].box
        inside = [a for a, anchor in enumerate(anchors) if is_inside(anchor, box)]
        return inside or [min(range(len(anchors)), key=lambda a: squared_distance(anchors[a], box))]

    def share_out(self) -> None:
        for t, target in enumerate(self.targets):
            best = sorted(self.candidates(t), key=lambda a: (-self.metric[t][a], a))[: self.settings.topk]
            for a in best:
                rival = self.owner.get((target.image, a))
                if rival is None or self.overlap[t][a] > self.overlap[rival][a]:
                    self.owner[target.image, a] = t

    def feed(self, t: int) -> None:
        image = self.targets[t].image
        owners = list(self.owner.values())
        spare = {
            a
            for a in range(len(self.images[image]))
            if (image, a) not in self.owner or owners.count(self.owner[image, a]) > 1
        }
        wanted = [a for a in self.candidates(t) if a in spare]
        if wanted:
            self.owner[image, max(wanted, key=lambda a: (self.metric[t][a], -a))] = t
        elif spare:
            box = self.targets[t].box
            self.owner[image, min(spare, key=lambda a: (squared_distance(self.images[image][a], box), a))] = t

    def soft_target(self, site: Site, t: int) -> float:
        mine = [a for (_, a), owner in self.owner.items() if owner == t]
        best_metric, best_overlap = max(self.metric[t][a] for a in mine), max(self.overlap[t][a] for a in mine)
        return self.metric[t][site[1]] / best_metric * best_overlap


def iou(a: Box, b: Box) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


class SimOTA:
    """After construction: `owner`, `score` as in `Assigner`; `candidates[t]` anchors, `count[t]` how many t may take.

    `doubtful` says that float32 may decide otherwise: a count lies near the middle of two numbers, or unequal costs
    nearly agree.
    """

    def __init__(
        self,
        images: list[list[Anchor]],
        targets: list[Target],
        radius: float = 2.5,
        weight: float = 3.0,
        topq: int = 10,
    ) -> None:
        self.doubtful = False
        self.owner: dict[Site, int] = {}
        self.candidates: list[list[int]] = []
        self.count: list[int] = []
        costs: dict[Site, float] = {}
        for t, target in enumerate(targets):
            anchors = images[target.image]
            mine = [a for a, anchor in enumerate(anchors) if self.is_candidate(anchor, target.box, radius)]
            overlap = {a: iou(anchors[a].box, target.box) for a in mine}
            cost = {
                a: -math.log(sigmoid(anchors[a].logits[target.label])) - weight * math.log(max(overlap[a], 1e-8))
                for a in mine
            }
            total = sum(sorted(overlap.values())[-topq:])
            self.doubtful |= abs(total % 1 - 0.5) < 1e-4
            self.candidates.append(mine)
            self.count.append(min(max(round(total), 1), topq))
            cheap = sorted(mine, key=lambda a: (cost[a], a))
            chosen, rest = cheap[: self.count[-1]], cheap[self.count[-1] :]
            if rest:
                self.note_doubt(cost[chosen[-1]], cost[rest[0]])
            for a in chosen:
                site = target.image, a
                if site in self.owner:
                    self.note_doubt(costs[site], cost[a])
                if site not in self.owner or cost[a] < costs[site]:
                    self.owner[site], costs[site] = t, cost[a]
        self.score = {
            (image, a): max(iou(images[image][a].box, targets[t].box), 0.01) for (image, a), t in self.owner.items()
        }

    @staticmethod
    def is_candidate(anchor: Anchor, box: Box, radius: float) -> bool:
        away = max(abs(anchor.x - (box[0] + box[2]) / 2), abs(anchor.y - (box[1] + box[3]) / 2))
        return is_inside(anchor, box) and away <= radius * anchor.stride

    def note_doubt(self, one: float, other: float) -> None:
        self.doubtful |= one != other and abs(one - other) < 1e-4 * (1 + abs(one))


def classification(x: float, target: float, settings: Settings) -> float:
    p = sigmoid(x)
    log_p, log_not_p = math.log(p), math.log(1 - p)
    if settings.varifocal:
        weight = target if target > 0 else 0.75 * p**2
        return -weight * (target * log_p + (1 - target) * log_not_p)
    return -(settings.pos_weight * target * log_p + (1 - target) * log_not_p)


def two_bins(logits: list[float], distance: float) -> float:
    distance = min(max(distance, 0), len(logits) - 1 - 0.01)
    left = math.floor(distance)
    probability = softmax(logits)
    return -(left + 1 - distance) * math.log(probability[left]) - (distance - left) * math.log(probability[left + 1])


def branch_loss(images: list[list[Anchor]], targets: list[Target], settings: Settings) -> dict[str, float]:
    """Box, classification and distribution terms, normalised, without weights."""
    assigned = Assigner(images, targets, settings)
    box = cls = dfl = 0.0
    for image, anchors in enumerate(images):
        for a, anchor in enumerate(anchors):
            t = assigned.owner.get((image, a))
            score = 0.0 if t is None else assigned.score[image, a]
            for label, x in enumerate(anchor.logits):
                cls += classification(x, score if t is not None and targets[t].label == label else 0.0, settings)
            if t is None:
                continue
            x1, y1, x2, y2 = targets[t].box
            box += (1 - ciou(anchor.box, targets[t].box)) * score
            wanted = [anchor.x - x1, anchor.y - y1, x2 - anchor.x, y2 - anchor.y]
            sides = zip(anchor.sides, wanted, strict=True)
            dfl += sum(two_bins(logits, distance / anchor.stride) for logits, distance in sides) / 4 * score
    norm = max(sum(assigned.score.values()), 1)
    return {"box": box / norm, "cls": cls / norm, "dfl": dfl / norm}
