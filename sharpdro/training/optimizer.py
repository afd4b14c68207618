"""Stochastic gradient descent as the method uses it."""

from mindspore import nn


def create_sgd(params, learning_rate: float, momentum: float, weight_decay: float) -> nn.Optimizer:
    """SGD without Nesterov or dampening, weight decay on every parameter.

    v ← momentum · v + (∇ + weight_decay · θ);  θ ← θ − learning_rate · v.

    nn.SGD leaves batch norm's scale and shift out of the weight decay unless the parameters come
    as a group with a weight decay of its own, so they do.
    """
    group = [{"params": list(params), "weight_decay": float(weight_decay)}]
    return nn.SGD(group, learning_rate=float(learning_rate), momentum=float(momentum))
