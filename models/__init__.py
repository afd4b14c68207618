"""The classifiers: `create_model(name, num_classes)`."""

from mindspore import nn

from models.resnet import resnet18, resnet50
from models.wide_resnet import WideResNet

_BUILDERS = {
    "wideresnet": WideResNet,
    "resnet18": resnet18,
    "resnet50": resnet50,
}
MODELS = tuple(_BUILDERS)


def create_model(name: str, num_classes: int, **settings) -> nn.Cell:
    """Build a classifier: float32 (N, 3, H, W) to logits (N, num_classes).

    Args:
        name: one of MODELS.
        num_classes: number of logits.
        settings: `depth` and `widen_factor` for wideresnet (default 28 and 2);
            `layers` for all, which makes the convolutions, see `models.layers.Layers`.

    Raises:
        ValueError: unknown name, or a setting out of range.
    """
    if name not in _BUILDERS:
        raise ValueError(f"unknown model {name!r}; choose one of {', '.join(MODELS)}")
    return _BUILDERS[name](num_classes, **settings)
