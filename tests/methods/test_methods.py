"""Every method does better than ERM on the rare group of a made-up problem.

Those of the title are tried at once, everything else with --slow: each compiles a step or two.
"""

import dataclasses
import functools
import pkgutil
from itertools import islice

import numpy as np
import pytest
from mindspore import Tensor, nn

from dataset.sampling import draw_rows
from dataset.sets import TrainingSet
from sharpdro.methods.create import create_train_step
from sharpdro.methods.specs import METHODS
from sharpdro.training.optimizer import create_sgd

# One pixel shows the label strongly, with the wrong sign in the rare group; one shows it weakly in
# both groups; the other 106 hold noise. With fewer images than a network of two linear layers can
# learn by heart, ERM gets every rare training image right through its noise, keeping the strong
# pixel. So whatever puts more weight on the rare group early (all methods but sam) makes the weak
# pixel count, and so does what keeps noise from being learnt by heart (sam: in a product of layers
# the loss is the sharper, the larger the weights, noise pixels' included).
COMMON, RARE = 0, 1
SHAPE = (3, 6, 6)
STRONG, WEAK, NOISE = 2.0, 1.0, 0.5
NUM_TRAIN, NUM_RARE, NUM_TEST = 400, 24, 2000  # of the test images, in each group

# The budget is the same for all: the first stage of jtt and eiil comes off their second one.
STEPS, BATCH_SIZE, LR, MOMENTUM, WEIGHT_DECAY = 150, 40, 0.015, 0.9, 0.0
SEEDS = range(5)

# The default 0.01 hardly moves in 150 steps. The rare group is absent from one batch in twelve, and
# is not to lose weight there.
_ASCENT = {"step_size": 0.1, "absent_groups": "keep"}
SETTINGS = {
    # The weights of both layers together have a length of about 13, not that of a ResNet.
    "sam": {"rho": 0.5},
    "groupdro": _ASCENT,
    # The penalty is quadratic in the logits, and the first ones are large: with 1, which is also
    # what a warm-up has, training diverges at some seeds. A weight below 1 needs no warm-up.
    # Most of the gain is that of the sum over groups, in which the rare one counts as the other.
    "irm": {"irm_lambda": 0.1, "irm_warmup": 0},
    # As in the warm-up; there are too few steps for another phase.
    "vrex": {"vrex_beta": 1.0, "vrex_warmup": 0},
    "sharpdro": {"rho": 0.5, **_ASCENT},
    # The rare group has the highest losses until it is learnt by heart. The default score does not
    # find it here: with its weights turned round (1 - w) the gain is as large.
    "sharpdro_agnostic": {"rho": 0.5, "ood_score": "loss"},
    "jtt": {},
    "eiil": _ASCENT,
}
# An epoch has 10 steps, after which the network gets most rare images wrong and few others.
STAGES = {
    "jtt": {"jtt_epochs": 2, "jtt_upweight": 6},
    # A tenth of the default's steps, ten times as long: the same groups, sooner.
    "eiil": {"eiil_epochs": 1, "eiil_steps": 1000, "eiil_lr": 0.01},
}
# Their second stage has the step of another method, compiled once (test_train_step.py).
STEP_OF = {"jtt": "erm", "eiil": "groupdro"}


def make_images(rng, groups):
    """Images of the problem, with labels 0 and 1, each as likely."""
    count = len(groups)
    labels = rng.integers(0, 2, count)
    signs = 2.0 * labels - 1
    images = rng.normal(0, NOISE, (count, *SHAPE))
    agrees = np.where(groups == RARE, -1, 1)
    images[:, 0, 0, 0] = STRONG * signs * agrees + rng.normal(0, 0.2, count)
    images[:, 1, 3, 3] = WEAK * signs + rng.normal(0, 0.3, count)
    return images.astype(np.float32), labels.astype(np.int32)


@functools.cache
def make_problem(seed):
    """A training set, and per group test images and their labels."""
    rng = np.random.default_rng([seed, 0])
    groups = (np.arange(NUM_TRAIN) < NUM_RARE).astype(np.int32)
    train = TrainingSet(*make_images(rng, groups), groups, np.arange(NUM_TRAIN))
    return train, [make_images(rng, np.full(NUM_TEST, g)) for g in (COMMON, RARE)]


class TwoLayers(nn.Cell):
    """Without biases: both labels are alike, and each parameter costs time."""

    def __init__(self):
        super().__init__()
        self.first = nn.Dense(int(np.prod(SHAPE)), 16, has_bias=False)
        self.second = nn.Dense(16, 2, has_bias=False)

    def construct(self, images):
        return self.second(self.first(images.reshape(images.shape[0], -1)))


class Trainee:
    """A network and its training step, compiled once and trained many times from scratch."""

    def __init__(self, method, settings):
        self.network = TwoLayers()
        optimizer = create_sgd(self.network.trainable_params(), LR, MOMENTUM, WEIGHT_DECAY)
        self.step = create_train_step(method, self.network, optimizer, 2, **settings)
        # Momentum, group weights and whatever else the step remembers are among these.
        self.fresh = [(p, p.asnumpy().copy()) for p in self.step.get_parameters()]

    def train(self, train, seed, steps):
        """The weights after training from the seed's start on the seed's batches."""
        for parameter, value in self.fresh:
            parameter.set_data(Tensor(value))
        rng = np.random.default_rng([seed, 1])
        for p in self.network.trainable_params():
            p.set_data(Tensor(rng.normal(0, 0.3, p.shape).astype(np.float32)))
        rng = np.random.default_rng([seed, 2, 0])
        pool = np.repeat(np.arange(len(train.labels)), train.repeats)
        rows = draw_rows("replacement", pool, train.groups, BATCH_SIZE, rng)
        for chosen in islice(rows, steps):
            images, labels = Tensor(train.images[chosen]), Tensor(train.labels[chosen])
            self.step(images, labels, Tensor(train.groups[chosen]))
        return [p.asnumpy().copy() for p in self.network.trainable_params()]


@functools.cache
def trainee(method):
    return Trainee(method, SETTINGS.get(method, {}))


def predict(weights, images):
    """Logits (N, 2), in NumPy: no graph to compile."""
    first, second = weights
    return images.reshape(len(images), -1) @ first.T @ second.T


def second_stage(method, train, seed):
    """As main.py's run_first_stage: its training set, and how many steps the first one took."""
    stage = pkgutil.resolve_name(METHODS[method].first_stage)(**STAGES[method], seed=seed)
    steps = stage.epochs * (NUM_TRAIN // BATCH_SIZE)
    weights = trainee("erm").train(train, seed, steps)
    return stage.apply(train, stage.find(predict(weights, train.images), train.labels)), steps


def shuffled(train, seed):
    """The same images, each in a group that says nothing about it."""
    groups = np.random.default_rng([seed, 3]).permutation(train.groups)
    return dataclasses.replace(train, groups=groups)


@functools.cache
def trained(method, seed, is_shuffled=False):
    """Weights after the whole budget."""
    train, taken = make_problem(seed)[0], 0
    if is_shuffled:
        train = shuffled(train, seed)
    if method in STAGES:
        train, taken = second_stage(method, train, seed)
    return trainee(STEP_OF.get(method, method)).train(train, seed, STEPS - taken)


def worst_accuracy(weights, seed):
    """Test accuracy of the group where it is lowest."""
    tests = make_problem(seed)[1]
    return min((predict(weights, images).argmax(1) == labels).mean() for images, labels in tests)


def worst_accuracies(method, **variant):
    """One per seed."""
    return np.array([worst_accuracy(trained(method, s, **variant), s) for s in SEEDS])


def is_better(accuracies, than):
    """Whether at every seed, by 5 points on average and by four standard errors of that."""
    gains = accuracies - than
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return bool(gains.min() > 0 and gains.mean() > max(0.05, 4 * error))


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=() if m == "sharpdro" else slow) for m in SETTINGS]
)
def test_worst_group_gains_on_erm(method):
    """Same images, start, learning rate, batch size and number of steps."""
    accuracies, erm = worst_accuracies(method), worst_accuracies("erm")
    print(method, accuracies.round(3), "erm", erm.round(3))  # seen when it fails
    assert is_better(accuracies, erm)


@slow
@pytest.mark.parametrize("method", [m for m in SETTINGS if METHODS[m].reads_groups and m != "eiil"])
def test_gain_comes_from_the_groups(method):
    """With groups that say nothing, it is smaller, and group DRO's is gone.

    Not all of it: sharpdro keeps what the perturbation gives.
    """
    true, random = worst_accuracies(method), worst_accuracies(method, is_shuffled=True)
    print(method, true.round(3), "groups shuffled", random.round(3))
    assert is_better(true, random)
    if method == "groupdro":
        assert not is_better(random, worst_accuracies("erm"))


@slow
def test_sam_of_radius_0_is_erm():
    """So that its gain comes from the perturbation."""
    train = make_problem(0)[0]
    plain = trainee("erm").train(train, 0, 20)
    for a, b in zip(Trainee("sam", {"rho": 0.0}).train(train, 0, 20), plain):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@slow
@pytest.mark.parametrize("method", ["erm", "sam", "sharpdro_agnostic"])
def test_groups_are_not_read(method):
    """The same weights to the last bit with the true groups, shuffled ones and only one.

    That this is no accident of `Trainee`: groupdro, which reads them, ends elsewhere.
    """
    train = make_problem(0)[0]
    constant = dataclasses.replace(train, groups=np.zeros_like(train.groups))
    expected = trainee(method).train(train, 0, 20)
    for other in (shuffled(train, 0), constant):
        for a, b in zip(trainee(method).train(other, 0, 20), expected):
            np.testing.assert_array_equal(a, b)
    assert np.abs(expected[0]).max() > 0
    first, second = (trainee("groupdro").train(t, 0, 20) for t in (train, constant))
    assert np.abs(first[0] - second[0]).max() > 1e-3
