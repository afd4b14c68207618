"""Training and evaluation batches."""

import dataclasses

import numpy as np

from dataset.batches import (
    crops,
    evaluation_batches,
    evaluation_steps,
    steps_per_epoch,
    training_batches,
)
from dataset.sets import EvaluationSet, TrainingSet


def make_set(count=23, side=8):
    """Images that tell their number and have no mirror symmetry."""
    ramp = np.arange(side, dtype=np.uint8)
    images = np.zeros((count, side, side, 3), np.uint8)
    images[..., 0] = np.arange(count)[:, None, None]
    images[..., 1] = ramp
    images[..., 2] = ramp[:, None]
    rows = np.arange(count, dtype=np.int32)
    return TrainingSet(images, rows % 7, rows % 3, rows)


def epoch(data, *, batch_size=5, seed=0, number=1, augment=False, sampler="replacement"):
    return list(training_batches(data, batch_size, seed, number, augment, sampler))


def test_batches_are_whole_and_carry_their_labels():
    data = make_set()
    batches = epoch(data)
    assert len(batches) == steps_per_epoch(len(data.labels), 5) == 4
    for images, labels, groups, severities in batches:
        numbers = images[:, 0, 0, 0]
        assert np.array_equal(groups, severities)
        assert images.shape == (5, 8, 8, 3) and images.dtype == np.uint8
        assert np.array_equal(labels, numbers % 7) and np.array_equal(severities, numbers % 3)


def test_parts_of_a_batch_make_up_the_whole():
    data = make_set()
    whole = epoch(data, batch_size=6, augment=True)
    parts = [list(training_batches(data, 6, 0, 1, True, "replacement", i, 3)) for i in range(3)]
    for number, batch in enumerate(whole):
        images = [part[number].images for part in parts]
        assert np.array_equal(np.concatenate(images), batch.images)
        for part in parts:
            assert all(np.array_equal(a, b) for a, b in zip(part[number][1:], batch[1:]))


def test_images_are_drawn_with_replacement_from_the_whole_set():
    data = make_set()
    drawn = np.concatenate(
        [batch.images[:, 0, 0, 0] for n in range(40) for batch in epoch(data, number=n)]
    )
    counts = np.bincount(drawn, minlength=23)
    assert counts.min() > 0
    # 800 draws, 34.8 expected each: binomial with a standard deviation of 5.8.
    assert np.abs(counts - 800 / 23).max() < 5 * 5.8
    assert any(len(set(images[:, 0, 0, 0])) < 5 for images, *_ in epoch(data))


def numbers_of(batches):
    return np.concatenate([batch.images[:, 0, 0, 0] for batch in batches])


def test_shuffled_epochs_hold_each_image_at_most_once():
    data = make_set()
    drawn = numbers_of(epoch(data, sampler="shuffle"))
    assert len(drawn) == len(set(drawn.tolist())) == 20
    assert not np.array_equal(drawn, numbers_of(epoch(data, sampler="shuffle", number=2)))
    # The three that are left over are others in every epoch.
    left = [
        set(range(23)) - set(numbers_of(epoch(data, sampler="shuffle", number=n)).tolist())
        for n in range(40)
    ]
    assert set().union(*left) == set(range(23))


def test_balanced_batches_hold_every_group_as_often():
    data = make_set()
    groups = np.zeros(23, np.int32)
    groups[[4, 9]], groups[7] = 1, 3  # group 2 is empty
    data = dataclasses.replace(data, groups=groups)
    batches = [b for n in range(100) for b in epoch(data, number=n, sampler="balanced")]
    drawn = np.concatenate([batch.groups for batch in batches])
    # 2000 draws from three groups: 667 each, with a standard deviation of 21.
    assert np.abs(np.bincount(drawn, minlength=4) - [667, 667, 0, 667]).max() < 5 * 21
    counts = np.bincount(numbers_of(batches), minlength=23)
    assert abs(counts[4] - 333) < 5 * 17 and abs(counts[7] - 667) < 5 * 21
    # Group 0 has 20 images: 33 each.
    assert np.abs(counts[groups == 0] - 33).max() < 5 * 6
    assert np.array_equal(numbers_of(batches) % 3, np.concatenate([b.severities for b in batches]))


def test_repeated_images_are_drawn_more_often_but_make_no_epoch_longer():
    repeats = np.ones(23, np.int64)
    repeats[5] = 24  # half of all draws
    data = dataclasses.replace(make_set(), repeats=repeats)
    for sampler in ("replacement", "shuffle"):
        batches = [b for n in range(50) for b in epoch(data, number=n, sampler=sampler)]
        assert len(batches) == 50 * 4
        # 1000 draws, 24 of 46 are of this image: 522, with a standard deviation of 16.
        assert abs((numbers_of(batches) == 5).sum() - 522) < 5 * 16, sampler


def test_half_of_the_images_are_flipped():
    data = make_set()
    images = np.concatenate([batch.images for n in range(40) for batch in epoch(data, number=n)])
    flipped = images[:, 0, 0, 1] == 7
    assert np.array_equal(images[flipped], data.images[images[flipped, 0, 0, 0]][:, :, ::-1])
    assert np.array_equal(images[~flipped], data.images[images[~flipped, 0, 0, 0]])
    assert abs(flipped.mean() - 0.5) < 5 * 0.5 / np.sqrt(800)


def test_an_epoch_is_a_function_of_seed_and_number():
    data = make_set()
    base = epoch(data)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(base, epoch(data)))
    for other in (epoch(data, seed=1), epoch(data, number=2)):
        assert not all(np.array_equal(a[0], b[0]) for a, b in zip(base, other))


def test_drawing_leaves_the_data_alone():
    data = make_set()
    before = data.images.copy()
    epoch(data, augment=True)
    assert np.array_equal(data.images, before)


def test_crops_are_windows_of_the_reflected_image():
    images = np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3), dtype=np.uint8)
    places = set()
    for image, crop in zip(
        images, crops(images, np.random.default_rng(1).integers(0, 5, (2, 300)))
    ):
        matches = []
        for y in range(-2, 3):
            for x in range(-2, 3):
                # Reflection without repeating the edge: −1 is 1, 16 is 14.
                rows = [abs(r) if r < 16 else 30 - r for r in range(y, y + 16)]
                columns = [abs(c) if c < 16 else 30 - c for c in range(x, x + 16)]
                if np.array_equal(crop, image[rows][:, columns]):
                    matches.append((y, x))
        assert len(matches) == 1
        places.update(matches)
    assert len(places) == 25


def test_augmentation_crops():
    data = make_set()
    plain, cropped = epoch(data), epoch(data, augment=True)
    assert not np.array_equal(plain[0][0], cropped[0][0])
    assert cropped[0][0].shape == (5, 8, 8, 3) and cropped[0][0].flags["C_CONTIGUOUS"]


def test_evaluation_sees_every_image_once_in_batches_of_one_shape():
    data = make_set()
    indices = np.array([1, 4, 5, 9, 13, 20, 22])
    arrays = [data.images, data.images + 100]
    chosen = EvaluationSet(arrays, indices, data.labels[indices])
    for severity in (0, 1):
        seen, labels = [], []
        for images, batch_labels, count in evaluation_batches(chosen, severity, 3):
            assert images.shape == (3, 8, 8, 3) and batch_labels.shape == (3,)
            seen += images[:count, 0, 0, 0].tolist()
            labels += batch_labels[:count].tolist()
        assert seen == (indices + 100 * severity).tolist()
        assert (
            len(list(evaluation_batches(chosen, severity, 3))) == evaluation_steps(chosen, 3) == 3
        )
        assert labels == (indices % 7).tolist()
