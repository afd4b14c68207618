"""Checkpoints: MindSpore .ckpt files that hold everything a run needs to go on.

Besides the network's parameters under their own names (so that `mindspore.load_checkpoint` and
`load_param_into_net` work on them) a file holds the optimizer's state, the group weights, the
number of finished epochs and the settings of the run.
"""

import json
import math
import os
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
from google.protobuf.message import DecodeError
from mindspore import Parameter, nn
from mindspore.train.checkpoint_pb2 import Checkpoint as CheckpointFile

from sharpdro.errors import RunError
from sharpdro.reading import BROKEN, reason_of
from sharpdro.run_log import LAST_CHECKPOINT, epochs_of
from sharpdro.settings import check_settings

# Bytes of a number, by MindSpore's names.
_SIZES = {
    **dict.fromkeys(("Bool", "Int8", "UInt8"), 1),
    **dict.fromkeys(("Int16", "UInt16", "Float16", "BFloat16"), 2),
    **dict.fromkeys(("Int32", "UInt32", "Float32"), 4),
    **dict.fromkeys(("Int64", "UInt64", "Float64"), 8),
}
_EPOCH, _SETTINGS = "finished_epoch", "settings_json"


@dataclass(frozen=True)
class Checkpoint:
    """Parameters by name, number of finished epochs, settings of the run."""

    parameters: dict[str, Parameter]
    epoch: int
    settings: dict


def save(path: Path, cell: nn.Cell, epoch: int, settings: dict) -> None:
    """Write all parameters of the cell; the file appears only once it is complete and on disk.

    Args:
        path: ends in .ckpt.
        cell: the training step (everything needed to go on) or the network.
        epoch: number of finished epochs.
        settings: of the run, JSON-serialisable.
    """
    partial = path.with_name(f".{path.stem}.partial.ckpt")
    partial.unlink(missing_ok=True)
    extra = {_EPOCH: epoch, _SETTINGS: json.dumps(settings)}
    parameters = [{"name": p.name, "data": p} for p in cell.get_parameters()]
    ms.save_checkpoint(parameters, str(partial), append_dict=extra, crc_check=True)
    # MindSpore makes its files read-only, which would forbid opening them to flush.
    partial.chmod(0o644)
    with open(partial, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


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
        content = read_arrays(path, crc_check=True)
        epoch, settings = int(content.pop(_EPOCH)), json.loads(str(content.pop(_SETTINGS)))
        check_settings(settings)
        if epoch < 0:
            raise ValueError(f"epoch {epoch}")
    except (*BROKEN, RuntimeError) as error:
        raise RunError(
            f"checkpoint {path} is damaged or was not written by this program ({reason_of(error)})"
        ) from error
    return Checkpoint(content, epoch, settings)


def read_arrays(path: Path, crc_check: bool = False) -> dict[str, Parameter | str]:
    """What lies in any MindSpore checkpoint, by name.

    MindSpore takes shapes and texts on trust: it makes arrays of any size that a few bytes
    declare, with memory that nobody has written, and texts of impossible characters. So these are
    checked first.

    Raises:
        ValueError, TypeError, RuntimeError, OSError: the file is damaged, or no such checkpoint.
    """
    _check_content(path.read_bytes())
    return ms.load_checkpoint(str(path), crc_check=crc_check)


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
    if min(shape, default=0) < 0 or math.prod(shape) * size != num_bytes:
        raise ValueError(f"{name} has {num_bytes} bytes, which is not what its shape says")


def load_last(folder: Path) -> Checkpoint | None:
    """The checkpoint of a run's last finished epoch; None where no epoch was finished.

    Raises:
        RunError: the run cannot go on, because a file is missing or damaged.
    """
    path = folder / LAST_CHECKPOINT
    tables = [folder / name for name in ("train.csv", "val.csv", "test.csv")]
    if not path.exists():
        if any(epoch > 1 for table in tables for epoch in epochs_of(table)):
            raise RunError(
                f"{path} is missing, so the run cannot be resumed: choose another --desc, "
                f"or delete {folder} to start again"
            )
        return None
    for table in tables:
        if not table.exists():
            raise RunError(f"{table} is missing: restore it, or choose another --desc")
    return load(path)


def restore(cell: nn.Cell, checkpoint: Checkpoint, path: Path) -> None:
    """Set all parameters of the cell from the checkpoint.

    Raises:
        RunError: a parameter of the cell is missing in the checkpoint or has another shape.
    """
    for parameter in cell.get_parameters():
        stored = checkpoint.parameters.get(parameter.name)
        if not isinstance(stored, Parameter):
            found = "is missing"
        elif stored.shape != parameter.shape:
            found = f"has shape {tuple(stored.shape)}"
        elif stored.dtype != parameter.dtype:
            found = f"holds {stored.dtype}, not {parameter.dtype}"
        else:
            continue
        raise RunError(
            f"checkpoint {path} is of another model: {parameter.name} {found}, "
            f"expected {tuple(parameter.shape)}"
        )
    for parameter in cell.get_parameters():
        parameter.set_data(checkpoint.parameters[parameter.name])
