"""`yolo predict`: detections of images and videos, drawn, as JSON, as labels, as crops."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from yolo.commands.predict_outputs import Outputs, Tally, describe
from yolo.commands.predict_sources import Source, list_sources
from yolo.commands.predict_video import Video, open_video, video_copy
from yolo.errors import UserError, require_ranges
from yolo.memory import MemorySettings, memory_at_fault
from yolo.options import parse_options
from yolo.pipeline import in_threads, sigterm_unwinds
from yolo.progress import progress

if TYPE_CHECKING:
    from yolo.boxes.nms import NMSOptions
    from yolo.detector import Detections, Detector, Picture, Seen

SHORT = {"checkpoint": "c", "source": "s", "output": "o"}
LINES = 20
"""Up to this many images get a line each; of more, a person wants the progress and the sum."""


@dataclass(frozen=True)
class PredictOptions:
    """Detect objects in images and videos. Exits with 1 when some of the files could not be read."""

    checkpoint: Path
    """Checkpoint written by `yolo fit`, or a file that `yolo export` made of one."""
    source: Path
    """Image, video, folder of images or quoted glob pattern; encrypted images (.enc) by the key in
    YOLO_ENCRYPTION_KEY."""
    output: Path = Path("results")
    """Folder for everything that is written."""
    conf: float | None = None
    """Lowest score of a detection; the checkpoint's (0.25 unless trained with another) when left out."""
    iou: float | None = None
    """Boxes of one class overlapping more than this are duplicates; the checkpoint's (usually 0.65) when left out."""
    max_det: int | None = None
    """Most detections per image; the checkpoint's (usually 300) when left out."""
    size: int | tuple[int, int] | None = None
    """Network input in pixels: side of a square, or [height,width]; the size of the training when left out."""
    tile: int | None = None
    """Look at larger pictures through windows of this side in pixels, so that small objects are found."""
    overlap: float = 0.2
    """Part of a window of --tile that the next one shows too; objects up to that size are seen whole."""
    batch_size: int = 4
    """Images that go through the network together; their number changes results by rounding alone."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    network: str | None = None
    """Import path of the checkpoint's network, when that is code of your own."""
    class_names: Path | None = None
    """File of other class names: a JSON list, a JSON object {index: name}, or text with a name per line."""
    draw: bool = True
    """Write a copy of each image or video with its detections."""
    save_json: bool = False
    """Write predictions.json: path, size and detections (class, name, score, box as x1 y1 x2 y2 pixels) per image."""
    save_txt: bool = False
    """Write labels/NAME.txt per image: class, centre x, centre y, width, height as fractions, confidence."""
    save_crops: bool = False
    """Write crops/CLASS/NAME_INDEX.jpg per detection."""


def main(arguments: Sequence[str]) -> None:
    """Run the command; status 1 when files could not be read."""
    options = parse_options(PredictOptions, "predict", arguments, short=SHORT)
    require_ranges(options, {"batch_size": (1, float("inf"))}, "--")
    settings = [
        f"--batch-size ({options.batch_size})",
        f"--size ({options.size or 'that of the training'})",
        "--device=cpu",
    ]
    with memory_at_fault(MemorySettings(settings)), sigterm_unwinds():
        tally = predict(options)
    if tally.failures:
        sys.exit(1)


def predict(options: PredictOptions) -> Tally:
    """Detect in every image and video of the source. UserError names what cannot be used, and when nothing can."""
    sources = list_sources(options.source)
    outputs = Outputs(options.output, options.draw, options.save_txt, options.save_crops)
    outputs.refuse_overwriting(sources)
    detector = load_detector(options)
    thresholds = detector.thresholds(options.conf, options.iou, options.max_det)
    options.output.mkdir(parents=True, exist_ok=True)
    tally, begun = Tally(options.save_json), time.monotonic()
    job = Job(detector, thresholds, options.batch_size, outputs, tally)
    detect_images(job, [source for source in sources if not source.is_video])
    for source in sources:
        if source.is_video:
            detect_video(job, source)
    if len(tally.failures) == len(sources):
        path, reason = next(iter(tally.failures.items()))
        others = f" (nor can any of the {len(sources) - 1} others)" if len(sources) > 1 else ""
        raise UserError(f"{path}: {reason}{others}")
    if options.save_json:
        tally.write_json(options.output / "predictions.json")
    summarise(options, outputs, sources, tally, time.monotonic() - begun)
    return tally


def load_detector(options: PredictOptions) -> Detector:
    """The detector as the options want it."""
    from yolo.class_names import read_class_names
    from yolo.detector import Detector
    from yolo.models.checkpoint import allow_network
    from yolo.tiling import Tiling

    allow_network(options.network)
    tiling = Tiling(options.tile, options.overlap) if options.tile is not None else None
    detector = Detector.load(options.checkpoint, device=options.device, image_size=options.size, tiling=tiling)
    if options.class_names is not None:
        detector.class_names = read_class_names(options.class_names, detector.class_names)
    return detector


@dataclass(frozen=True)
class Job:
    """What is done to every image and frame."""

    detector: Detector
    thresholds: NMSOptions
    batch_size: int
    outputs: Outputs
    tally: Tally


def detect_images(job: Job, sources: Sequence[Source]) -> None:
    """Detect in images: the network runs in this thread, others read the next images and write the last results."""

    def read(source: Source) -> Picture | UserError:
        try:
            return job.detector.read(source.path)
        except UserError as error:
            return error

    def finish(source: Source, seen: Seen | UserError) -> Detections | UserError:
        if isinstance(seen, UserError):
            return seen
        found = job.detector.finish(seen, job.thresholds)
        job.outputs.write_image(found, source)
        return found

    if not sources:
        return
    threads = min(4, os.cpu_count() or 1)
    ahead = max(threads, job.batch_size)
    pictures = in_threads(read, sources, threads, ahead)
    seen = zip(sources, _run(job, pictures), strict=True)
    results = in_threads(lambda pair: finish(*pair), seen, threads, ahead)
    with _shown(sources) as advance, contextlib.closing(pictures), contextlib.closing(results):
        for source, found in zip(sources, results, strict=True):
            if isinstance(found, UserError):
                job.tally.fail(source, found)
            else:
                job.tally.add(source, found)
                if len(sources) <= LINES:
                    print(f"{source.path}: {describe(Counter(found.names))}", flush=True)
            advance()


def detect_video(job: Job, source: Source) -> None:
    """Detect in all frames of a video, and write the annotated copy."""
    try:
        with open_video(source.path) as video:
            video.require_whole(_detect_frames(job, source, video))
    except UserError as error:
        if not str(error).startswith(f"{source.path}: "):
            raise  # about what was to be written
        job.tally.fail(source, error)


def _detect_frames(job: Job, source: Source, video: Video) -> int:
    outputs = job.outputs
    with contextlib.ExitStack() as stack:
        advance = stack.enter_context(progress(f"detecting in {source.path.name}", video.frames, "images"))
        add = stack.enter_context(video_copy(outputs.folder / source.drawn, video.rate)) if outputs.draw else None

        def read(_: int) -> Picture | None:
            frame = video.read()
            return None if frame is None else job.detector.read(frame)

        def finish(pair: tuple[int, Seen | UserError]) -> Detections:
            assert not isinstance(pair[1], UserError)
            found = job.detector.finish(pair[1], job.thresholds)
            if add is not None:
                add(found.plot())
            outputs.write_beside(found, source.stem / f"{pair[0]:06d}")
            return found

        pictures = stack.enter_context(contextlib.closing(in_threads(read, count(), 1, job.batch_size)))
        seen = _run(job, takewhile(lambda picture: picture is not None, pictures))
        results = stack.enter_context(contextlib.closing(in_threads(finish, enumerate(seen), 1, job.batch_size)))
        frame = -1
        for frame, found in enumerate(results):
            job.tally.add(source, found, frame=frame, seconds=round(frame / video.rate, 3))
            advance()
        return frame + 1


def summarise(
    options: PredictOptions, outputs: Outputs, sources: Sequence[Source], tally: Tally, seconds: float
) -> None:
    """Print what was found; on the error stream, what was not read."""
    from yolo.commands.picture_output import NOT_ENCRYPTED
    from yolo.data.image_files import is_encrypted

    rate = f"{tally.images:,} images in {seconds:.1f} s, {tally.images / max(seconds, 1e-9):.1f} images/s"
    print(f"{rate}: {describe(tally.counts)}; results in {options.output}")
    if outputs.pictures and any(is_encrypted(source.path) for source in sources):
        print(f"{NOT_ENCRYPTED}; --no-draw writes none")
    if tally.failures:
        print(f"{len(tally.failures):,} of {len(sources):,} files could not be read:", file=sys.stderr)
        for path, reason in tally.failures.items():
            print(f"  {path}: {reason}", file=sys.stderr)


def _run(job: Job, pictures: Iterable[Picture | UserError | None]) -> Iterator[Seen | UserError]:
    """The network, on as many pictures at once as the job says; errors keep their places among the results."""
    pictures = iter(pictures)
    while group := list(islice(pictures, job.batch_size)):
        seen = iter(
            job.detector.run([p for p in group if not isinstance(p, UserError) and p is not None], job.thresholds)
        )
        for picture in group:
            yield picture if isinstance(picture, UserError) else next(seen)


def _shown(sources: Sequence[Source]) -> contextlib.AbstractContextManager[Callable[[], None]]:
    if len(sources) <= LINES:
        return contextlib.nullcontext(lambda: None)
    return progress("detecting", len(sources), "images")
