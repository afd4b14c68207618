"""Both ways of feeding give the same steps; MindSpore's queue is for other devices than CPUs."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from dataset.batches import training_batches
from dataset.sets import TrainingSet
from sharpdro.training.batch_feed import HostFeed, SinkFeed


class Sums(nn.Cell):
    """Something of each of three inputs."""

    def construct(self, images, labels, groups):
        return images.astype("float32").sum(), labels.sum(), groups.sum()


def training_set(rng, count=23):
    images = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
    labels, severities = (rng.integers(0, 5, count).astype(np.int32) for _ in range(2))
    return TrainingSet(images, labels, severities, np.arange(count))


def fake_data_sink(graph, dataset):
    """What `mindspore.data_sink` does on other devices: the dataset over and over."""
    assert dataset.get_dataset_size() == 3 * 4 - 2 and len(dataset.output_types()) == 4
    rows = dataset.create_tuple_iterator(num_epochs=-1)

    def endless():
        while True:
            yield from rows

    batches = endless()
    return lambda: graph(*next(batches))


def test_queue_holds_the_same_epochs(monkeypatch):
    monkeypatch.setattr(ms, "data_sink", fake_data_sink)
    data = training_set(np.random.default_rng(0))

    def batches(epoch):
        return training_batches(data, 5, 1, epoch, False)

    feeds = [feed(Sums(), batches, 4, 5) for feed in (HostFeed, SinkFeed)]
    for epoch, done in ((3, 2), (4, 0), (5, 0)):  # as after two finished epochs and two steps
        handed, fetched = (list(feed.steps(epoch, done)) for feed in feeds)
        assert len(handed) == len(fetched) == 4 - done
        expected = [batch.severities for batch in batches(epoch)][done:]
        assert np.array_equal([severities for severities, _ in handed], expected)
        for (severities, outputs), (others, found) in zip(handed, fetched):
            assert (severities == others).all()
            assert [o.asnumpy() for o in outputs] == [f.asnumpy() for f in found]


def test_mindspore_has_no_queue_for_cpus():
    data = training_set(np.random.default_rng(0))
    feed = SinkFeed(Sums(), lambda epoch: training_batches(data, 5, 1, epoch, False), 4, 5)
    with pytest.raises(ValueError, match="supports ascend or gpu"):
        next(feed.steps(1, 0))
