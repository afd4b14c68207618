"""The graph is given each batch of an epoch once, in order, after the steps that are done."""

import numpy as np
from mindspore import nn

from dataset.batches import training_batches
from dataset.sets import TrainingSet
from sharpdro.training.batch_feed import BatchFeed


class Sums(nn.Cell):
    """Something of each of three inputs."""

    def construct(self, images, labels, groups):
        return images.astype("float32").sum(), labels.sum(), groups.sum()


def test_epochs_are_fed_in_order_and_go_on_inside(count=23):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
    labels, severities = (rng.integers(0, 5, count).astype(np.int32) for _ in range(2))
    data = TrainingSet(images, labels, severities, np.arange(count))

    def batches(epoch):
        return training_batches(data, 5, 1, epoch, False)

    feed = BatchFeed(Sums(), batches)
    for epoch, done in ((3, 2), (4, 0), (5, 0)):  # as after two finished epochs and two steps
        steps = list(feed.steps(epoch, done))
        expected = list(batches(epoch))[done:]
        assert len(steps) == len(expected) == 4 - done
        for (fed, outputs), batch in zip(steps, expected):
            assert np.array_equal(fed, batch.severities)
            sums = [batch.images.sum(), batch.labels.sum(), batch.groups.sum()]
            assert [output.asnumpy() for output in outputs] == sums
