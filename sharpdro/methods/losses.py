"""A cross-entropy that gives the same bits every time.

On a CPU MindSpore tries several ways of sharing out an elementwise operation among threads while
the program runs, and keeps the fastest. A logarithm's last bit depends on where a share ends, so
`ops.cross_entropy`, which takes elementwise logarithms, may differ between a run and the same run
again, or one that was resumed; group weights would carry that into the network.
`ops.log_softmax` shares out whole rows.
"""

from mindspore import ops


def cross_entropy(logits, labels):
    """Per-sample cross-entropy (B,) of logits (B, C) and labels (B,).

    It is NaN where a label is not one of 0 … C−1: without the division it would be 0, in silence.
    """
    log_probabilities = ops.log_softmax(logits, 1)
    is_label = ops.one_hot(labels, logits.shape[1], 1.0, 0.0).astype(logits.dtype)
    return -(log_probabilities * is_label).sum(1) / is_label.sum(1)
