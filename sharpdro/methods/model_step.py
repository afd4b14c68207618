"""A training step for MindSpore's high-level API, `mindspore.train.Model`."""

from mindspore import nn

from sharpdro.methods.base import TrainStep


class ModelStep(nn.Cell):
    """What `Model(ModelStep(step)).train(…)` trains by: any method's step.

    It takes images, labels and groups, which a data set must have as its columns in this order, as
    normalised float32 (B, 3, H, W), int32 (B,) and int32 (B,). It returns a tuple: the mean loss of
    the batch at θ before the update, float32 (), which MindSpore's callbacks look for first; then
    what the step returns, in the order of its `outputs`.

    Args:
        step: from `create_train_step`.
    """

    def __init__(self, step: TrainStep):
        super().__init__(auto_prefix=False)
        self.step = step

    def __call__(self, images, labels, groups):
        """One step; where `Model` sinks data (`dataset_sink_mode`), the groups are not checked.

        Raises:
            ValueError: a group is not one of 0 … num_groups−1.
        """
        self.step.check_groups(groups)
        return super().__call__(images, labels, groups)

    def construct(self, images, labels, groups):
        results = self.step(images, labels, groups)
        return (results[0].mean(),) + results
