"""The drawn dataset: fixed, balanced, not solved by a linear classifier."""

import hashlib

import numpy as np
import pytest
from mindspore import Tensor

from corruptions import corrupt
from dataset.batches import evaluation_batches
from dataset.prepare_dataset import read_clean
from dataset.readers.synthetic import draw
from dataset.sets import EvaluationSet
from dataset.specs import SYNTHETIC
from models import create_model
from models.layers import Normalize
from sharpdro.evaluation.evaluator import Evaluator
from sharpdro.methods.create import create_train_step
from sharpdro.training.optimizer import create_sgd
from sharpdro.training.trainer import TrainingGraph

LABELS_DIGEST, MEANS = "b107773c", (116.113, 116.071, 114.949)


def test_drawing_is_seeded():
    one, again, other = (draw(50, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one[0], again[0]) and np.array_equal(one[1], again[1])
    assert not np.array_equal(one[0], other[0])


def test_dataset_is_the_one_that_its_folder_name_stands_for():
    """A change of the drawing needs a new `corrupted_folder`, or old arrays would be mixed in."""
    images, labels = read_clean(SYNTHETIC, None)["train"]
    digest = hashlib.sha256(np.ascontiguousarray(labels)).hexdigest()[:8]
    # Pixels may differ in the last bit between machines' sines; their means may not.
    assert (SYNTHETIC.corrupted_folder, digest) == ("synthetic-1-C", LABELS_DIGEST)
    np.testing.assert_allclose(images.mean((0, 1, 2)), MEANS, atol=0.01)


def test_sizes_and_balance():
    splits = read_clean(SYNTHETIC, None)
    for split, per_class in (("train", 500), ("test", 100)):
        images, labels = splits[split]
        assert images.shape == (10 * per_class, 32, 32, 3) and images.dtype == np.uint8
        assert np.bincount(labels).tolist() == [per_class] * 10
    train, test = splits["train"][0], splits["test"][0]
    assert not {i.tobytes() for i in train} & {i.tobytes() for i in test}


def test_normalisation_is_that_of_the_images():
    images = read_clean(SYNTHETIC, None)["train"][0] / 255
    np.testing.assert_allclose(images.mean((0, 1, 2)), SYNTHETIC.mean, atol=0.001)
    np.testing.assert_allclose(images.std((0, 1, 2)), SYNTHETIC.std, atol=0.001)


@pytest.mark.slow
def test_linear_classifier_stays_weak():
    """Ridge regression on pixels, above chance and far from solving it."""
    splits = read_clean(SYNTHETIC, None)
    train, test = (
        np.hstack([images.reshape(len(images), -1) / 255, np.ones((len(images), 1))])
        for images, _ in splits.values()
    )
    targets = np.eye(10)[splits["train"][1]]
    weights = np.linalg.solve(train.T @ train + 100 * np.eye(train.shape[1]), train.T @ targets)
    accuracy = ((test @ weights).argmax(1) == splits["test"][1]).mean()
    assert 0.2 < accuracy < 0.5


@pytest.mark.slow
def test_small_network_beats_the_linear_one_and_noise_hurts_it():
    """Trained without noise: well above the linear classifier, and far lower at severity 5."""
    splits = read_clean(SYNTHETIC, None)
    (images, labels), (test_images, test_labels) = splits["train"], splits["test"]
    network = create_model("wideresnet", 10, depth=10, widen_factor=1)
    optimizer = create_sgd(network.trainable_params(), 0.1, 0.9, 5e-4)
    normalize = Normalize(SYNTHETIC.mean, SYNTHETIC.std)
    graph = TrainingGraph(normalize, create_train_step("erm", network, optimizer, 1))
    rng = np.random.default_rng(0)
    groups = Tensor(np.zeros(50, np.int32))
    for step in range(400):
        if step == 300:
            optimizer.learning_rate.set_data(Tensor(np.float32(0.01)))
        chosen = rng.integers(0, len(labels), 50)
        graph(Tensor(images[chosen]), Tensor(labels[chosen]), groups)

    def accuracy(severity):
        arrays = [corrupt(test_images, "gaussian_noise", severity)]
        data = EvaluationSet(arrays, np.arange(len(test_labels)), test_labels)
        return Evaluator(network, normalize)(evaluation_batches(data, 0, 100)).accuracy

    clean, noisy = accuracy(0), accuracy(5)
    assert clean > 0.7 and noisy < clean - 0.2
