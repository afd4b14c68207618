"""The lists that say which photograph of ImageNet-30 belongs where."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from fake_imagenet30 import write_imagenet30
from running import ROOT

from corruptions.errors import DataError
from dataset.filelists import find_lists
from dataset.prepare_dataset import prepare_dataset, prepare_test_sets, read_clean
from dataset.specs import IMAGENET30

SCRIPT = ROOT / "imagenet30_filelist" / "split_imagenet30.py"
# floor(8 · 0.367879) = 2, floor(8 · 0.183940) = 1, floor(8 · 0.061313) = 0, for each of 30 classes.
COUNTS = {"distribution_0": 60, "distribution_1": 60, "distribution_2": 30, "distribution_3": 0}


def prepare(data_dir, lists, n=None, severity=3, **settings):
    return prepare_dataset(
        IMAGENET30, data_dir, "contrast", n, severity, 0, filelist_dir=lists, **settings
    )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    train = write_imagenet30(folder, train=9) / "train"
    (train / "barn" / "bad.JPEG").write_text("x")
    prepare(folder, None, n=8)
    return folder


def split(data_dir, output, *flags):
    command = [sys.executable, SCRIPT, "--data_dir", data_dir, "-o", output, "-n", "8", *flags]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def written(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    assert split(data_dir, folder, "--num_severity", "3").returncode == 0
    return folder


@pytest.fixture
def lists(written, tmp_path):
    return shutil.copytree(written, tmp_path / "lists")


def read_lines(folder, part):
    return (folder / f"imagenet30_{part}.txt").read_text().splitlines()


def test_the_script_shares_out_all_photographs(data_dir, written):
    parts = {part: read_lines(written, part) for part in [*COUNTS, "val", "test"]}
    assert len(list(written.iterdir())) == len(parts)
    assert {part: len(lines) for part, lines in parts.items()} == {**COUNTS, "val": 120, "test": 60}
    train = [line for part in [*COUNTS, "val"] for line in parts[part]]
    assert len(set(train)) == 30 * 9 and "barn/bad.JPEG 5" not in train
    for folder, lines in (("train", train), ("test", parts["test"])):
        for line in lines:
            name, label = line.split(" ")
            assert (data_dir / "ImageNet-30" / folder / name).exists()
            assert IMAGENET30.class_names[int(label)] == name.split("/")[0]
    labels = [int(line.split()[1]) for line in parts["distribution_1"]]
    assert labels.count(4) == 2 and labels.count(29) == 2


def test_the_script_again(data_dir, lists):
    before = {path.name: path.read_bytes() for path in lists.iterdir()}
    assert split(data_dir, lists, "--num_severity", "3").returncode == 0
    assert {path.name: path.read_bytes() for path in lists.iterdir()} == before
    other = split(data_dir, lists, "--num_severity", "3", "--seed", "1")
    assert other.returncode == 2 and "is another list: delete it" in other.stderr
    assert {path.name: path.read_bytes() for path in lists.iterdir()} == before
    too_many = split(data_dir, lists, "-n", "10")
    assert too_many.returncode == 2 and len(too_many.stderr.splitlines()) == 1
    assert "-n 10 is too large: class acorn has 9 images" in too_many.stderr


def test_a_run_shares_out_as_the_script_does(data_dir, lists, tmp_path):
    by_itself = prepare(data_dir, tmp_path / "none", n=8)
    assert by_itself.lists == {path.name: path.read_text() for path in lists.iterdir()}
    listed = prepare(data_dir, lists)
    assert listed.lists == by_itself.lists
    for field in ("labels", "severities", "indices"):
        assert np.array_equal(getattr(listed.train, field), getattr(by_itself.train, field))
    for part in ("validation", "test"):
        assert np.array_equal(getattr(listed, part).indices, getattr(by_itself, part).indices)
    rows = np.arange(150)
    assert np.array_equal(listed.train.images[rows], by_itself.train.images[rows])


def test_lists_rule(data_dir, lists):
    """In the authors' shapes: a capital I, a path before the class, hidden files, Windows ends."""
    (lists / "imagenet30_test.txt").unlink()
    (lists / "Imagenet30_test.txt").write_text(
        "tank/n00000027_1.JPEG 27\nairliner/._1.JPEG 1\nacorn/n00000000_0.JPEG 0\n"
    )
    (lists / "imagenet30_distribution_2.txt").write_bytes(
        b"./data/ImageNet-30/train/barn/n00000005_8.JPEG 5\r\n"
        b"./data/ImageNet-30/train/barn/bad.JPEG 5\r\n\r\n"
    )
    val = [line for line in read_lines(lists, "val") if "barn/n00000005_8" not in line]
    (lists / "imagenet30_val.txt").write_text("\n".join(val))
    for part in ("distribution_0", "distribution_1"):
        kept = [line for line in read_lines(lists, part) if "barn/n00000005_8" not in line]
        (lists / f"imagenet30_{part}.txt").write_text("\n".join(kept) + "\n")
    (lists / "imagenet30.txt").write_text("all photographs, which is no list of ours\n")
    data = prepare(data_dir, lists, severity=2)  # there is a list of severity 3, too
    labels = {split: labels for split, (_, labels) in read_clean(IMAGENET30, data_dir).items()}
    assert data.test.labels.tolist() == [0, 27] and data.test.indices.tolist() == [0, 55]
    chosen = data.train.indices[data.train.severities == 2]
    assert chosen.tolist() == [5 * 9 + 8] and labels["train"][chosen].tolist() == [5]
    images = read_clean(IMAGENET30, data_dir)["train"][0]
    assert not np.array_equal(data.train.images[np.array([-1])][0], images[chosen[0]])
    only_test = prepare_test_sets(IMAGENET30, data_dir, ["contrast"], 2, filelist_dir=lists)[
        "contrast"
    ]
    assert only_test.indices.tolist() == [0, 55]


def test_without_a_test_list_all_are_meant(data_dir, lists):
    (lists / "imagenet30_test.txt").unlink()
    assert len(prepare(data_dir, lists).test.labels) == 60


VAL = "imagenet30_val.txt"


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (VAL, "cat/n00000000_0.JPEG 0", "'cat' is no class of ImageNet-30"),
        (VAL, "../n00000000_0.JPEG 0", "'..' is no class of ImageNet-30"),
        (VAL, "acorn/n00000000_0.JPEG 1", "acorn has label 0, not 1"),
        (VAL, "acorn/n00000000_0.JPEG", "expected class/file label, not 'acorn/n0000"),
        (VAL, "n00000000_0.JPEG 0", "expected class/file label, not"),
        (VAL, "acorn/other.JPEG 0", "acorn/other.JPEG is not in "),
        (VAL, "data/ImageNet-30/test/acorn/n00000000_0.JPEG 0", "a photograph from test/ in"),
        ("imagenet30_test.txt", "acorn/n00000000_7.JPEG 0", "acorn/n00000000_7.JPEG is not in"),
    ],
)
def test_lines_that_will_not_do(data_dir, lists, name, line, message):
    (lists / name).write_text(f"\n{line}\n")
    with pytest.raises(DataError) as refused:
        prepare(data_dir, lists)
    assert str(refused.value).startswith(f"{lists / name}, line 2: {message}")


def test_lists_that_overlap(data_dir, lists):
    line = read_lines(lists, "distribution_1")[7]
    with open(lists / VAL, "a") as file:
        file.write(f"data/{line}\n")
    other = lists / "imagenet30_distribution_1.txt"
    with pytest.raises(DataError, match=rf"line 121: {line.split()[0]} is in {other} already"):
        prepare(data_dir, lists)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / VAL).unlink(), "lists lacks imagenet30_val.txt: add it, or take"),
        (lambda f: (f / VAL).write_text("\n"), "val.txt lists no photograph that there is"),
        (
            lambda f: (f / "Imagenet30_val.txt").write_text("\n"),
            "lists has both Imagenet30_val.txt and imagenet30_val.txt: leave one",
        ),
        (lambda f: (f / VAL).unlink() or (f / VAL).mkdir(), "cannot be read"),
    ],
)
def test_lists_that_will_not_do(data_dir, lists, spoil, message):
    spoil(lists)
    with pytest.raises(DataError, match=message):
        prepare(data_dir, lists)


def test_lists_of_too_few_severities(data_dir, lists):
    with pytest.raises(DataError, match=r"lacks imagenet30_distribution_4.txt"):
        prepare(data_dir, lists, severity=4)


def test_arrays_of_unknown_origin_are_refused(data_dir, tmp_path):
    """The labels are in order, so they do not tell in which order the photographs are."""
    folder = tmp_path / "data"
    shutil.copytree(data_dir / "ImageNet-30-64", folder / "ImageNet-30-64")
    shutil.copytree(data_dir / "ImageNet-30-64-C", folder / "ImageNet-30-64-C")
    prepare(folder, None, n=8)
    (folder / "ImageNet-30-64-C" / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"6 arrays in .* were not made by this program"):
        prepare(folder, None, n=8)


def test_a_limited_validation_set_is_the_same_by_lists(data_dir, lists, tmp_path):
    listed, drawn = prepare(data_dir, lists, num_val=7), prepare(data_dir, None, n=8, num_val=7)
    assert np.array_equal(listed.validation.indices, drawn.validation.indices)
    assert len(listed.validation.indices) == 7


def test_a_folder_without_lists(tmp_path):
    (tmp_path / "imagenet30_other.txt").write_text("")
    assert find_lists(tmp_path) == {} == find_lists(tmp_path / "missing")
