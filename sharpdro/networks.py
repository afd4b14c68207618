"""Networks: as a run begins with them, and as it leaves them."""

from dataclasses import dataclass
from pathlib import Path

from mindspore import nn

from dataset.specs import DATASETS, DatasetSpec
from models import create_model
from models.layers import Normalize
from sharpdro import checkpoint
from sharpdro.errors import RunError


@dataclass(frozen=True)
class Trained:
    """What a checkpoint holds of use to others.

    Args:
        network: float32 (N, 3, H, W) to logits (N, num_classes), in evaluation mode.
        normalize: uint8 (N, H, W, 3) to what the network takes, as in training.
        spec: the dataset that it was trained on.
        epoch: number of finished epochs.
        settings: of its run.
    """

    network: nn.Cell
    normalize: nn.Cell
    spec: DatasetSpec
    epoch: int
    settings: dict


def create_network(
    model: str, spec: DatasetSpec, depth: int | None = None, widen_factor: int | None = None
) -> tuple[nn.Cell, nn.Cell]:
    """A network with initial weights of MindSpore's seed, and the normalisation in front of it.

    Args:
        model: one of `models.MODELS`.
        spec: the dataset.
        depth, widen_factor: of a wideresnet.
    """
    settings = {"depth": depth, "widen_factor": widen_factor} if model == "wideresnet" else {}
    return create_model(model, spec.num_classes, **settings), Normalize(spec.mean, spec.std)


def load_trained(path: Path) -> Trained:
    """The network in a checkpoint, ready to be used.

    Args:
        path: a run's best.ckpt, say.

    Raises:
        RunError: the file is missing, damaged, or not one of this program's.
    """
    stored = checkpoint.load(path)
    settings = stored.settings
    try:
        _check_size(settings, stored.parameters)
        spec = DATASETS[settings["dataset"]]
        network, normalize = create_network(
            settings["model"], spec, settings.get("depth"), settings.get("widen_factor")
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunError(
            f"checkpoint {path} is of a dataset or model that this program does not know ({error})"
        ) from error
    checkpoint.restore(network, stored, path)
    return Trained(network.set_train(False), normalize, spec, stored.epoch, settings)


def _check_size(settings, parameters):
    """See that no network is built which the file cannot hold, however large."""
    widest = max((size for p in parameters.values() for size in p.shape), default=0)
    most = {"depth": len(parameters), "widen_factor": widest}
    for name, limit in most.items():
        if not 0 <= (settings.get(name) or 0) <= limit:
            raise ValueError(f"{name} {settings[name]}, which is not what it holds")
