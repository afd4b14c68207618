"""What the processes of a distributed run send one another inside a training step.

Each process has a part of every batch's images, and the labels and groups of all. It sends its
logits to the others, so that what is computed from logits (losses, group weights, scores,
penalties) is computed by every process for the whole batch, in the same words as by a single one.
Each differentiates by its own logits alone; the sum of the processes' gradients is the batch's.
"""

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

_map = ops.HyperMap()
_assign = ops.Assign()


class Collectives(nn.Cell):
    """The collective operations of one process.

    Args:
        rank: of this process, 0 … size−1.
        size: number of processes.
        local_perturbation: sum only the gradient that is descended, so that a perturbation follows
            each process's own images.
    """

    def __init__(self, rank: int, size: int, local_perturbation: bool = False):
        super().__init__(auto_prefix=False)
        self.rank, self.size = rank, size
        self.local_perturbation = local_perturbation
        # Set past the cell, which would register them: they are no part of what checkpoints hold.
        for name in ("is_stopping", "num_stopping"):
            zero = Parameter(Tensor([0], ms.float32), name=name, requires_grad=False)
            object.__setattr__(self, name, zero)
        self.all_gather = ops.AllGather()
        self.all_reduce = ops.AllReduce()

    def request_stop(self) -> None:
        """Let the next gradients carry to all processes that this one is to stop."""
        self.is_stopping.set_data(Tensor([1], ms.float32))

    def is_stop_requested(self) -> bool:
        """Whether any process requested it before the last step; the same in all after a step."""
        return bool(self.num_stopping.asnumpy()[0])

    def gather(self, rows):
        """All processes' rows in their order, (b, …) to (size · b, …); others' are constants."""
        constant = ops.stop_gradient(rows)
        zeros = ops.zeros_like(constant)
        before, after = (zeros,) * self.rank, (zeros,) * (self.size - self.rank - 1)
        return self.all_gather(constant) + ops.concat(before + (rows - constant,) + after)

    def sum(self, tensors):
        """Element-wise sums over the processes of a tuple of float32 tensors, in one message.

        It also carries how many processes are to stop.
        """
        sizes = [tensor.size for tensor in tensors]
        total = self.all_reduce(ops.concat(_map(_flat, tensors) + (self.is_stopping,)))
        *sums, num_stopping = ops.split(total, [*sizes, 1])
        written = _assign(self.num_stopping, num_stopping)
        return _map(_shaped, ops.depend(tuple(sums), written), tensors)

    def all(self, flag):
        """Whether a bool () holds in every process."""
        holds = self.all_reduce(flag.astype("float32").reshape(1))
        return (holds == self.size).reshape(())


def _flat(tensor):
    return tensor.reshape(-1)


def _shaped(values, tensor):
    return values.reshape(tensor.shape)
