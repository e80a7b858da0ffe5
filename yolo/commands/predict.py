"""`yolo predict`: detections of images and videos, drawn, as JSON, as labels, as crops."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from yolo.commands.predict_outputs import PREDICTIONS, Outputs, Tally, describe
from yolo.commands.predict_sources import Source, left_out, list_sources
from yolo.commands.predict_video import open_video, video_copy
from yolo.errors import UserError, require_ranges
from yolo.memory import MemorySettings, memory_at_fault
from yolo.options import parse_options
from yolo.pipeline import in_threads, sigterm_unwinds
from yolo.progress import progress
from yolo.size import size_option

if TYPE_CHECKING:
    from yolo.boxes.nms import NMSOptions
    from yolo.detector import Detections, Detector, Picture, Seen

Item = TypeVar("Item")
SHORT = {"checkpoint": "c", "source": "s", "output": "o"}
LINES = 20
"""Up to this many images get a line each; of more, a person wants the progress and the sum."""


@dataclass(frozen=True)
class PredictOptions:
    """Detect objects in images and videos. Exits with 1 when some of the files could not be read to their end, with 2
    when none could or the input is at fault."""

    checkpoint: Path
    """Checkpoint written by `yolo fit`, or a file that `yolo export` made of one."""
    source: Path
    """Image, video, folder of images or quoted glob pattern; encrypted images (.enc) by the key in
    YOLO_ENCRYPTION_KEY."""
    output: Path = Path("results")
    """Folder for everything that is written; nothing in it is replaced but what an earlier predict wrote."""
    conf: float | None = None
    """Lowest score of a detection; the checkpoint's (0.25 unless trained with another) when left out."""
    iou: float | None = None
    """Boxes of one class overlapping more than this are duplicates; the checkpoint's (usually 0.65) when left out."""
    max_det: int | None = None
    """Most detections per image; the checkpoint's (usually 300) when left out."""
    size: tuple[int, ...] | None = None
    """Side of the square network input in pixels, or height and width; the size of the training when left out."""
    tile: int | None = None
    """Look at larger pictures through windows of this side in pixels, so that small objects are found."""
    overlap: float | None = None
    """Part of a window of --tile that the next one shows too (0.2); objects up to that size are seen whole."""
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
        f"--size ({' '.join(map(str, options.size or ())) or 'that of the training'})",
        "--device=cpu",
    ]
    with memory_at_fault(MemorySettings(settings)), sigterm_unwinds():
        tally = predict(options)
    if tally.failures or tally.ended_early:
        sys.exit(1)


def predict(options: PredictOptions) -> Tally:
    """Detect in every image and video of the source. UserError names what cannot be used, and when nothing can."""
    sources = list_sources(options.source)
    outputs = Outputs(options.output, options.draw, options.save_txt, options.save_crops, options.save_json)
    outputs.refuse_overwriting(sources)
    detector = load_detector(options)
    thresholds = detector.thresholds(options.conf, options.iou, options.max_det)
    options.output.mkdir(parents=True, exist_ok=True)
    outputs.note(sources)
    tally, begun = Tally(options.save_json), time.monotonic()
    job = Job(detector, thresholds, options.batch_size, outputs, tally)
    detect_images(job, [source for source in sources if not source.is_video])
    for source in sources:
        if source.is_video:
            detect_video(job, source)
    if not tally.images:
        refuse(tally)
    if options.save_json:
        tally.write_json(options.output / PREDICTIONS)
    summarise(options, outputs, sources, tally, time.monotonic() - begun)
    return tally


def load_detector(options: PredictOptions) -> Detector:
    """The detector as the options want it."""
    from yolo.class_names import read_class_names
    from yolo.detector import Detector
    from yolo.models.checkpoint import allow_network
    from yolo.tiling import tiling_option

    allow_network(options.network)
    tiling = tiling_option(options.tile, options.overlap)
    size = None if options.size is None else size_option(options.size)
    detector = Detector.load(options.checkpoint, device=options.device, image_size=size, tiling=tiling)
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
    """Detect in images, read and written by several threads."""

    def read(source: Source) -> Picture | UserError:
        try:
            return job.detector.read(source.path)
        except UserError as error:
            return error

    def write(index: int, found: Detections) -> None:
        job.outputs.write_image(found, sources[index])

    with (
        _shown(sources) as advance,
        contextlib.closing(_detect(job, read, sources, write, min(4, os.cpu_count() or 1))) as results,
    ):
        for source, found in zip(sources, results, strict=True):
            if isinstance(found, UserError):
                job.tally.fail(source, str(found))
            else:
                job.tally.add(source, found)
                if len(sources) <= LINES:
                    print(f"{source.path}: {describe(Counter(found.names))}", flush=True)
            advance()


def detect_video(job: Job, source: Source) -> None:
    """Detect in all frames of a video, and write the annotated copy."""
    outputs = job.outputs
    with contextlib.ExitStack() as stack:
        try:
            video = stack.enter_context(open_video(source.path))
        except UserError as error:
            job.tally.fail(source, str(error))
            return
        advance = stack.enter_context(progress(f"detecting in {source.path.name}", video.frames, "images"))
        add = stack.enter_context(video_copy(outputs.folder / source.drawn, video.rate)) if outputs.draw else None

        def read(_: int) -> Picture | None:
            frame = video.read()
            return None if frame is None else job.detector.read(frame)

        def write(index: int, found: Detections) -> None:
            if add is not None:
                add(found.plot())
            outputs.write_beside(found, source.stem / f"{index:06d}")

        results = stack.enter_context(contextlib.closing(_detect(job, read, count(), write, 1)))
        frames = 0
        for frames, found in enumerate(results, 1):
            assert not isinstance(found, UserError)
            job.tally.add(source, found, frame=frames - 1, seconds=round((frames - 1) / video.rate, 3))
            advance()
        if not frames:
            job.tally.fail(source, "no frame of this video can be decoded")
        elif video.ended_early(frames):
            job.tally.ended_early[source.path] = f"the video ends after {frames:,} of {video.frames:,} frames"


def _detect(
    job: Job,
    read: Callable[[Item], Picture | UserError | None],
    items: Iterable[Item],
    write: Callable[[int, Detections], None],
    threads: int,
) -> Generator[Detections | UserError, None, None]:
    """Detections of items in their order, up to one that is read as None; errors of reading keep their places. The
    network runs in this thread; others read the next items and write the last results."""

    def finish(indexed: tuple[int, Seen | UserError]) -> Detections | UserError:
        index, seen = indexed
        if isinstance(seen, UserError):
            return seen
        found = job.detector.finish(seen, job.thresholds)
        write(index, found)
        return found

    ahead = max(threads, job.batch_size)
    pictures = in_threads(read, items, threads, ahead)
    results = in_threads(finish, enumerate(_run(job, pictures)), threads, ahead)
    with contextlib.closing(pictures), contextlib.closing(results):
        yield from results


def _run(job: Job, pictures: Iterable[Picture | UserError | None]) -> Iterator[Seen | UserError]:
    """The network, on as many pictures at once as the job says."""
    there = (picture for picture in takewhile(lambda picture: picture is not None, pictures) if picture is not None)
    while group := list(islice(there, job.batch_size)):
        seen = iter(job.detector.run([p for p in group if not isinstance(p, UserError)], job.thresholds))
        for picture in group:
            yield picture if isinstance(picture, UserError) else next(seen)


def refuse(tally: Tally) -> NoReturn:
    """UserError that nothing could be read."""
    if len(tally.failures) > 1:
        print_list("Of these, none could be read:", tally.failures)
        raise UserError(f"none of the {len(tally.failures):,} files could be read")
    ((path, reason),) = tally.failures.items()
    raise UserError(f"{path}: {reason}")


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
    if others := left_out(options.source, sources):
        print(f"left out of {options.source}, as no images by their names: {describe(others)}")
    for what, files in (("could not be read", tally.failures), ("ended early", tally.ended_early)):
        if files:
            print_list(f"{len(files):,} of {len(sources):,} files {what}:", files)


def print_list(title: str, files: Mapping[Path, str]) -> None:
    """Files and what is wrong with them, on the error stream."""
    print(title, file=sys.stderr)
    for path, reason in files.items():
        print(f"  {path}: {reason}", file=sys.stderr)


def _shown(sources: Sequence[Source]) -> contextlib.AbstractContextManager[Callable[[], None]]:
    if len(sources) <= LINES:
        return contextlib.nullcontext(lambda: None)
    return progress("detecting", len(sources), "images")
