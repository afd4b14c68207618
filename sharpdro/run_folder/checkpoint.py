"""Checkpoints: MindSpore .ckpt files that hold everything a run needs to go on.

Besides the network's parameters under their own names (so that `mindspore.load_checkpoint` and
`load_param_into_net` work on them) a file holds the optimizer's state, the group weights, the
number of finished epochs, the settings of the run and, where it was stopped inside an epoch, what
that epoch had come to.
"""

import contextlib
import json
import logging
import math
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mindspore as ms
import numpy as np
from google.protobuf.message import DecodeError
from mindspore import Parameter, Tensor, nn
from mindspore.train.checkpoint_pb2 import Checkpoint as CheckpointFile

from corruptions.storage.files import naming, publish
from sharpdro.errors import RunError
from sharpdro.run_folder.csv_table import epochs_of
from sharpdro.run_folder.folder import LAST_CHECKPOINT, PREVIOUS_CHECKPOINT
from sharpdro.run_folder.reading import BROKEN, reason_of
from sharpdro.run_folder.settings import NotHereError, check_settings

# Bytes of a number, by MindSpore's names.
_SIZES = {
    **dict.fromkeys(("Bool", "Int8", "UInt8"), 1),
    **dict.fromkeys(("Int16", "UInt16", "Float16", "BFloat16"), 2),
    **dict.fromkeys(("Int32", "UInt32", "Float32"), 4),
    **dict.fromkeys(("Int64", "UInt64", "Float64"), 8),
}
_EPOCH, _SETTINGS = "finished_epoch", "settings_json"
UNFINISHED = "unfinished_json"  # is there where a run was stopped inside an epoch


@dataclass(frozen=True)
class Checkpoint:
    """What `load` finds.

    Args:
        parameters: by name.
        epoch: number of finished epochs.
        settings: of the run.
        unfinished: the state of its unfinished epoch.
        crc32: of the file, in hex.
    """

    parameters: dict[str, Parameter]
    epoch: int
    settings: dict
    unfinished: dict = field(default_factory=dict)
    crc32: str = ""


def save(
    path: Path,
    cell: nn.Cell,
    epoch: int,
    settings: dict,
    unfinished: dict | None = None,
    previous: Path | None = None,
    arrays: dict[str, np.ndarray] | None = None,
) -> None:
    """Write all parameters of the cell; the file appears only once it is complete and on disk.

    Args:
        path: ends in .ckpt.
        cell: the training step (everything needed to go on) or the network.
        epoch: number of finished epochs.
        settings: of the run, JSON-serialisable.
        unfinished: the state of the next epoch, JSON-serialisable; None if it is not begun.
        previous: where to move the file that is there.
        arrays: to be saved besides, by name.

    Raises:
        OSError: it cannot be written; nothing has changed then.
    """
    extra = {_EPOCH: epoch, _SETTINGS: json.dumps(settings)}
    if unfinished is not None:
        extra[UNFINISHED] = json.dumps(unfinished)
    parameters = [{"name": p.name, "data": p} for p in cell.get_parameters()]
    parameters += [{"name": name, "data": Tensor(a)} for name, a in (arrays or {}).items()]
    with naming(path), _partial(path) as partial:
        ms.save_checkpoint(parameters, str(partial), append_dict=extra, crc_check=True)
        # MindSpore makes its files read-only.
        partial.chmod(0o666 & ~_umask())
        if previous is not None and path.exists():
            publish(path, previous)
        publish(partial, path)


def _umask() -> int:
    umask = os.umask(0o077)  # there is no reading it without setting it
    os.umask(umask)
    return umask


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
        RunError: the file is missing, damaged, not one of this program's, or of a dataset or
            network that is not registered here.
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
        content, crc32 = _read(path)
        epoch, settings = int(content.pop(_EPOCH)), json.loads(str(content.pop(_SETTINGS)))
        unfinished = json.loads(str(content.pop(UNFINISHED, "{}")))
        if not isinstance(unfinished, dict):
            raise ValueError("its record of an unfinished epoch is not an object")
        check_settings(settings)
        if epoch < 0:
            raise ValueError(f"epoch {epoch}")
    except NotHereError as error:
        raise RunError(f"checkpoint {path} {error}") from error
    except (*BROKEN, RuntimeError) as error:
        raise RunError(
            f"checkpoint {path} is damaged or was not written by this program ({reason_of(error)})"
        ) from error
    return Checkpoint(content, epoch, settings, unfinished, crc32)


def read_arrays(path: Path) -> dict[str, Parameter | str]:
    """What lies in any MindSpore checkpoint, by name.

    MindSpore takes shapes and texts on trust: it makes arrays of any size that a few bytes
    declare, with memory that nobody has written, and texts of impossible characters. So these are
    checked first, and the checksum where there is one. Size and checksum alone would not do: files
    from elsewhere need not have one, and whoever makes a file can make it fit. That takes
    MindSpore's description of the format, `checkpoint_pb2`, which is not public; requirements.txt
    names the one version of MindSpore that it is tested with.

    Raises:
        ValueError, TypeError, RuntimeError, OSError: the file is damaged, or no such checkpoint.
    """
    arrays, _ = _read(path)
    return arrays


def _read(path: Path) -> tuple[dict[str, Parameter | str], str]:
    """The arrays, and the CRC-32 of the file; errors as of `read_arrays`."""
    content = path.read_bytes()
    _check_content(content)
    return ms.load_checkpoint(str(path)), f"{zlib.crc32(content):08x}"


def _check_content(content: bytes) -> None:
    message = CheckpointFile()
    if content[-17:-10] == b"crc_num":
        content, checksum = content[:-17], int.from_bytes(content[-10:], "big")
        if zlib.crc32(content) != checksum:
            raise ValueError("its checksum is wrong")
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise ValueError("it cannot be parsed") from error
    sizes = Counter()  # large arrays lie in several parts
    for element in message.value:
        sizes[element.tag] += len(element.tensor.tensor_content)
    for element in message.value:
        _check_tensor(element.tag, element.tensor, sizes[element.tag])


def _check_tensor(name, tensor, num_bytes: int) -> None:
    if tensor.tensor_type == "str":
        if not tensor.tensor_content.decode("utf-32-le"):
            raise ValueError(f"{name} is an empty text")
        return
    size = _SIZES.get(tensor.tensor_type)
    if size is None:
        raise ValueError(f"{name} holds {tensor.tensor_type!r:.80}, which is unknown")
    shape = [] if tensor.dims == [0] else tensor.dims
    if min(shape, default=1) < 1 or math.prod(shape) * size != num_bytes:
        raise ValueError(f"{name} has {num_bytes} bytes, which is not what its shape says")


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
        if not isinstance(stored, Parameter):
            problem = "is missing"
        elif stored.shape != parameter.shape:
            problem = f"has shape {tuple(stored.shape)}"
        elif stored.dtype != parameter.dtype:
            problem = f"holds {stored.dtype}, not {parameter.dtype}"
        else:
            continue
        raise RunError(
            f"checkpoint {path} is of another model: {parameter.name} {problem}, "
            f"expected {tuple(parameter.shape)}"
        )
    for parameter in cell.get_parameters():
        parameter.set_data(checkpoint.parameters[parameter.name])
