"""The running statistics of batch norm, which the second pass must leave as the first left them."""

import mindspore as ms
from mindspore import ParameterTuple, nn


def running_statistics(network: nn.Cell) -> ParameterTuple:
    """The batch norms' running means and variances, in the network's order; often none.

    Whatever their names are: all float32 parameters that are not trained.
    """
    untrained = [p for p in network.get_parameters() if not p.requires_grad]
    return ParameterTuple([p for p in untrained if p.dtype == ms.float32])
