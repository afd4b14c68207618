"""What the processes of a distributed run tell one another inside a training step.

Each process has a part of every batch's images, and the labels and groups of all. It sends its
logits to the others, so that what is computed from logits (losses, group weights, scores,
penalties) is computed by every process for the whole batch, in the same words as by a single one.
Each differentiates by its own logits alone; the sum of the processes' gradients is the batch's.
"""

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

_map = ops.HyperMap()


class Exchange(nn.Cell):
    """The collective operations of one process.

    Args:
        rank: of this process, 0 … size−1.
        size: number of processes.
        sums_late: leave gradients as they are and sum the one that is descended, so that a
            perturbation follows each process's own images.
    """

    def __init__(self, rank: int, size: int, sums_late: bool = False):
        super().__init__(auto_prefix=False)
        self.rank, self.size = rank, size
        self.sums_late = sums_late
        # Set past the cell, which would register them: they are no part of what checkpoints hold.
        for name in ("stop_mine", "stop_sum"):
            zero = Parameter(Tensor([0], ms.float32), name=name, requires_grad=False)
            object.__setattr__(self, name, zero)
        self.all_gather = ops.AllGather()
        self.all_reduce = ops.AllReduce()

    def ask_to_stop(self) -> None:
        """Tell the other processes, with the next gradients, that this one is to stop."""
        self.stop_mine.set_data(Tensor([1], ms.float32))

    def is_asked_to_stop(self) -> bool:
        """Whether any process had asked before the last step; all say the same of a step."""
        return bool(self.stop_sum.asnumpy()[0])

    def gather(self, mine):
        """All processes' rows in their order, (b, …) to (size · b, …); others' are constants."""
        constant = ops.stop_gradient(mine)
        zeros = ops.zeros_like(constant)
        own = (zeros,) * self.rank + (mine - constant,) + (zeros,) * (self.size - self.rank - 1)
        return self.all_gather(constant) + ops.concat(own)

    def sum(self, tensors):
        """Element-wise sums over the processes of a tuple of float32 tensors, in one message.

        In which also goes who is asked to stop.
        """
        sizes = [tensor.size for tensor in tensors]
        total = self.all_reduce(ops.concat(_map(_flat, tensors) + (self.stop_mine,)))
        *sums, stop = ops.split(total, [*sizes, 1])
        noted = ops.assign(self.stop_sum, stop)
        return _map(_shaped, ops.depend(tuple(sums), noted), tensors)

    def all(self, flag):
        """Whether a bool () holds in every process."""
        holds = self.all_reduce(flag.astype("float32").reshape(1))
        return (holds == self.size).reshape(())


def _flat(tensor):
    return tensor.reshape(-1)


def _shaped(values, tensor):
    return values.reshape(tensor.shape)
