"""Checkpoints: MindSpore .ckpt files that hold everything a run needs to go on.

Besides the network's parameters under their own names (so that `mindspore.load_checkpoint` and
`load_param_into_net` work on them) a file holds the optimizer's state, the group weights, the
number of finished epochs, the settings of the run and, where it was stopped inside an epoch, what
that epoch had come to.
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mindspore as ms
from mindspore import Parameter, nn

from corruptions.files import naming
from sharpdro.errors import RunError
from sharpdro.run_log import LAST_CHECKPOINT, PREVIOUS_CHECKPOINT, epochs_of

_EPOCH, _SETTINGS, _UNFINISHED = "finished_epoch", "settings_json", "unfinished_json"


@dataclass(frozen=True)
class Checkpoint:
    """Parameters by name, number of finished epochs, settings of the run, its unfinished epoch."""

    parameters: dict[str, Parameter]
    epoch: int
    settings: dict
    unfinished: dict = field(default_factory=dict)


def save(
    path: Path,
    cell: nn.Cell,
    epoch: int,
    settings: dict,
    unfinished: dict | None = None,
    previous: Path | None = None,
) -> None:
    """Write all parameters of the cell; the file appears only once it is complete and on disk.

    Args:
        path: ends in .ckpt.
        cell: the training step (everything needed to go on) or the network.
        epoch: number of finished epochs.
        settings: of the run, JSON-serialisable.
        unfinished: what the next epoch has come to, JSON-serialisable; None: nothing.
        previous: where to move the file that is there.

    Raises:
        OSError: it cannot be written; nothing has changed then.
    """
    extra = {_EPOCH: epoch, _SETTINGS: json.dumps(settings)}
    if unfinished is not None:
        extra[_UNFINISHED] = json.dumps(unfinished)
    parameters = [{"name": p.name, "data": p} for p in cell.get_parameters()]
    with naming(path), _partial(path) as partial:
        ms.save_checkpoint(parameters, str(partial), append_dict=extra, crc_check=True)
        # MindSpore makes its files read-only, which would forbid opening them to flush.
        partial.chmod(0o644)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(partial, path)


@contextlib.contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """Where to write a checkpoint first; nothing is left there, and MindSpore logs nothing."""
    partial = path.with_name(f".{path.stem}.partial.ckpt")
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # MindSpore reports what it raises, too
    try:
        yield partial
    finally:
        logging.disable(disabled)
        for rest in (partial, partial.with_suffix(".tmp")):  # MindSpore's own partial file
            rest.unlink(missing_ok=True)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint written by `save`.

    Raises:
        RunError: the file is missing, damaged, or not one of this program's.
    """
    if path.is_dir():
        raise RunError(f"checkpoint {path} is a folder: name a .ckpt file, such as its best.ckpt")
    if not path.is_file():
        raise RunError(f"checkpoint {path} does not exist")
    if path.suffix != ".ckpt":
        raise RunError(f"checkpoint {path} is no .ckpt file: name a run's best.ckpt, say")
    if not path.stat().st_size:
        raise RunError(f"checkpoint {path} is empty")
    try:
        content = ms.load_checkpoint(str(path), crc_check=True)
        epoch, settings = int(content.pop(_EPOCH)), json.loads(str(content.pop(_SETTINGS)))
        unfinished = json.loads(str(content.pop(_UNFINISHED, "{}")))
        if not isinstance(settings, dict) or not isinstance(unfinished, dict):
            raise ValueError("it holds no settings")
    except Exception as error:  # foreign bytes can raise about anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RunError(
            f"checkpoint {path} is damaged or was not written by this program ({reason})"
        ) from error
    return Checkpoint(content, epoch, settings, unfinished)


def load_last(
    folder: Path, say: Callable[[str], object] = lambda text: None
) -> tuple[Checkpoint, Path] | None:
    """What a run goes on from: its last checkpoint, or the one before if that is damaged.

    Args:
        folder: the run's.
        say: called with a text if it is the one before.

    Returns:
        The checkpoint and its file; None where nothing was saved yet.

    Raises:
        RunError: the run cannot go on, because a file is missing or damaged.
    """
    last, previous = folder / LAST_CHECKPOINT, folder / PREVIOUS_CHECKPOINT
    tables = [folder / name for name in ("train.csv", "val.csv", "test.csv")]
    if not last.exists() and not previous.exists():
        if any(epoch > 1 for table in tables for epoch in epochs_of(table)):
            raise RunError(
                f"{last} is missing, so the run cannot be resumed: choose another --desc, "
                f"or delete {folder} to start again"
            )
        return None
    for table in tables:
        if not table.exists():
            raise RunError(f"{table} is missing: restore it, or choose another --desc")
    try:
        return load(last), last
    except RunError as error:
        problem = error
    try:
        stored = load(previous)
    except RunError as error:
        raise RunError(
            f"the run cannot be resumed: {problem}, and {error}: restore one of them, choose "
            f"another --desc, or delete {folder} to start again"
        ) from error
    say(f"{problem}: going on from the one before, {previous}")
    return stored, previous


def restore(cell: nn.Cell, checkpoint: Checkpoint, path: Path) -> None:
    """Set all parameters of the cell from the checkpoint.

    Raises:
        RunError: a parameter of the cell is missing in the checkpoint or has another shape.
    """
    for parameter in cell.get_parameters():
        stored = checkpoint.parameters.get(parameter.name)
        if stored is None or stored.shape != parameter.shape:
            found = "is missing" if stored is None else f"has shape {tuple(stored.shape)}"
            raise RunError(
                f"checkpoint {path} is of another model: {parameter.name} {found}, "
                f"expected {tuple(parameter.shape)}"
            )
    for parameter in cell.get_parameters():
        parameter.set_data(checkpoint.parameters[parameter.name])
