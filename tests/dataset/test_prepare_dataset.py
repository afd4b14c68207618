"""Which arrays are used, which are made, and which are refused."""

import re
import shutil

import fake_cifar
import numpy as np
import pytest
from PIL import Image
from running import tree

from corruptions import corrupt
from corruptions.errors import DataError
from corruptions.frost_photographs import PUBLISHED
from corruptions.storage.arrays import Source
from corruptions.storage.making import make_arrays
from corruptions.storage.manifest import Recipe
from dataset.poisson import severity_counts
from dataset.prepare_dataset import prepare_dataset, prepare_test_sets, read_clean
from dataset.specs import CIFAR10
from dataset.survey import survey_arrays, survey_clean


@pytest.fixture
def data_dir(tmp_path):
    fake_cifar.write_cifar10(tmp_path)
    return tmp_path


def prepare(data_dir, corruption="gaussian_noise", seed=0, **settings):
    return prepare_dataset(CIFAR10, data_dir, corruption, 15, 2, seed, **settings)


def array_path(data_dir, split="train", severity=1):
    return data_dir / "CIFAR-10-C" / split / str(severity) / "gaussian_noise.npy"


def test_every_image_is_corrupted_at_its_severity(data_dir):
    data = prepare(data_dir)
    images, labels = read_clean(CIFAR10, data_dir)["train"]
    counts = severity_counts(15, 2) * 10
    assert np.bincount(data.train.severities).tolist() == counts.tolist()
    versions = [images] + [corrupt(images, "gaussian_noise", s, split="train") for s in (1, 2)]
    clean_rows = {image.tobytes(): i for i, image in enumerate(versions[0])}
    rows = [{v.tobytes(): i for i, v in enumerate(version)} for version in versions]
    used = []
    train = data.train
    assert np.array_equal(train.groups, train.severities) and (train.repeats == 1).all()
    images_of_all = train.images[np.arange(len(train.labels))]
    columns = (images_of_all, train.labels, train.severities, train.indices)
    for image, label, severity, index in zip(*columns):
        row = rows[severity][image.tobytes()]
        assert labels[row] == label and row == index
        used.append(row)
    assert len(clean_rows) == len(images) and len(set(used)) == len(used)
    # Training and validation share no photograph, and together they are all there is.
    assert sorted([*used, *data.validation.indices]) == list(range(len(images)))
    assert np.array_equal(data.validation.labels, labels[data.validation.indices])
    for severity, version in enumerate(versions):
        assert np.array_equal(data.validation.arrays[severity], version)


def test_other_severity_laws_train_on_the_same_photographs(data_dir):
    law, worst = prepare(data_dir), prepare(data_dir, severity_law="worst")
    images, labels = read_clean(CIFAR10, data_dir)["train"]
    assert np.array_equal(np.sort(law.train.indices), worst.train.indices)
    assert np.array_equal(law.validation.indices, worst.validation.indices)
    assert (worst.train.severities == 2).all()
    everything = np.arange(len(worst.train.labels))
    expected = corrupt(images, "gaussian_noise", 2, split="train")[worst.train.indices]
    assert np.array_equal(worst.train.images[everything], expected)
    assert np.array_equal(worst.train.labels, labels[worst.train.indices])


def test_test_images_carry_other_noise_than_training_images(data_dir):
    data = prepare(data_dir)
    images, labels = read_clean(CIFAR10, data_dir)["test"]
    for severity in (1, 2):
        expected = corrupt(images, "gaussian_noise", severity, split="test")
        assert np.array_equal(data.test.arrays[severity], expected)
    assert np.array_equal(data.test.labels, labels)


def test_few_test_images_are_made_in_memory(data_dir):
    """2 of 40; they are those of the whole arrays, to the last bit, and nothing is written."""
    names, said = ["gaussian_noise", "glass_blur", "fog"], []
    before = tree(data_dir)
    few = prepare_test_sets(CIFAR10, data_dir, names, 2, num_test=2, report=said.append)
    assert tree(data_dir) == before
    # 6 arrays of 40 · 3,072 bytes are 0.74 MB.
    assert said == [
        f"making 2 images of 3 corruptions in memory: so few are not kept (whole arrays in "
        f"{data_dir / 'CIFAR-10-C'} would take 1 MB)"
    ]
    whole = prepare_test_sets(CIFAR10, data_dir, names, 2, num_test=3)
    assert tree(data_dir) != before
    images, labels = read_clean(CIFAR10, data_dir)["test"]
    chosen = np.sort(np.random.default_rng(0).permutation(40)[:2])
    for name in names:
        assert np.array_equal(few[name].indices, chosen)
        assert np.array_equal(few[name].labels, labels[chosen])
        for severity in (0, 1, 2):
            expected = corrupt(images, name, severity, split="test")
            assert np.array_equal(few[name].arrays[severity][chosen], expected[chosen])
            assert np.array_equal(few[name].arrays[severity][chosen[1:]], expected[chosen[1:]])
            assert np.array_equal(whole[name].arrays[severity], expected)
    said.clear()
    again = prepare_test_sets(CIFAR10, data_dir, names, 2, num_test=2, report=said.append)
    assert not said  # what is there is used
    assert {n: s.checksum() for n, s in few.items()} == {n: s.checksum() for n, s in again.items()}


def test_second_run_writes_nothing(data_dir):
    prepare(data_dir)
    before = {p: p.stat().st_mtime_ns for p in data_dir.rglob("*")}
    prepare(data_dir, seed=3)
    assert {p: p.stat().st_mtime_ns for p in data_dir.rglob("*")} == before


def test_arrays_that_are_there_are_used(data_dir):
    prepare(data_dir)
    path = array_path(data_dir)
    own = np.full_like(np.load(path), 77)
    np.save(path, own)
    data = prepare(data_dir)
    assert (data.train.images[data.train.severities == 1] == 77).all()


def test_training_images_are_read_when_they_are_asked_for(data_dir):
    """Nothing is copied: what changes in the mapped file shows."""
    train = prepare(data_dir).train
    row = np.flatnonzero(train.severities == 1)[3]
    assert len(train.images) == len(train.labels)
    path = array_path(data_dir)
    array = np.lib.format.open_memmap(path, mode="r+")
    array[train.indices[row]] = 201
    array.flush()
    rows = np.array([row, 0, row])
    found = train.images[rows]
    assert (found[[0, 2]] == 201).all() and not (found[1] == 201).all()
    found[:] = 0
    assert (train.images[rows][0] == 201).all()


def test_arrays_of_other_origin_are_used_and_counted(data_dir):
    assert prepare(data_dir).num_foreign == 0
    for path in data_dir.rglob("gaussian_noise.npy"):
        path.rename(path.with_name("fog.npy"))
    data = prepare(data_dir, "fog")
    assert data.num_foreign == 4
    images, _ = read_clean(CIFAR10, data_dir)["test"]
    assert np.array_equal(data.test.arrays[1], corrupt(images, "gaussian_noise", 1, split="test"))


def test_arrays_of_another_seed_are_used(data_dir):
    images, labels = read_clean(CIFAR10, data_dir)["test"]
    recipe = Recipe("gaussian_noise", 1, "cifar", 5, "test")
    make_arrays(data_dir / "CIFAR-10-C", {"test": Source(images, labels)}, [recipe])
    expected = corrupt(images, "gaussian_noise", 1, split="test", seed=5)
    assert np.array_equal(prepare(data_dir).test.arrays[1], expected)


def test_frost_of_other_pictures_is_refused_only_if_pictures_are_named(data_dir, tmp_path):
    prepare(data_dir, "frost")
    for name in PUBLISHED:
        Image.new("RGB", (300, 250), (180, 190, 200)).save(tmp_path / name)
    with pytest.raises(DataError, match="made with other pictures of frost"):
        prepare(data_dir, "frost", frost_dir=tmp_path)
    (tmp_path / PUBLISHED[3]).unlink()
    with pytest.raises(FileNotFoundError, match=f"{PUBLISHED[3]} is missing: --frost_dir needs"):
        prepare(data_dir, "frost", frost_dir=tmp_path)
    prepare(data_dir, "frost")


def test_photographs_of_frost_and_drawn_frost_are_not_mixed(data_dir, tmp_path):
    """Neither by drawing what is missing beside photographs, nor where both lie there."""
    for name in PUBLISHED:
        Image.new("RGB", (300, 250), (180, 190, 200)).save(tmp_path / name)
    prepare_test_sets(CIFAR10, data_dir, ["frost"], 1, frost_dir=tmp_path)
    kept = {path: path.read_bytes() for path in data_dir.rglob("frost.npy")}
    assert len(kept) == 1
    for number in (1, 2):  # other splits are missing, then other severities
        text = r"test/1/frost.npy has frost of other pictures than .*: name its photographs"
        with pytest.raises(DataError, match=text):
            prepare_dataset(CIFAR10, data_dir, "frost", 15, number, 0)
    assert {path: path.read_bytes() for path in data_dir.rglob("frost.npy")} == kept
    prepare_test_sets(CIFAR10, data_dir, ["frost"], 1)
    prepare(data_dir, "frost", frost_dir=tmp_path)
    prepare(data_dir, "frost")
    (array_path(data_dir).with_name("frost.npy")).unlink()
    manifest_path = data_dir / "CIFAR-10-C" / "manifest.json"
    content = manifest_path.read_text()
    assert content.count('"frost": {') == 4
    text = "name its photographs with --frost_dir, or delete it to have it made anew"
    with pytest.raises(DataError, match=rf"\(and 2 others\) has frost of other .*: {text}"):
        prepare(data_dir, "frost")


def test_frost_that_plays_no_part_may_be_of_other_pictures(data_dir, tmp_path):
    """That of a split that is not read, and an array that somebody has replaced."""
    for name in PUBLISHED:
        Image.new("RGB", (300, 250), (180, 190, 200)).save(tmp_path / name)
    prepare(data_dir, "frost")
    for path in data_dir.glob("CIFAR-10-C/test/*/frost.npy"):
        path.unlink()
    prepare_test_sets(CIFAR10, data_dir, ["frost"], 1, frost_dir=tmp_path)
    with pytest.raises(DataError, match=r"has frost of other pictures than \S*frost.npy: delete"):
        prepare_dataset(CIFAR10, data_dir, "frost", 15, 1, 0)
    array = data_dir / "CIFAR-10-C" / "test" / "1" / "frost.npy"
    np.save(array, np.load(array)[::-1])
    assert prepare_dataset(CIFAR10, data_dir, "frost", 15, 1, 0).num_foreign == 1


def test_seed_changes_the_split_but_never_the_images(data_dir):
    one, other = prepare(data_dir), prepare(data_dir, seed=1)
    assert not np.array_equal(one.validation.indices, other.validation.indices)
    assert np.array_equal(one.test.arrays[2], other.test.arrays[2])


def test_test_set_needs_no_training_arrays(data_dir):
    whole = prepare(data_dir, num_test=7)
    for path in (data_dir / "CIFAR-10-C" / "train").rglob("*.npy"):
        path.unlink()
    alone = prepare_test_sets(CIFAR10, data_dir, ["gaussian_noise"], 2, num_test=7)[
        "gaussian_noise"
    ]
    assert np.array_equal(alone.indices, whole.test.indices)
    assert all(np.array_equal(a, b) for a, b in zip(alone.arrays, whole.test.arrays))
    assert not list((data_dir / "CIFAR-10-C" / "train").rglob("*.npy"))


def test_caps(data_dir):
    full, small, tiny = (prepare(data_dir, num_val=n, num_test=n) for n in (0, 20, 5))
    assert len(full.test.labels) == 40 and len(full.validation.labels) == 200 - 120
    assert len(small.test.labels) == len(small.validation.labels) == 20
    for larger, smaller in ((full, small), (small, tiny)):
        assert set(smaller.test.indices) < set(larger.test.indices)
        assert set(smaller.validation.indices) < set(larger.validation.indices)
    other_seed = prepare(data_dir, seed=9, num_test=20)
    assert np.array_equal(other_seed.test.indices, small.test.indices)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def _zip(path):
    np.savez(path.with_suffix(".npz"), np.zeros(3))
    path.with_suffix(".npz").rename(path)


def _shuffle_labels(path):
    labels = path.with_name("labels.npy")
    np.save(labels, np.load(labels)[::-1])


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (_cut, "is not a whole .npy array"),
        (lambda p: p.write_bytes(b""), "is not a whole .npy array"),
        (lambda p: np.save(p, np.load(p)[:-1]), r"holds uint8 \(199, 32, 32, 3\), expected"),
        (lambda p: np.save(p, np.load(p).astype(float)), "holds float64"),
        (lambda p: np.save(p, np.array([object()]), allow_pickle=True), "not a whole .npy array"),
        (_zip, "not a whole .npy array"),
        (lambda p: p.write_bytes(p.read_bytes().replace(b"'descr': '", b"'descr: '']")), "not a w"),
        (_shuffle_labels, "differs from the labels"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_before_anything_is_made(data_dir, damage, text):
    prepare(data_dir)
    damage(array_path(data_dir))
    array_path(data_dir, "test", 2).unlink()
    with pytest.raises(DataError, match=text) as caught:
        prepare(data_dir)
    assert "CIFAR-10-C/train/1" in str(caught.value)
    assert not array_path(data_dir, "test", 2).exists()


def test_lost_labels(data_dir):
    """Arrays of this program's making are known to fit; others are refused."""
    prepare(data_dir)
    labels = array_path(data_dir).with_name("labels.npy")
    before = labels.read_bytes()
    labels.unlink()
    prepare(data_dir)
    assert labels.read_bytes() == before
    labels.unlink()
    (data_dir / "CIFAR-10-C" / "manifest.json").unlink()
    with pytest.raises(DataError, match="train/1/labels.npy is missing, so the order of"):
        prepare(data_dir)


def test_what_is_made_is_reported(data_dir):
    lines = []
    prepare(data_dir, report=lines.append)
    prepare(data_dir, report=lines.append)
    assert lines == [f"making 4 arrays of gaussian_noise in {data_dir}/CIFAR-10-C (1 MB)"]


def test_photographs_that_are_too_small_for_the_images(data_dir, tmp_path):
    for name in PUBLISHED:
        Image.new("RGB", (100, 90)).save(tmp_path / name)
    with pytest.raises(DataError, match="frost: images of 32 × 32 are larger than the pictures"):
        prepare(data_dir, "frost", frost_dir=tmp_path)
    assert not (data_dir / "CIFAR-10-C").exists()


def test_another_number_of_clean_images_is_told_with_one_remedy(data_dir):
    """Whether the arrays are still there, or were deleted without their labels."""
    prepare(data_dir)
    folder = data_dir / "CIFAR-10-C"
    for path in folder.glob("test/*/*.npy"):
        np.save(path, np.load(path)[:-1])
    text = f"labels.npy is not of 40 labels, as there are clean .* delete all of {folder}/test to"
    with pytest.raises(DataError, match=text):
        prepare(data_dir)
    for path in folder.glob("*/*/gaussian_noise.npy"):
        path.unlink()
    with pytest.raises(DataError, match=text):
        prepare(data_dir)
    problems = []
    clean = survey_clean(CIFAR10, data_dir)
    survey_arrays(CIFAR10, data_dir, clean, "gaussian_noise", 2, None, problems.append)
    assert len(problems) == 2 and re.search(text, problems[0])
    assert not list(folder.glob("*/*/gaussian_noise.npy"))
    shutil.rmtree(folder / "test")
    prepare(data_dir)


def test_labels_of_another_dataset_are_not_overwritten(data_dir):
    prepare(data_dir)
    array_path(data_dir).unlink()
    _shuffle_labels(array_path(data_dir))
    before = array_path(data_dir).with_name("labels.npy").read_bytes()
    with pytest.raises(DataError, match="differs from the labels"):
        prepare(data_dir)
    assert array_path(data_dir).with_name("labels.npy").read_bytes() == before
