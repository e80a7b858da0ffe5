"""The network a run starts with: random or from a file of weights."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer

from yolo.errors import UserError
from yolo.models.checkpoint import NetworkSpec
from yolo.models.detection_model import DetectionModel
from yolo.models.weights.download import fetch
from yolo.models.weights.load import load_network
from yolo.quantization import inner_network

REPORT_FILE = "weights.txt"


def start_network(
    spec: NetworkSpec, num_classes: int, weight_path: bool | str | None, trainer: Trainer
) -> tuple[NetworkSpec, DetectionModel]:
    """Build the network, started from the weights that `--model.weight_path` says, and report on them.

    The report is printed by the first process; with a logger, its full lists are in weights.txt in the run's folder.

    Returns:
        The spec that the network was built from, with the class width of the file, and the network.

    Raises:
        UserError: when the weights cannot be downloaded, read or used.
    """
    if weight_path in (None, False):
        return spec, spec.build(num_classes)
    path = _fetch_once(spec.name, trainer) if weight_path is True else Path(str(weight_path))
    inner = inner_network(spec)
    if inner is not None:
        from yolo.quantization.network import QuantizedNetwork

        _, base, report = load_network(inner, num_classes, path)
        lacking = [name for name in (*report.missing, *report.skipped) if not name.startswith("auxiliary.")]
        if lacking:
            raise UserError(
                f"{path}: quantisation-aware training starts from a whole trained network, but {len(lacking)} tensors "
                f"do not fit, {lacking[0]} first"
            )
        network: DetectionModel = QuantizedNetwork.started_from(base, spec.args)
    else:
        spec, network, report = load_network(spec, num_classes, path)
    folder = trainer.log_dir if trainer.loggers else None  # asks all processes
    if trainer.is_global_zero:
        print(report)
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / REPORT_FILE).write_text("\n".join(report.lines()) + "\n")
    return spec, network


def _fetch_once(architecture: str, trainer: Trainer) -> Path:
    """Download in the first process while the others wait, and fail in all of them if it fails."""
    outcome: Path | UserError | None = None
    if trainer.is_global_zero:
        try:
            outcome = fetch(architecture)
        except UserError as error:
            outcome = error
    outcome = trainer.strategy.broadcast(outcome)
    if isinstance(outcome, UserError):
        raise outcome
    assert outcome is not None
    return outcome
