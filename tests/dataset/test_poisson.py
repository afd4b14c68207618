"""Severity counts and the split."""

import numpy as np
import pytest

from corruptions.errors import DataError
from dataset.poisson import SEVERITY_LAWS, severity_counts, split_by_severity


@pytest.mark.parametrize(
    ("classes", "per_class", "n", "train", "validation"),
    [
        (10, 5000, 4000, [14710, 14710, 7350, 2450, 610, 120], 10050),
        (100, 500, 400, [14700, 14700, 7300, 2400, 600, 100], 10200),
        (30, 1300, 1000, [11010, 11010, 5490, 1830, 450, 90], 9120),
    ],
)
def test_counts_of_the_three_datasets(classes, per_class, n, train, validation):
    """The table of the paper's settings (METHOD: CIFAR-10, CIFAR-100, ImageNet-30)."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(classes), per_class))
    parts, rest = split_by_severity(labels, n, 5, np.random.default_rng(1))
    assert [len(part) for part in parts] == train
    assert len(rest) == validation
    assert (severity_counts(n, 5) * classes).tolist() == train


def test_counts_by_hand():
    # 100 · e^-1 = 36.79, 100 · e^-2 · 2 = 27.07, 100 · e^-2 · 2²/2 = 27.07
    assert severity_counts(100, 1).tolist() == [36, 36]
    assert severity_counts(100, 2, mean=2.0).tolist() == [13, 27, 27]
    assert severity_counts(0, 2).tolist() == [0, 0, 0]


def test_other_laws_by_hand():
    """100 · Poisson is 36.788 36.788 18.394 6.131 1.533 .307, so 36 36 18 6 1 0: 97 in all."""
    assert severity_counts(100, 5).tolist() == [36, 36, 18, 6, 1, 0]
    assert severity_counts(100, 5, law="uniform").tolist() == [17, 16, 16, 16, 16, 16]
    assert severity_counts(100, 5, law="worst").tolist() == [0, 0, 0, 0, 0, 97]
    assert severity_counts(100, 5, law="clean").tolist() == [97, 0, 0, 0, 0, 0]
    assert severity_counts(100, 0, law="worst").tolist() == [36]
    with pytest.raises(ValueError, match="unknown law 'best'; choose one of poisson, uniform"):
        severity_counts(100, 5, law="best")


def test_every_law_shares_out_the_same_images():
    labels = np.random.default_rng(4).permutation(np.repeat(np.arange(3), 200))
    drawn = {
        law: split_by_severity(labels, 150, 5, np.random.default_rng(5), law=law)
        for law in SEVERITY_LAWS
    }
    parts, rest = drawn["poisson"]
    for law, (other_parts, other_rest) in drawn.items():
        assert np.array_equal(np.sort(np.concatenate(other_parts)), np.sort(np.concatenate(parts)))
        assert np.array_equal(other_rest, rest)
        counts = severity_counts(150, 5, law=law)
        assert [len(part) for part in other_parts] == (3 * counts).tolist()


@pytest.mark.parametrize(("n", "s", "mean"), [(-1, 5, 1.0), (5, -1, 1.0), (5, 5, 0.0)])
def test_counts_refuse_nonsense(n, s, mean):
    with pytest.raises(ValueError, match="need num_per_class"):
        severity_counts(n, s, mean)


def test_split_covers_every_image_once_and_every_class_alike():
    labels = np.random.default_rng(2).permutation(np.repeat(np.arange(4), 50))
    parts, rest = split_by_severity(labels, 40, 3, np.random.default_rng(3))
    everything = np.concatenate([*parts, rest])
    assert np.array_equal(np.sort(everything), np.arange(200))
    for part, count in zip(parts, severity_counts(40, 3)):
        assert np.bincount(labels[part], minlength=4).tolist() == [count] * 4
        assert np.all(np.diff(part) > 0)


def test_split_depends_on_the_seed_alone():
    labels = np.repeat(np.arange(3), 30)
    one, again, other = (
        split_by_severity(labels, 20, 2, np.random.default_rng(seed)) for seed in (7, 7, 8)
    )
    assert all(np.array_equal(a, b) for a, b in zip([*one[0], one[1]], [*again[0], again[1]]))
    assert not np.array_equal(one[0][0], other[0][0])


@pytest.mark.parametrize(
    ("n", "text"), [(11, "class 0 has 10 images"), (10**30, "there are 20 images in all")]
)
def test_split_refuses_more_than_there_is(n, text):
    with pytest.raises(DataError, match=f"-n {n} is too large: {text}"):
        split_by_severity(np.repeat(np.arange(2), 10), n, 5, np.random.default_rng(0))


def test_split_leaves_something_for_validation():
    labels = np.repeat(np.arange(2), 10)
    _, rest = split_by_severity(labels, 10, 5, np.random.default_rng(0))
    assert len(rest) == 2 * (10 - 3 - 3 - 1)
