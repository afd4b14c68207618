"""Networks: as a run begins with them, and as it leaves them."""

from dataclasses import dataclass
from pathlib import Path

from mindspore import nn

from dataset.specs import DatasetSpec, spec_of
from models import create_model
from models.layers import Normalize
from sharpdro.cpu_kernels.build import check_model
from sharpdro.cpu_kernels.layers import Layers
from sharpdro.device import AVX512_KERNELS
from sharpdro.errors import RunError
from sharpdro.finiteness import check_network
from sharpdro.networks.own import create_own_network
from sharpdro.own_code import MissingError, is_place
from sharpdro.run_folder import checkpoint
from sharpdro.run_folder.folder import BEST_CHECKPOINT, LAST_CHECKPOINT
from sharpdro.run_folder.reading import reason_of


@dataclass(frozen=True)
class Trained:
    """What a checkpoint holds of use to others.

    Args:
        network: float32 (N, 3, H, W) to logits (N, num_classes), in evaluation mode.
        normalize: uint8 (N, H, W, 3) to what the network takes, as in training.
        spec: the dataset that it was trained on.
        epoch: number of finished epochs.
        settings: of its run.
        crc32: of the file, in hex.
    """

    network: nn.Cell
    normalize: nn.Cell
    spec: DatasetSpec
    epoch: int
    settings: dict
    crc32: str


def create_network(
    model: str,
    spec: DatasetSpec,
    depth: int | None = None,
    widen_factor: int | None = None,
    cpu_kernels: str = "stock",
) -> tuple[nn.Cell, nn.Cell]:
    """A network with initial weights of MindSpore's seed, and the normalisation in front of it.

    Args:
        model: one of `models.MODELS`, or the place of one of the user's own.
        spec: the dataset.
        depth, widen_factor: of a wideresnet.
        cpu_kernels: one of `device.CPU_KERNELS`, `device.prepare_kernels` called with it; the
            parameters are the same.

    Raises:
        RunError: those kernels cannot be had here or for this network; a network of the user's own
            cannot be made.
    """
    normalize = Normalize(spec.mean, spec.std)
    check_model(cpu_kernels, model)
    if is_place(model):
        return create_own_network(model, spec.num_classes), normalize
    settings = {"depth": depth, "widen_factor": widen_factor} if model == "wideresnet" else {}
    if cpu_kernels != "stock":
        settings["layers"] = Layers(has_pointwise=cpu_kernels == AVX512_KERNELS)
    return create_model(model, spec.num_classes, **settings), normalize


def load_trained(path: Path | str, cpu_kernels: str = "stock") -> Trained:
    """The network in a checkpoint, ready to be used.

    Args:
        path: a run's best.ckpt, say.
        cpu_kernels: see `create_network`; those of the run do not matter.

    Raises:
        RunError: the file is missing, damaged, not one of this program's, saved inside an epoch,
            or holds numbers that no network has, see `check_network`.
    """
    path = Path(path)
    stored = checkpoint.load(path)
    if stored.unfinished:  # neither that epoch's network nor that of the one before
        is_last = path.name == LAST_CHECKPOINT
        kept = [n for n in (BEST_CHECKPOINT, LAST_CHECKPOINT) if path.with_name(n).exists()]
        advice = ["finish it with --resume"] * is_last
        advice += [f"name its {name}" for name in kept if name != path.name]
        raise RunError(
            f"checkpoint {path} was saved inside epoch {stored.epoch + 1}, when its run was "
            f"stopped: {', or '.join(advice) or 'name another'}"
        )
    settings = stored.settings
    try:
        _check_size(settings, stored.parameters)
        spec = spec_of(settings["dataset"], settings.get("side"), settings.get("class_names"))
        network, normalize = create_network(
            settings["model"],
            spec,
            settings.get("depth"),
            settings.get("widen_factor"),
            cpu_kernels,
        )
    except MissingError as error:
        raise RunError(f"checkpoint {path} was trained with {error}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise RunError(
            f"checkpoint {path} is of a dataset or network that cannot be made ({reason_of(error)})"
        ) from error
    checkpoint.restore(network, stored, path)
    arrays = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    check_network(f"checkpoint {path}", arrays)
    network.set_train(False)
    return Trained(network, normalize, spec, stored.epoch, settings, stored.crc32)


def _check_size(settings: dict, parameters: dict) -> None:
    """Refuse settings of a network far larger than the parameters, before it is made."""
    depth, widen_factor = settings.get("depth") or 0, settings.get("widen_factor") or 0
    widths = (max(p.shape, default=0) for p in parameters.values() if hasattr(p, "shape"))
    if depth > len(parameters) + 4 or widen_factor > max(widths, default=0):
        raise ValueError(f"its parameters are not those of depth {depth}, width {widen_factor}")
