"""Starting from weights that were trained elsewhere."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn

from sharpdro.errors import RunError
from sharpdro.finiteness import check_network
from sharpdro.run_folder.checkpoint import UNFINISHED, read_arrays
from sharpdro.run_folder.reading import BROKEN, reason_of

# PyTorch's names of what MindSpore calls otherwise; with them our ResNets are torchvision's.
_TORCH_NAMES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_MAX_NAMED = 5


def load_pretrained(network: nn.Cell, path: Path) -> str:
    """Give a network the weights and running statistics in a file.

    The classifier, if the network names it in `CLASSIFIER`, starts anew where the file has none or
    one for another number of classes. Everything else must fit: every array of the network there,
    in its shape, and no further ones for parts of the network, as a deeper network would have.

    Args:
        network: from `networks.build.create_network`.
        path: a MindSpore checkpoint with the network's own names, such as a run's best.ckpt; or a
            .safetensors file with torchvision's.

    Returns:
        A message about what was taken.

    Raises:
        RunError: the file is missing or damaged, or does not fit.
    """
    if not path.is_file():
        raise RunError(f"--pretrained {path} is not a file: name a .ckpt or .safetensors file")
    is_torch = path.suffix == ".safetensors"
    stored, remark = (_read_safetensors(path), "") if is_torch else _read_checkpoint(path)
    parameters = {
        (_torch_name(p.name) if is_torch else p.name): p for p in network.get_parameters()
    }
    unfit = _unfit(parameters, stored)
    classifier = getattr(network, "CLASSIFIER", None)
    head = {name for name in unfit if name.split(".")[0] == classifier}
    if unfit.keys() - head:
        _refuse(path, {name: why for name, why in unfit.items() if name not in head})
    with np.errstate(over="ignore"):
        taken = {n: stored[n].astype(np.float32) for n in parameters if n not in head}
    check_network(f"--pretrained {path}", taken)
    for name, value in taken.items():
        parameters[name].set_data(Tensor(value))
    count = f"{len(taken)} of the network's {len(parameters)} arrays"
    text = f"pretrained: {count} are from {path}{remark}"
    reasons = "; ".join(unfit[name] for name in sorted(head))
    return f"{text}; {classifier} starts anew ({reasons})" if head else text


def _torch_name(name: str) -> str:
    parent, _, last = name.rpartition(".")
    return f"{parent}.{_TORCH_NAMES.get(last, last)}"


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    try:
        stored = load_file(path)
    except OSError:
        raise
    except Exception as error:  # foreign bytes, or numbers that NumPy does not know
        raise RunError(f"--pretrained {path} cannot be read: {reason_of(error)}") from error
    return {k: v for k, v in stored.items() if not k.endswith(".num_batches_tracked")}


def _read_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The arrays, and what is to be said of the file."""
    try:
        stored = read_arrays(path)
        remark = ", saved inside an epoch, when its run was stopped" * (UNFINISHED in stored)
        return {k: v.asnumpy() for k, v in stored.items() if hasattr(v, "asnumpy")}, remark
    except (*BROKEN, RuntimeError) as error:
        raise RunError(
            f"--pretrained {path} is no MindSpore checkpoint, nor named .safetensors "
            f"({reason_of(error)})"
        ) from error


def _unfit(parameters: Mapping, stored: Mapping[str, np.ndarray]) -> dict[str, str]:
    """What does not fit, and why, by name."""
    unfit = {}
    for name, parameter in parameters.items():
        expected = tuple(parameter.shape)
        if name not in stored:
            unfit[name] = f"{name} is missing"
        elif stored[name].shape != expected:
            unfit[name] = f"{name} has shape {stored[name].shape}, not {expected}"
        elif stored[name].dtype.kind != "f":
            unfit[name] = f"{name} holds {stored[name].dtype}, not floats"
    parts = {name.split(".")[0] for name in parameters}
    for name in stored.keys() - parameters.keys():
        if name.split(".")[0] in parts:  # optimizer states, say, are under names of their own
            unfit[name] = f"{name} is too much"
    return unfit


def _refuse(path: Path, unfit: dict[str, str]) -> None:
    named = "; ".join(unfit[name] for name in sorted(unfit)[:_MAX_NAMED])
    others = len(unfit) - _MAX_NAMED
    more = f"; and {others} more" if others > 0 else ""
    raise RunError(
        f"--pretrained {path} is of another network than -m and its flags say: {named}{more}"
    )
