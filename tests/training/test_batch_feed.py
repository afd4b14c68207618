"""What steps came to, fetched for several at once."""

import numpy as np
from mindspore import Tensor
from small_network import SmallNetwork, load, make_batches, random_parameters

from dataset.batches import Batch
from sharpdro import create_sgd, create_train_step
from sharpdro.training.batch_feed import BatchFeed


def epoch_of_batches(epoch):
    rng = np.random.default_rng(epoch)
    for images, labels, groups in make_batches(rng, 5):
        groups = groups.astype(np.int32)
        yield Batch(images.astype(np.float32), labels.astype(np.int32), groups, groups)


def assert_same(first, second):
    for name, value in first._asdict().items():
        np.testing.assert_array_equal(value, getattr(second, name), err_msg=name)


def test_results_of_several_steps_are_those_of_each():
    """Later steps change the parameters, and nothing in the results of earlier ones."""
    network = SmallNetwork()
    load(network, random_parameters(np.random.default_rng(0)))
    optimizer = create_sgd(network.trainable_params(), 0.1, 0.9, 0.0)
    settings = {"step_size": 0.5, "group_sizes": [9, 9, 9, 0]}
    step = create_train_step("groupdro", network, optimizer, 4, **settings)
    start = {p.name: p.asnumpy().copy() for p in step.get_parameters()}
    feed = BatchFeed(step, epoch_of_batches)
    each = [finished for number in feed.steps(3, 0) for finished in feed.fetch()]
    assert [finished.number for finished in each] == [1, 2, 3, 4, 5] and not feed.fetch()
    for parameter in step.get_parameters():
        parameter.set_data(Tensor(start[parameter.name]))
    assert list(feed.steps(3, 0)) == [1, 2, 3, 4, 5]
    for one, other in zip(each, feed.fetch(), strict=True):
        assert one.number == other.number
        np.testing.assert_array_equal(one.severities, other.severities)
        assert_same(one.result, other.result)
    weights = [finished.result.group_weights for finished in each]
    assert len({w.tobytes() for w in weights}) == 5
    np.testing.assert_array_equal(weights[-1], step.group_weights.asnumpy())


def test_finished_steps_are_left_out():
    feed = BatchFeed(lambda images, labels, groups: None, epoch_of_batches)
    assert list(feed.steps(1, 3)) == [4, 5]
