"""The classifiers: `create_model(name, num_classes)`."""

import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindspore import nn

# Each is imported when it is built, so that MODELS can be had without MindSpore.
_BUILDERS = {
    "wideresnet": "models.wide_resnet:WideResNet",
    "resnet18": "models.resnet:resnet18",
    "resnet50": "models.resnet:resnet50",
}
MODELS = tuple(_BUILDERS)


def create_model(name: str, num_classes: int, **settings) -> "nn.Cell":
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
    return pkgutil.resolve_name(_BUILDERS[name])(num_classes, **settings)
