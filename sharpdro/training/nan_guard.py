"""Taking back a training step that came to something infinite or not a number.

In float16 that is no accident but how the loss scale is found (Micikevicius et al., ICLR 2018,
section 3.2): it is doubled until a gradient overflows, the step is skipped, the scale is halved.
"""

import mindspore as ms
from mindspore import ParameterTuple, nn, ops

from sharpdro.methods import parameters
from sharpdro.methods.create import TrainStep

_FIRST_SCALE = 2.0**16
_STEPS_PER_DOUBLING = 2000
_map = ops.HyperMap()


def create_loss_scaler() -> ms.amp.DynamicLossScaler:
    """2¹⁶ at first; halved (at least 1) by every overflow, doubled after 2,000 steps without."""
    return ms.amp.DynamicLossScaler(_FIRST_SCALE, 2, _STEPS_PER_DOUBLING)


class Guard(nn.Cell):
    """A training step that either happens or leaves everything bit by bit as it was.

    Everything is all parameters: of both passes, the optimizer, the group weights, the running
    statistics. The loss scale is adjusted as it was told by the step's outcome.

    Args:
        step: the training step.
    """

    def __init__(self, step: TrainStep):
        super().__init__(auto_prefix=False)
        self.step = step
        floats = [p for p in step.get_parameters() if p.dtype == ms.float32]
        others = [p for p in step.get_parameters() if p.dtype != ms.float32]
        self.state = ParameterTuple(floats + others)
        self.num_floats = len(floats)
        self.scaler = step.loss_scaler
        if self.scaler is not None:  # so that they are in checkpoints
            self.loss_scale = self.scaler.scale_value
            self.finite_steps = self.scaler.counter

    def construct(self, images, labels, groups):
        """What the step returns, and whether it happened: a bool () that comes last."""
        before = parameters.read(self.state, after=images)
        results = self.step(ops.depend(images, before), labels, groups)
        now = parameters.read(self.state, after=results)
        happened = ms.amp.all_finite(now[: self.num_floats] + results)
        if self.step.collectives is not None:
            happened = self.step.collectives.all(happened)
        kept = _map(ops.partial(_choose, happened), now, before)
        written = parameters.write(self.state, kept, after=now)
        if self.scaler is not None:
            written = written, self.scaler.adjust(ops.depend(happened, written))
        return ops.depend(results, written) + (happened,)

    def can_scale_less(self) -> bool:
        """Whether a gradient that overflowed may not overflow at a smaller loss scale."""
        return self.scaler is not None and float(self.loss_scale.asnumpy()) > 1


def _choose(happened, new, old):
    return ops.where(happened, new, old)
