"""Which samples are the worst off, told without severity labels: out-of-distribution scores.

Every score is larger for what is more likely to be corrupted. `images` are normalised, float32
(B, 3, H, W); `logits`, `losses` are of the first pass, at θ; `perturbed` are the logits (B, C) of
the second, at θ + ε.
"""

from collections.abc import Callable
from typing import NamedTuple

from mindspore import ops

from sharpdro.methods.specs import OOD_SCORES


def confidence_drop(images, logits, losses, perturbed):
    """How far the perturbation lowers the largest softmax probability."""
    return _confidence(logits) - _confidence(perturbed)


def softmax(images, logits, losses, perturbed):
    """Minus the largest softmax probability (Hendrycks & Gimpel, ICLR 2017)."""
    return -_confidence(logits)


def energy(images, logits, losses, perturbed):
    """−log Σ_c exp(logit_c) (Liu et al., NeurIPS 2020, equation 4 with T = 1)."""
    # The same bits every time, which ops.logsumexp does not promise: see losses.py.
    return ops.log_softmax(logits, 1).max(1) - logits.max(1)


def entropy(images, logits, losses, perturbed):
    """Entropy of the softmax, in nats."""
    return -(ops.softmax(logits, 1) * ops.log_softmax(logits, 1)).sum(1)


def loss(images, logits, losses, perturbed):
    """The cross-entropy, which reads the class label."""
    return losses


def kurtosis(images, logits, losses, perturbed):
    """−(kurtosis of second differences · contrast)^¼, of the image alone; no network is asked.

    Differences between the pixels of natural images have heavy tails. Noise and blur make them more
    even (Zoran & Weiss, ICCV 2009), and haze lowers the contrast, so that the product falls. The
    root keeps the order, and a flat image, of score 0, near the others.
    """
    grey = images.mean(1)
    along_height = grey[:, 2:] - 2 * grey[:, 1:-1] + grey[:, :-2]
    difference = along_height[:, :, 2:] - 2 * along_height[:, :, 1:-1] + along_height[:, :, :-2]
    square = difference * difference
    mean_square = square.mean((1, 2))
    tails = (square * square).mean((1, 2)) / (mean_square * mean_square + 1e-12)
    deviation = grey - grey.mean((1, 2), keep_dims=True)
    contrast = ops.sqrt((deviation * deviation).mean((1, 2)))
    # Square roots have the same bits however they are shared out, logarithms have not: losses.py.
    return -ops.sqrt(ops.sqrt(tails * contrast))


class OODScore(NamedTuple):
    """A score.

    Args:
        function: of (images, logits, losses, perturbed), gives the scores.
        is_of_images: whether it is one of the images alone, in a distributed run of those that a
            process has; others are of what is known of the whole batch.
    """

    function: Callable
    is_of_images: bool = False


_SCORES = (
    *map(OODScore, (confidence_drop, softmax, energy, entropy, loss)),
    OODScore(kurtosis, is_of_images=True),
)
_OOD_SCORES = dict(zip(OOD_SCORES, _SCORES, strict=True))


def find_score(name: str) -> OODScore:
    """The score of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in _OOD_SCORES:
        raise ValueError(f"unknown ood_score {name!r}; choose one of {', '.join(OOD_SCORES)}")
    return _OOD_SCORES[name]


def min_max(scores):
    """Scores (B,) moved and scaled to [0, 1]; all 1 where all are equal."""
    span = scores.max() - scores.min()
    scaled = (scores - scores.min()) / ops.where(span > 0, span, ops.ones_like(span))
    return ops.where(span > 0, scaled, ops.ones_like(scores))


def _confidence(logits):
    return ops.softmax(logits, 1).max(1)
