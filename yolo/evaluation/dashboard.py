"""The dashboard: everything an evaluation says, for the terminal and for log files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from yolo.evaluation.analysis import Analysis, ClassFigures
from yolo.evaluation.sparkline import defined, is_defined, sparkline
from yolo.evaluation.words import QUALITY, TIDE_WORDS, figure

SIDE_BY_SIDE = 158
"""Columns of the terminal from which on there are two columns of sections."""
NARROWEST = 80
"""Columns that the sections need."""
NAME_WIDTH = 26
"""Cells that a class name may take."""
SHOWN_CONFUSIONS = 5
SHOWN_EVALUATIONS = 10
UNKNOWN = "-"


@dataclass(frozen=True)
class DashboardContext:
    """What the numbers alone do not say. What is None is left out."""

    epoch: int | None = None
    """Counted from 1."""
    max_epochs: int | None = None
    image_size: tuple[int, int] | None = None
    """Height and width of the network's input."""
    iou: float | None = None
    """Overlap of boxes from which on non-maximum suppression takes them for duplicates."""
    max_detections: int | None = None
    """Per image."""
    best_before: float | None = None
    """The highest AP50-95 of earlier epochs."""
    history: Sequence[Mapping[str, float]] = field(default_factory=tuple)
    """`trend_figures` of the evaluations so far, this one last."""
    top_n: int = 3
    """Classes in each list of the best and the worst."""


@dataclass(frozen=True)
class _Look:
    """What the stream can show."""

    encoding: str

    @property
    def ascii_only(self) -> bool:
        return not self.encoding.lower().replace("-", "").startswith("utf")

    def name(self, name: str, width: int = NAME_WIDTH) -> Text:
        """A class name on one line, cut to a number of cells; nothing in it is markup or moves the cursor."""
        shown = "".join(c if c.isprintable() else "?" for c in name)
        shown = shown.encode(self.encoding, "replace").decode(self.encoding)
        if cell_len(shown) > width:
            end = "..." if self.ascii_only else "…"
            while cell_len(shown) > width - cell_len(end):
                shown = shown[:-1]
            shown += end
        return Text(shown)

    def table(self, title: str, headings: Iterable[str], *, words: int = 0, caption: str | None = None) -> Table:
        """An empty table whose first `words` columns are words and the others numbers."""
        table = Table(
            title=Text(title, style="bold"),
            caption=Text(caption) if caption else None,
            title_justify="left",
            caption_justify="left",
            box=box.ASCII if self.ascii_only else box.ROUNDED,
        )
        for number, heading in enumerate(headings):
            justify = "left" if number < words else "right"
            table.add_column(Text(heading), justify=justify, no_wrap=True, overflow="crop")  # type: ignore[arg-type]
        return table


@dataclass(frozen=True)
class _Wide:
    """Laid out for a width that the sections need; what is beyond that of the console, the console cuts off."""

    page: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.page, options.update(width=max(options.max_width, NARROWEST)))


def trend_figures(analysis: Analysis) -> dict[str, float]:
    """What the dashboard shows a trend of, as an entry of `DashboardContext.history`."""
    summary, f1 = analysis.summary, analysis.point.f1 if analysis.objects else -1.0
    return {"AP50-95": summary["AP"], "AP50": summary["AP50"], "AR@100": summary["AR100"], "F1": f1}


def print_dashboard(console: Console, analysis: Analysis, context: DashboardContext) -> None:
    """Print all sections: in two columns on a wide terminal, else below one another.

    On a terminal of less than 80 columns the right edge is cut off; nothing wraps. A log file gets no control codes,
    and plain ASCII if its encoding is no Unicode. Six decimals are what `fit` and `validate` print elsewhere too.
    """
    look = _Look(getattr(console.file, "encoding", None) or "utf-8")
    left = [
        _summary(look, analysis, context),
        _quality(look, analysis),
        _operating(look, analysis),
        _errors(look, analysis),
        *_trends(look, context),
        _sweep(look, analysis),
    ]
    right = [*_class_tables(look, analysis, context.top_n), _confusions(look, analysis), _tide(look, analysis)]
    page: RenderableType = Group(*left, *right)
    if console.width >= SIDE_BY_SIDE:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Group(*left), Group(*right))
        page = grid
    console.print(_Wide(page), crop=True, highlight=False)


def _summary(look: _Look, analysis: Analysis, context: DashboardContext) -> Table:
    table = look.table("Evaluation", ["data", "AP50-95", "settings"], words=3)
    size = f" at {context.image_size[0]} x {context.image_size[1]}" if context.image_size else ""
    facts = [f"{analysis.images} images{size}", f"{analysis.objects} objects"]
    if context.epoch is not None:
        facts.append(f"epoch {context.epoch}" + (f"/{context.max_epochs}" if context.max_epochs else ""))
    settings = [f"confidence {analysis.confidence:g}"]
    settings += [f"NMS IoU {context.iou:g}"] if context.iou is not None else []
    settings += [f"at most {context.max_detections}"] if context.max_detections is not None else []
    verdict = _verdict(analysis.summary["AP"], context)
    value = Text(figure(analysis.summary["AP"], 6), style="bold")
    table.add_row("\n".join(facts), Text("\n").join([value, verdict]), "\n".join(settings))
    return table


def _verdict(ap: float, context: DashboardContext) -> Text:
    """[NEW BEST], and how far from the best before; nothing outside a training."""
    if context.epoch is None or not is_defined(ap):
        return Text()
    before = context.best_before
    if before is None:
        return Text("[NEW BEST]", style="bold green")
    delta = f"{ap - before:+.4f}"
    if ap > before:
        return Text(f"[NEW BEST] ({delta})", style="bold green")
    return Text(f"({delta} to the best)", style="red") if ap < before else Text("(as the best)")


def _quality(look: _Look, analysis: Analysis) -> Table:
    table = look.table("Quality", QUALITY)
    table.add_row(*(figure(analysis.summary[name], 6) for name in QUALITY.values()))
    return table


def _operating(look: _Look, analysis: Analysis) -> Table:
    at, point, best = f"{analysis.confidence:.3g}", analysis.point, analysis.best
    headings = [f"P@{at}", f"R@{at}", f"F1@{at}", "best F1", "its confidence"]
    table = look.table("Operating point", headings)
    values = [figure(v, 6) for v in (point.precision, point.recall, point.f1, best.f1)]
    values.append(figure(best.confidence, 3) if best.f1 else UNKNOWN)
    table.add_row(*(values if analysis.objects else UNKNOWN * len(values)))
    return table


def _errors(look: _Look, analysis: Analysis) -> Table:
    errors = analysis.errors
    table = look.table(
        f"Error health at {analysis.confidence:.3g}",
        ["TP", "FP", "FN", "det/img", "p95", "IoU of TP", "calibration"],
        caption="calibration: mean distance between score and precision",
    )
    table.add_row(
        f"{errors.true_positives}",
        f"{errors.false_positives}",
        f"{errors.false_negatives}",
        f"{errors.detections_mean:.1f}",
        f"{errors.detections_p95:.1f}",
        figure(errors.mean_iou),
        figure(analysis.calibration.error),
    )
    return table


def _trends(look: _Look, context: DashboardContext) -> list[Table]:
    """None before there are two evaluations."""
    history = context.history[-SHOWN_EVALUATIONS:]
    if len(history) < 2:
        return []
    table = look.table(f"Trend of the last {len(history)} evaluations", ["", "trend", "min", "max", "now"], words=2)
    for name in history[-1]:
        values = [entry.get(name, float("nan")) for entry in history]
        known = defined(values) or [float("nan")]
        line = sparkline(values, ascii_only=look.ascii_only)
        table.add_row(name, line, figure(min(known)), figure(max(known)), figure(values[-1]))
    return [table]


def _sweep(look: _Look, analysis: Analysis) -> Table:
    table = look.table("Threshold sweep", ["confidence", "P", "R", "F1"])
    highest = max(point.f1 for point in analysis.sweep)
    for point in analysis.sweep:
        values = (point.precision, point.recall, point.f1)
        style = "bold" if point.f1 == highest > 0 else ""
        shown = [figure(v) if analysis.objects else UNKNOWN for v in values]
        table.add_row(f"{point.confidence:.2f}", *shown, style=style)
    return table


def _class_tables(look: _Look, analysis: Analysis, top_n: int) -> list[Table]:
    """Best and worst classes; one list of all when they are few."""
    ranked = analysis.ranked_classes()
    absent = len(analysis.class_names) - len(ranked)
    note = f"{absent} of {len(analysis.class_names)} classes have no ground truth" if absent else None
    at = f"{analysis.confidence:.3g}"

    def table(title: str, rows: list[ClassFigures], caption: str | None = None) -> Table:
        headings = ["class", "AP50-95", "AP50", f"P@{at}", f"R@{at}", "GT"]
        built = look.table(title, headings, words=1, caption=caption)
        for row in rows:
            values = map(figure, (row.ap, row.ap50, row.precision, row.recall))
            built.add_row(look.name(row.name), *values, f"{row.objects}")
        if not rows:
            built.add_row(*UNKNOWN * len(headings))
        return built

    if len(ranked) <= 2 * top_n:
        return [table("Classes by AP50-95", ranked, note)]
    between = f"{len(ranked) - 2 * top_n} classes between the two lists" + (f"; {note}" if note else "")
    return [
        table("Best classes by AP50-95", ranked[:top_n]),
        table("Worst classes by AP50-95", ranked[: -top_n - 1 : -1], between),
    ]


def _confusions(look: _Look, analysis: Analysis) -> Table:
    headings = ["detected as", "is", "count"]
    table = look.table(f"Top confusions at {analysis.confidence:.3g}", headings, words=2)
    found = analysis.confusions(SHOWN_CONFUSIONS)
    for detected, true, count in found:
        table.add_row(look.name(detected), look.name(true), f"{count}")
    if not found:
        table.add_row(*UNKNOWN * len(headings))
    return table


def _tide(look: _Look, analysis: Analysis) -> Table:
    table = look.table("What errors cost (TIDE)", ["error", "meaning", "AP50 points"], words=2)
    for kind, lost in analysis.tide.items():
        table.add_row(kind, TIDE_WORDS[kind], figure(100 * lost, 2))
    return table
