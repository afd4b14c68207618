"""Reading and writing many parameters inside a compiled graph, in a certain order.

In graph mode only data dependencies order the reads and writes of a parameter, so each function
here takes `after`, what must have been computed first, and the writers return something that
later stages can depend on. They map over tuples because loops take several times as long to
compile.
"""

from mindspore import ParameterTuple, nn, ops

_map = ops.HyperMap()
_assign = ops.Assign()


def read(parameters, after):
    """Copies of the parameters' values as they are once `after` has been computed."""
    if not parameters:  # a network without batch norm has no statistics
        return ()
    return _map(ops.partial(_read, after), parameters)


def write(parameters, values, after):
    """Overwrite the parameters by the values in their order, once `after` has been computed.

    Values beyond the last parameter are not kept.
    """
    if not parameters:
        return ()
    return _map(ops.partial(_write, after), parameters, values[: len(parameters)])


def add(left, right):
    """Element-wise sum of two tuples of tensors."""
    return _map(_add, left, right)


def scale(tensors, factor):
    """Each of a tuple of tensors times the same scalar."""
    return _map(ops.partial(_scale, factor), tensors)


def momentum_buffers(optimizer: nn.Optimizer) -> ParameterTuple:
    """What the optimizer remembers of earlier gradients: 0 in a new one.

    Raises:
        ValueError: it is not MindSpore's SGD or Momentum. (Adam also counts its steps, and reads
            its count before anything that a graph could make it wait for.)
    """
    if not isinstance(optimizer, nn.SGD | nn.Momentum):
        raise ValueError(
            f"the momentum of {type(optimizer).__name__} cannot start anew after a warm-up: use "
            f"SGD or Momentum, or no warm-up"
        )
    prefixes = ("accum.", "moments.")
    return ParameterTuple(p for p in optimizer.get_parameters() if p.name.startswith(prefixes))


def _read(after, parameter):
    return ops.depend(parameter, after) + 0


def _write(after, parameter, value):
    return _assign(parameter, ops.depend(value, after))


def _add(a, b):
    return a + b


def _scale(factor, tensor):
    return factor * tensor
