"""`yolo evaluate`: the detections of any detector, measured as `yolo validate` measures its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yolo.commands.outcome import Outcome, OutcomeOptions, conclude, require_output
from yolo.errors import require_ranges
from yolo.options import parse_options
from yolo.versions import versions

if TYPE_CHECKING:
    from yolo.evaluation.evaluator import Metrics


@dataclass(frozen=True)
class _EvaluatedFiles:
    gt: Path
    """Annotations: a COCO annotation file."""
    detections: Path
    """Detections: a COCO results file, a list of {image_id, category_id, bbox: [x, y, width, height], score}."""
    conf_prod: float = 0.25
    """Confidence at which precision, recall and F1 are reported."""


@dataclass(frozen=True)
class EvaluateOptions(OutcomeOptions, _EvaluatedFiles):
    """Measure the detections of any detector with COCO's metrics.

    Neither images nor a network are needed, and nothing but the two files is read.
    """

    output: Path = Path("evaluation_results")
    """Folder of the results."""
    save_plots: bool = True
    """Draw curves, confusion matrix, reliability and label statistics."""
    save_json: bool | None = None
    """Write metrics.json, all numbers."""

    def __post_init__(self) -> None:
        require_ranges(self, {"conf_prod": (0, 1)}, "--")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse_options(EvaluateOptions, "evaluate", arguments, short={"output": "o"})
    require_output(options, [options.gt, options.detections])
    from yolo.evaluation.dashboard import DashboardContext

    outcome = Outcome(
        title=f"{options.detections} on {options.gt}",
        metrics=evaluate(options),
        context=DashboardContext(),
        settings={
            "ground_truth": str(options.gt),
            "detections": str(options.detections),
            "operating_confidence": options.conf_prod,
            "versions": versions(["numpy", "hotcoco"]),
        },
        without_pictures="The images were not read: this report holds numbers only.",
        coco_files=False,
    )
    conclude(outcome, options)


def evaluate(options: EvaluateOptions) -> Metrics:
    """The evaluation of the two files. UserError names what is wrong in which of them."""
    from yolo.evaluation.coco import CocoEvaluation
    from yolo.evaluation.coco_files import read_annotations, read_detections
    from yolo.evaluation.evaluator import Metrics

    annotations = read_annotations(options.gt)
    found = read_detections(options.detections, annotations)
    evaluation = CocoEvaluation(annotations.ground_truth, found, annotations.category_ids)
    return Metrics(evaluation, annotations.records, annotations.class_names, options.conf_prod)
