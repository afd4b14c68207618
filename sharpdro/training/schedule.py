"""The learning rate by epoch."""

# Share of the epochs done, and the factor on the base learning rate from there on.
_DROPS = ((0.8, 0.008), (0.6, 0.04), (0.3, 0.2))


def learning_rate_at(epoch: int, total_epoch: int, base: float, use_schedule: bool = True) -> float:
    """Learning rate of an epoch: dropped to a fifth after 30 %, 60 % and 80 % of the epochs.

    Args:
        epoch: 1 … total_epoch.
        total_epoch: number of epochs of the run.
        base: learning rate at the start.
        use_schedule: False: `base` throughout.

    >>> [learning_rate_at(epoch, 10, 1.0) for epoch in (1, 3, 4, 6, 7, 8, 9)]
    [1.0, 1.0, 0.2, 0.2, 0.04, 0.04, 0.008]
    """
    if use_schedule:
        for share, factor in _DROPS:
            # Compared as the integers they are: 10 · 0.3 is not exactly 3.
            if (epoch - 1) * 10 >= round(share * 10) * total_epoch:
                return base * factor
    return base
