"""From the options to the surveys of the splits: which format."""

from __future__ import annotations

from pathlib import Path

from yolo.data.check.survey import Survey
from yolo.data.check.survey_coco import survey_coco
from yolo.data.check.survey_yolo import survey_yolo
from yolo.data.loaders import ImageLoader
from yolo.data.options import DataOptions, Split
from yolo.data.source import read_split
from yolo.errors import UserError


def survey_split(options: DataOptions, split: Split, loader: ImageLoader) -> Survey:
    """Look at one split. UserError when there is none."""
    if options.format == "shapes":
        drawn = read_split(options, split, loader)
        return Survey(split, len(drawn.images), drawn.images, drawn.class_names, drawn.category_ids)
    if options.cache_only:
        raise UserError("data.cache_only is true, but a check looks at the dataset's files: --data.cache_only=false")
    if not Path(options.root).is_dir():
        raise UserError(f"{options.root}: no such dataset folder (data.root)")
    return (survey_yolo if options.format == "yolo" else survey_coco)(options, split, loader)
