"""Loss and accuracy, against NumPy."""

import numpy as np
import pytest
from mindspore import Tensor
from oracle import SLOPE, losses, windows
from small_network import SmallNetwork, load, random_parameters

from dataset.batches import evaluation_batches
from dataset.sets import EvaluationSet
from models.layers import Normalize
from sharpdro.distributed.process_group import SingleProcess
from sharpdro.evaluation.evaluator import Evaluator, for_each_severity
from sharpdro.evaluation.scores import Score, mean_score, worst_score

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


@pytest.fixture
def network():
    rng = np.random.default_rng(0)
    network = SmallNetwork()
    load(network, random_parameters(rng))
    network.norm.moving_mean.set_data(Tensor(rng.normal(0, 1, 4).astype(np.float32)))
    network.norm.moving_variance.set_data(Tensor(rng.uniform(1, 2, 4).astype(np.float32)))
    return network


def expected_score(network, images, labels):
    """With running statistics, in float64."""
    p = {q.name: q.asnumpy().astype(np.float64)[...] for q in network.get_parameters()}
    x = ((images / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    x = np.einsum("bchwij,ocij->bohw", windows(x), p["conv.weight"])
    mean, variance, gamma, beta = (
        p[f"norm.{name}"][:, None, None]
        for name in ("moving_mean", "moving_variance", "gamma", "beta")
    )
    x = (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    x = np.where(x > 0, x, SLOPE * x).mean((2, 3))
    logits = x @ p["classifier.weight"].T + p["classifier.bias"]
    return losses(logits, labels).mean(), (logits.argmax(1) == labels).mean()


def test_score_counts_every_image_once(network):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (11, 6, 5, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, 11).astype(np.int32)
    last = np.array([8, 9, 10, 10])
    batches = [(images[:4], labels[:4], 4), (images[4:8], labels[4:8], 4)]
    batches.append((images[last], labels[last], 3))
    network.set_train(True)
    before = network.norm.moving_mean.asnumpy().copy()
    score = Evaluator(network, Normalize(MEAN, STD))(batches)
    loss, accuracy = expected_score(network, images, labels)
    assert score.loss == pytest.approx(loss, rel=1e-5)
    assert score.accuracy == pytest.approx(accuracy) and score.count == 11
    assert network.training and network.norm.training
    assert np.array_equal(network.norm.moving_mean.asnumpy(), before)


class OneOf(SingleProcess):
    """One of several processes; what the others send is known, or taken down to be known."""

    def __init__(self, rank, size, sent):
        self.rank, self.size, self.sent, self.number = rank, size, sent, 0

    def all_gather(self, array):
        self.sent.setdefault(self.number, {})[self.rank] = array
        self.number += 1
        of_all = self.sent[self.number - 1]
        return np.stack([of_all.get(rank, array) for rank in range(self.size)])


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_processes_share_the_batches(network, size):
    """With fewer batches than processes, too."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (11, 6, 5, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, 11).astype(np.int32)
    rows = [np.array(rows) for rows in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 10])]
    batches = [(images[r], labels[r], len(set(r))) for r in rows]
    normalize = Normalize(MEAN, STD)
    alone = Evaluator(network, normalize)
    expected, logits, sent = alone(batches), alone.predict(batches), {}
    for rank in range(size):
        Evaluator(network, normalize, OneOf(rank, size, sent))(batches)
    for rank in range(size):
        assert Evaluator(network, normalize, OneOf(rank, size, sent))(batches) == expected
        found = Evaluator(network, normalize, OneOf(rank, size, sent)).predict(batches)
        assert np.array_equal(found, logits) and len(found) == 11


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_each_process_reads_its_own_share(network, size):
    """Every image by one process, but for the last batch where there are too few."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (11, 6, 5, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, 11).astype(np.int32)
    data, sent = EvaluationSet([images], np.arange(11), labels), {}
    network.set_train(True)
    before = network.norm.moving_mean.asnumpy().copy()
    measured = Evaluator(network, Normalize(MEAN, STD))
    (expected,) = for_each_severity(measured, "test", data, 4)
    for _ in range(2):  # once to know what is sent
        for rank in range(size):
            process = OneOf(rank, size, sent)
            measure = Evaluator(network, Normalize(MEAN, STD), process)
            (score,) = for_each_severity(measure, "test", data, 4, processes=process)
    assert score == expected
    assert np.array_equal(network.norm.moving_mean.asnumpy(), before)  # measured, not trained
    shares = [list(evaluation_batches(data, 0, 4, rank, size)) for rank in range(size)]
    read = [[number for number, batch in enumerate(s) if batch is not None] for s in shares]
    assert read == {2: [[0, 2], [1]], 4: [[0], [1], [2], [2]]}[size]


def test_mean_and_worst():
    scores = [Score(1.0, 0.5, 10), Score(2.0, 0.25, 10), Score(3.0, 0.25, 10)]
    assert mean_score(scores) == Score(2.0, pytest.approx(1 / 3), 30)
    assert worst_score(scores) == scores[2]
