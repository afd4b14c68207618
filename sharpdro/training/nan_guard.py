"""Undoes a training step whose result is not finite.

In float16 that is no accident but how the loss scale is found (Micikevicius et al., ICLR 2018,
section 3.2): it is doubled until a gradient overflows, the step is skipped, the scale is halved.
"""

import mindspore as ms
from mindspore import ParameterTuple, ops

from sharpdro.methods import parameters
from sharpdro.methods.base import StepCell, TrainStep

_FIRST_SCALE = 2.0**16
_STEPS_PER_DOUBLING = 2000
_map = ops.HyperMap()


def create_loss_scaler() -> ms.amp.DynamicLossScaler:
    """2¹⁶ at first; halved (at least 1) by every overflow, doubled after 2,000 steps without."""
    return ms.amp.DynamicLossScaler(_FIRST_SCALE, 2, _STEPS_PER_DOUBLING)


class NanGuard(StepCell):
    """A training step that is either applied or leaves everything bit by bit as it was.

    Everything is all parameters: of both passes, the optimizer, the group weights, the running
    statistics. The loss scale is adjusted to the step's outcome. A step that was undone still
    returns the results that it computed.

    Args:
        step: the training step.
    """

    def __init__(self, step: TrainStep):
        super().__init__(auto_prefix=False)
        self.step = step
        self.collectives = step.collectives
        floats = [p for p in step.get_parameters() if p.dtype == ms.float32]
        others = [p for p in step.get_parameters() if p.dtype != ms.float32]
        self.state = ParameterTuple(floats + others)
        self.num_floats = len(floats)
        self.scaler = step.loss_scaler
        self.outputs = (*step.outputs, "was_applied")
        if self.scaler is not None:  # so that they are in checkpoints
            self.loss_scale = self.scaler.scale_value
            self.finite_steps = self.scaler.counter
            self.outputs += ("loss_scale",)

    def construct(self, images, labels, groups):
        before = parameters.read(self.state, after=images)
        results = self.step(ops.depend(images, before), labels, groups)
        now = parameters.read(self.state, after=results)
        is_finite = ms.amp.all_finite(now[: self.num_floats] + results)
        if self.collectives is not None:
            is_finite = self.collectives.all(is_finite)
        kept = _map(ops.partial(_choose, is_finite), now, before)
        written = parameters.write(self.state, kept, after=now)
        if self.scaler is None:
            return ops.depend(results, written) + (is_finite,)
        adjusted = self.scaler.adjust(ops.depend(is_finite, written))
        results = ops.depend(results, (written, adjusted)) + (is_finite,)
        return results + parameters.read((self.loss_scale,), after=adjusted)


def guarded(step: TrainStep, on_nan: str) -> TrainStep | NanGuard:
    """The step, guarded where steps may be skipped: with on_nan "skip", or to find a loss scale."""
    return NanGuard(step) if on_nan == "skip" or step.loss_scaler is not None else step


def _choose(is_finite, new, old):
    return ops.where(is_finite, new, old)
