"""`yolo check-data`: what is in a dataset, and what is wrong with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yolo.commands.data_config import parse_data_command
from yolo.commands.picture_output import NOT_ENCRYPTED, refuse_dataset_folder

if TYPE_CHECKING:
    from yolo.data.check.findings import Finding
    from yolo.data.check.statistics import Statistics
    from yolo.data.check.survey import Survey
    from yolo.data.loaders import ImageLoader

SHEET_IMAGES = 16
SHEET_COLUMNS = 4
SHEET_TILE = 480


@dataclass(frozen=True)
class CheckOptions:
    """Look for faults in a dataset, and count what is in it.

    Reads every label and decodes every image of the splits that are there. Exits with 1 when there is an error.
    """

    json: bool = False
    """Print JSON."""
    output: Path | None = None
    """Folder for sheet.jpg: 16 training images with their labels, validation images where there are none for training.
    Not written when left out."""
    strict: bool = False
    """Exit with 1 when there is a warning as well."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options, data = parse_data_command("check-data", CheckOptions, arguments, short={"output": "o"})
    from rich.console import Console

    from yolo.data.check.report import as_json, print_report, verdict
    from yolo.data.check.surveys import survey_splits
    from yolo.data.source import choose_loader, confidential

    if options.output is not None:
        refuse_dataset_folder(options.output, data.options)
    loader = choose_loader(data.options, data.image_loader)
    surveys, notes = survey_splits(data.options, loader)
    statistics, findings = check(surveys, loader)
    passed = not any(entry.severity == "error" or options.strict for entry in findings)
    if options.output is not None:
        if confidential(data.options, loader):
            print(NOT_ENCRYPTED, file=sys.stderr)
        options.output.mkdir(parents=True, exist_ok=True)
        write_sheet(surveys[0], loader, options.output / "sheet.jpg")
    if options.json:
        print(json.dumps(as_json(statistics, findings, notes, passed=passed), indent=1))
    else:
        print_report(Console(highlight=False, markup=False), statistics, findings, notes)
        print(verdict(findings) + (f", a sheet of images in {options.output}" if options.output else ""))
    if not passed:
        sys.exit(1)


def check(surveys: Sequence[Survey], loader: ImageLoader) -> tuple[dict[str, Statistics], list[Finding]]:
    """Look at the images of the splits and judge."""
    from yolo.data.check.findings import find
    from yolo.data.check.health import health_findings
    from yolo.data.check.pictures import look_at
    from yolo.data.check.statistics import measure
    from yolo.evaluation.coco import dataset_health
    from yolo.evaluation.evaluator import ground_truth
    from yolo.progress import progress

    with progress("decoding", sum(len(survey.images) for survey in surveys), "images", errors=True) as advance:
        pictures = {survey.split: look_at(survey.images, loader, advance) for survey in surveys}
    findings = find(surveys, pictures)
    for survey in surveys:
        if survey.images:
            entries = dataset_health(ground_truth(survey.images), survey.category_ids)
            findings += health_findings(survey, entries)
    return {survey.split: measure(survey) for survey in surveys}, findings


def write_sheet(survey: Survey, loader: ImageLoader, target: Path) -> None:
    """Draw images spread evenly over those of the split that have objects and can be read."""
    from yolo.data.loaders import load_image
    from yolo.errors import UserError
    from yolo.evaluation.draw import contact_sheet, draw_boxes, fit_boxes, save_jpeg

    candidates = [image for image in survey.images if len(image.classes)] or survey.images
    step = max(len(candidates) / SHEET_IMAGES, 1)
    tiles = []
    for position in range(min(SHEET_IMAGES, len(candidates))):
        image = candidates[int(position * step)]
        try:
            pixels, boxes = fit_boxes(load_image(loader, image.path), image.boxes, SHEET_TILE)
        except UserError:  # unreadable, which the check has found before
            continue
        objects = zip(image.classes, image.crowd, strict=True)
        names = [survey.class_names[number] + (" (crowd)" if crowd else "") for number, crowd in objects]
        tiles.append(draw_boxes(pixels, boxes, image.classes, names))
    if tiles:
        save_jpeg(contact_sheet(tiles, SHEET_COLUMNS, SHEET_TILE), target)
