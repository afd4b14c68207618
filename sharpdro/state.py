"""Reading and writing many parameters inside a compiled graph, in a certain order.

In graph mode only data dependencies order the reads and writes of a parameter, so each function
here takes `after`, what must have been computed first, and the writers return something that
later stages can depend on.
"""

from mindspore import ops


def read(parameters, after):
    """Copies of the parameters' values as they are once `after` has been computed."""
    values = ()
    for parameter in parameters:
        values += (ops.depend(parameter, after) + 0.0,)
    return values


def write(parameters, values, after):
    """Overwrite the parameters by the values in their order, once `after` has been computed."""
    done = ()
    for parameter, value in zip(parameters, values):
        done += (ops.assign(parameter, ops.depend(value, after)),)
    return done


def add(left, right):
    """Element-wise sum of two tuples of tensors."""
    total = ()
    for a, b in zip(left, right):
        total += (a + b,)
    return total
