"""What would be found and made is what a run then finds and makes; looking leaves no trace."""

import re
import subprocess
import sys

import fake_cifar
import numpy as np
import pytest
from fake_imagenet30 import write_imagenet30
from PIL import Image
from running import ROOT, tree

from corruptions.errors import DataError
from corruptions.frost_photographs import PUBLISHED
from dataset.prepare_dataset import prepare_dataset, prepare_test_sets, read_clean
from dataset.readers import download
from dataset.specs import CIFAR10, CIFAR100, IMAGENET30, SYNTHETIC
from dataset.survey import Sizes, survey_arrays, survey_clean, survey_split


def arrays(spec, data_dir, clean, severity=2, corruption="contrast", problems=None):
    """What there is; what is wrong goes to a list, or there must be none."""
    found = []
    result = survey_arrays(spec, data_dir, clean, corruption, severity, None, found.append)
    assert problems is not None or not found
    if problems is not None:
        problems += found
    return result


def test_frost_of_different_pictures_is_found(tmp_path):
    """Photographs there, and the rest to be drawn; told once."""
    fake_cifar.write_cifar10(tmp_path)
    for name in PUBLISHED:
        Image.new("RGB", (300, 250), (180, 190, 200)).save(tmp_path / name)
    prepare_test_sets(CIFAR10, tmp_path, ["frost"], 2, frost_dir=tmp_path)
    problems, clean = [], survey_clean(CIFAR10, tmp_path)
    assert arrays(CIFAR10, tmp_path, clean, corruption="frost", problems=problems)[:2] == (2, 2)
    assert len(problems) == 1 and "has frost of other pictures than what is missing" in problems[0]


def split(spec, clean, n, severity=2, lists=None, num_val=0, num_test=0):
    return survey_split(spec, clean, lists, n, severity, 0, num_val, num_test)


def bytes_made(folder):
    """Of the images in a folder's arrays."""
    arrays = [np.load(path) for path in folder.rglob("*.npy") if path.name != "labels.npy"]
    return sum(array.nbytes for array in arrays)


def sizes_of(data):
    counts = np.bincount(data.train.severities, minlength=len(data.test.arrays))
    return Sizes(counts.tolist(), len(data.validation.labels), len(data.test.labels))


def test_cifar_from_nothing_to_all(tmp_path):
    fake_cifar.write_cifar10(tmp_path)
    before = tree(tmp_path)
    clean = survey_clean(CIFAR10, tmp_path)
    found, missing, num_bytes = arrays(CIFAR10, tmp_path, clean)
    sizes = split(CIFAR10, clean, 15, num_val=7, num_test=1000)
    assert not clean.problems and not clean.nominal and clean.num_bytes == 0
    assert clean.lines == [f"found in {tmp_path / 'cifar-10-batches-py'}"]
    assert tree(tmp_path) == before

    prepared = prepare_dataset(CIFAR10, tmp_path, "contrast", 15, 2, 0, num_val=7, num_test=1000)
    assert sizes == sizes_of(prepared) == Sizes([50, 50, 20], 7, 40)
    assert (found, missing, num_bytes) == (0, 4, bytes_made(tmp_path / "CIFAR-10-C"))
    assert arrays(CIFAR10, tmp_path, clean) == (4, 0, 0)
    assert arrays(CIFAR10, tmp_path, clean, severity=3)[:2] == (4, 2)


def test_lost_labels_stay_lost(tmp_path):
    """A run would restore them."""
    fake_cifar.write_cifar10(tmp_path)
    prepare_dataset(CIFAR10, tmp_path, "contrast", 15, 1, 0)
    (tmp_path / "CIFAR-10-C" / "train" / "1" / "labels.npy").unlink()
    before = tree(tmp_path)
    clean = survey_clean(CIFAR10, tmp_path)
    assert arrays(CIFAR10, tmp_path, clean, severity=1) == (2, 0, 0)
    assert tree(tmp_path) == before


def test_what_does_not_fit_is_said(tmp_path):
    fake_cifar.write_cifar10(tmp_path)
    clean = survey_clean(CIFAR10, tmp_path)
    place = tmp_path / "CIFAR-10-C" / "test" / "1"
    other = tmp_path / "CIFAR-10-C" / "test" / "2"
    for folder in (place, other):
        folder.mkdir(parents=True)
        np.save(folder / "contrast.npy", np.zeros((3, 32, 32, 3), np.uint8))
    arrays(CIFAR10, tmp_path, clean, problems=(problems := []))
    for problem, folder in zip(problems, (place, other), strict=True):
        assert str(folder) in problem
        assert re.search(r"holds uint8 \(3, 32, 32, 3\), expected", problem)
    with pytest.raises(DataError, match="-n 21 is too large: class 0 has 20 images"):
        split(CIFAR10, clean, 21)
    (tmp_path / "cifar-10-batches-py" / "test_batch").unlink()
    damaged = survey_clean(CIFAR10, tmp_path)
    assert "test_batch is missing" in damaged.problems[0] and damaged.nominal


def test_what_is_not_there_counts_by_its_nominal_size(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_download", lambda *_: pytest.fail("the network was asked"))
    clean = survey_clean(CIFAR100, tmp_path / "data")
    assert clean.nominal == {"train", "test"} and not clean.problems
    assert clean.lines[1].endswith("cifar-100-python.tar.gz (169 MB)")
    assert clean.num_bytes == 60_000 * 3072 + 169_001_437
    # The README's table, and 50,000 + 10,000 images at five severities.
    assert split(CIFAR100, clean, 400, 5) == Sizes(
        [14700, 14700, 7300, 2400, 600, 100], 10_200, 10_000
    )
    assert arrays(CIFAR100, tmp_path / "data", clean, 5) == (0, 10, 5 * 60_000 * 3072)
    with pytest.raises(DataError, match="-n 501 is too large: class 0 has 500 images"):
        split(CIFAR100, clean, 501)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_waits_to_be_unpacked(tmp_path):
    archive = tmp_path / CIFAR10.archive.file_name
    archive.write_bytes(b"no archive")
    assert "not the official archive" in survey_clean(CIFAR10, tmp_path).problems[0]
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_nominal_sizes_are_real(tmp_path):
    drawn = read_clean(SYNTHETIC, tmp_path)
    assert len(drawn["train"][1]) == SYNTHETIC.num_train
    assert len(drawn["test"][1]) == SYNTHETIC.num_test
    clean = survey_clean(SYNTHETIC, tmp_path)
    assert not clean.nominal and clean.lines == ["drawn by this program, nothing to fetch"]


def test_photographs_before_and_after_decoding(tmp_path):
    lists = tmp_path / "lists"
    write_imagenet30(tmp_path, train=9)
    before = tree(tmp_path)
    clean = survey_clean(IMAGENET30, tmp_path)
    assert re.match(r"270 train photographs found, which would be decoded", clean.lines[0])
    assert clean.num_bytes == (270 + 60) * 64 * 64 * 3 and not clean.nominal
    sizes = split(IMAGENET30, clean, 8)
    found, missing, num_bytes = arrays(IMAGENET30, tmp_path, clean)
    assert tree(tmp_path) == before

    prepared = prepare_dataset(IMAGENET30, tmp_path, "contrast", 8, 2, 0)
    assert sizes == sizes_of(prepared)
    assert (found, missing, num_bytes) == (0, 4, bytes_made(tmp_path / "ImageNet-30-64-C"))
    assert clean.num_bytes == bytes_made(tmp_path / "ImageNet-30-64")
    decoded = survey_clean(IMAGENET30, tmp_path)
    assert decoded.lines[1].startswith("60 test images found in") and decoded.num_bytes == 0
    assert arrays(IMAGENET30, tmp_path, decoded) == (4, 0, 0)

    script = ROOT / "imagenet30_filelist" / "split_imagenet30.py"
    flags = ["--data_dir", tmp_path, "-o", lists, "-n", "8", "--num_severity", "2"]
    assert subprocess.run([sys.executable, script, *flags]).returncode == 0
    for surveyed in (clean, decoded):  # lists before and after decoding
        assert split(IMAGENET30, surveyed, None, lists=lists) == sizes
    with pytest.raises(DataError, match=r"lacks imagenet30_distribution_3.txt"):
        split(IMAGENET30, clean, None, 3, lists)


def test_missing_photographs_of_both_splits(tmp_path):
    clean = survey_clean(IMAGENET30, tmp_path)
    assert [re.search(r"(\w+) is missing", text).group(1) for text in clean.problems] == [
        *("train", "test")
    ]
    assert split(IMAGENET30, clean, 1000, 5).validation == 9_120
