"""The learning rate by epoch."""

import math

# Share of the epochs done, and the factor on the base learning rate from there on.
_DROPS = ((0.8, 0.008), (0.6, 0.04), (0.3, 0.2))


def learning_rate_at(
    epoch: int, total_epoch: int, base: float, scheduler: str = "step", warmup_epochs: int = 0
) -> float:
    """Learning rate of an epoch.

    Args:
        epoch: 1 … total_epoch.
        total_epoch: number of epochs of the run.
        base: the learning rate that the schedule starts from.
        scheduler: step drops it to a fifth after 30 %, 60 % and 80 % of the epochs; cosine lowers
            it in every epoch after the warm-up, along half a cosine that reaches 0 behind the last
            (Loshchilov & Hutter, ICLR 2017, equation 5, without restarts); none keeps it.
        warmup_epochs: W < total_epoch; epoch e of the first W has e / (W + 1) of it.

    >>> [learning_rate_at(epoch, 10, 1.0) for epoch in (1, 3, 4, 6, 7, 8, 9)]
    [1.0, 1.0, 0.2, 0.2, 0.04, 0.04, 0.008]
    >>> [round(learning_rate_at(epoch, 6, 1.0, "cosine", 2), 3) for epoch in range(1, 7)]
    [0.333, 0.667, 1.0, 0.854, 0.5, 0.146]
    """
    rate = _SCHEDULES[scheduler](epoch, total_epoch, base, warmup_epochs)
    return rate * epoch / (warmup_epochs + 1) if epoch <= warmup_epochs else rate


def _step(epoch, total_epoch, base, warmup_epochs):
    for share, factor in _DROPS:
        # Compared as the integers they are: 10 · 0.3 is not exactly 3.
        if (epoch - 1) * 10 >= round(share * 10) * total_epoch:
            return base * factor
    return base


def _cosine(epoch, total_epoch, base, warmup_epochs):
    share = max(0, epoch - 1 - warmup_epochs) / (total_epoch - warmup_epochs)
    return base * (1 + math.cos(math.pi * share)) / 2


def _constant(epoch, total_epoch, base, warmup_epochs):
    return base


_SCHEDULES = {"step": _step, "cosine": _cosine, "none": _constant}
