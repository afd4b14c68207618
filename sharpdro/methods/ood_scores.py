"""Which samples are the worst off, told without severity labels: out-of-distribution scores.

Every score is larger for what is more likely to be corrupted. `logits`, `losses` are of the first
pass, at θ; `perturbed` are the logits (B, C) of the second, at θ + ε.
"""

from mindspore import ops

from sharpdro.methods.specs import OOD_SCORES


def confidence_drop(logits, losses, perturbed):
    """How far the perturbation lowers the largest softmax probability."""
    return _confidence(logits) - _confidence(perturbed)


def softmax(logits, losses, perturbed):
    """Minus the largest softmax probability (Hendrycks & Gimpel, ICLR 2017)."""
    return -_confidence(logits)


def energy(logits, losses, perturbed):
    """−log Σ_c exp(logit_c) (Liu et al., NeurIPS 2020, equation 4 with T = 1)."""
    # The same bits every time, which ops.logsumexp does not promise: see losses.py.
    return ops.log_softmax(logits, 1).max(1) - logits.max(1)


def entropy(logits, losses, perturbed):
    """Entropy of the softmax, in nats."""
    return -(ops.softmax(logits, 1) * ops.log_softmax(logits, 1)).sum(1)


def loss(logits, losses, perturbed):
    """The cross-entropy, which reads the class label."""
    return losses


_OOD_SCORES = dict(zip(OOD_SCORES, (confidence_drop, softmax, energy, entropy, loss), strict=True))


def score_function(name: str):
    """The score of this name, a function of (logits, losses, perturbed).

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
