"""The command line: one table of commands, each imported only when it is called."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo import __version__
from yolo.errors import UserError


@dataclass(frozen=True)
class Command:
    """A row of the table: `module.main(arguments)` runs the command."""

    module: str
    summary: str


COMMANDS = {
    "fit": Command("yolo.commands.fit", "Train a detector."),
    "validate": Command("yolo.commands.validate", "Measure a checkpoint on a dataset with COCO's metrics."),
    "predict": Command("yolo.commands.predict", "Detect objects in images."),
    "info": Command("yolo.commands.info", "Show parameters, FLOPs and shapes of a network."),
    "qat-finetune": Command("yolo.commands.qat_finetune", "Train a trained network on for INT8."),
    "sensitivity": Command("yolo.commands.sensitivity", "Show which parts of a network INT8 hurts most."),
    "export": Command("yolo.commands.export", "Write a trained network as a file that other programs run."),
    "benchmark": Command("yolo.commands.benchmark", "Compare checkpoints and exported files on one dataset."),
    "evaluate": Command("yolo.commands.evaluate", "Measure the detections of any detector with COCO's metrics."),
    "compare": Command("yolo.commands.compare", "Tell whether one checkpoint is better than another."),
    "audit-labels": Command("yolo.commands.audit_labels", "Find labels that a trained detector doubts."),
    "check-data": Command("yolo.commands.check_data", "Look for faults in a dataset, and count what is in it."),
    "visualize-aug": Command("yolo.commands.visualize_aug", "Draw training samples as the network sees them."),
    "cache-create": Command("yolo.commands.cache_create", "Build the image cache of a dataset without training."),
    "cache-info": Command("yolo.commands.cache_info", "Show what a cache holds."),
    "cache-verify": Command("yolo.commands.cache_verify", "Read a whole cache and name everything that is damaged."),
    "cache-export": Command("yolo.commands.cache_export", "Write a cache into an archive."),
    "cache-import": Command("yolo.commands.cache_import", "Unpack an archive of a cache."),
    "encrypt-images": Command("yolo.commands.encrypt_images", "Encrypt images for the EncryptedImageLoader."),
    "convert-weights": Command("yolo.commands.convert_weights", "Translate weights of other programs."),
    "replay": Command("yolo.commands.replay", "Run a training step again that was not finite."),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. Exits with 2 and one sentence when the input is at fault."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the terminal cannot show must not end the program
        sys.stdout.reconfigure(errors="backslashreplace")
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_help())
        return
    if name == "--version":
        print(__version__)
        return
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # as `python -m yolo` has it: networks and loaders of one's own
    try:
        if name not in COMMANDS:
            raise UserError(f"unknown command {name!r}, expected one of {', '.join(COMMANDS)}")
        importlib.import_module(COMMANDS[name].module).main(arguments[1:])
    except UserError as error:
        sys.exit(_fail(str(error)))
    except OSError as error:
        sys.exit(_fail(f"{error.filename or name}: {error.strerror or error}"))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(sentence: str) -> int:
    print(f"error: {sentence.strip()}", file=sys.stderr)
    return 2


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    return f"usage: yolo COMMAND [options]\n\ncommands:\n{rows}\n\nyolo COMMAND --help lists the options of a command."
