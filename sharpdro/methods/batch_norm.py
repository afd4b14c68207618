"""The running statistics of batch norm, which the second pass must leave as the first left them."""

from mindspore import ParameterTuple


def running_statistics(network) -> ParameterTuple:
    """The batch norms' running means and variances, in the network's order."""
    return ParameterTuple(
        [p for p in network.get_parameters() if p.name.endswith(("moving_mean", "moving_variance"))]
    )
