"""Photographs as people have them: what is decoded, how, and what happens to the rest."""

import errno
import io
import shutil
import subprocess
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from fake_imagenet30 import photograph, write_imagenet30
from PIL import Image
from running import ROOT

from corruptions.errors import DataError
from corruptions.storage import files
from corruptions.storage.photographs import decode
from dataset.prepare_dataset import prepare_dataset, read_clean
from dataset.readers import decoding, read_splits
from dataset.specs import IMAGENET30


def read(data_dir, num_workers=0):
    """The splits, and what was reported."""
    lines = []
    clean = read_splits(IMAGENET30, data_dir, num_workers=num_workers, report=lines.append)
    return clean, lines


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Photographs, not decoded yet."""
    folder = tmp_path_factory.mktemp("photographs")
    write_imagenet30(folder)
    return folder


@pytest.fixture
def data_dir(written, tmp_path):
    shutil.copytree(written, tmp_path / "data")
    return tmp_path / "data"


def test_rows_are_the_photographs_by_class_and_name(data_dir):
    splits, lines = read(data_dir)
    assert [line.split(" to 64×64")[0] for line in lines] == [
        f"decoding {count} {split} photographs in {data_dir / 'ImageNet-30'}"
        for split, count in (("train", 120), ("test", 60))
    ]
    for split, count in (("train", 4), ("test", 2)):
        images, labels = splits[split].images, splits[split].labels
        names, skipped = splits[split].files.names, splits[split].files.skipped
        assert isinstance(images, np.memmap) and images.dtype == np.uint8
        assert labels.dtype == np.int32 and labels.tolist() == np.repeat(range(30), count).tolist()
        assert names[:2] == ["acorn/n00000000_0.JPEG", "acorn/n00000000_1.JPEG"] and not skipped
        for image, name in zip(images, names):
            with Image.open(data_dir / "ImageNet-30" / split / name) as file:
                assert np.array_equal(image, file.resize((64, 64), Image.Resampling.BILINEAR))
    assert read(data_dir)[1] == []


def _triangle_weights(size, side):
    """Bilinear resizing with antialiasing: a triangle as wide as the scale, cut at the edges."""
    scale = size / side
    width = max(scale, 1)
    centres = (np.arange(side) + 0.5) * scale
    distance = (np.arange(size) + 0.5 - centres[:, None]) / width
    weights = np.maximum(0, 1 - np.abs(distance))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize(("width", "height"), [(200, 90), (50, 70), (64, 64), (1, 1)])
def test_decoding_resizes_straight_with_antialiasing(tmp_path, width, height):
    image = photograph(np.random.default_rng(0), 7, width, height)
    image.save(tmp_path / "a.png")
    pixels = np.asarray(image, np.float64)
    expected = np.einsum(
        "yh,xw,hwc->yxc", _triangle_weights(height, 64), _triangle_weights(width, 64), pixels
    )
    assert np.abs(decode(tmp_path / "a.png", 64) - expected).max() <= 1.01


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        ("L", "JPEG", (99, 99, 99)),
        ("CMYK", "JPEG", (200, 99, 10)),
        ("RGB", "PNG", (200, 99, 10)),
        ("P", "PNG", (200, 99, 10)),
        ("RGBA", "PNG", (200, 99, 10)),
        ("LA", "PNG", (99, 99, 99)),
        ("I;16", "PNG", (99, 99, 99)),
        ("1", "PNG", (255, 255, 255)),
        ("P", "GIF", (200, 99, 10)),
        ("RGB", "BMP", (200, 99, 10)),
    ],
)
def test_kinds_of_files_under_one_name(tmp_path, mode, kind, expected):
    colour = (200, 99, 10)
    if mode == "I;16":
        image = Image.fromarray(np.full((30, 40), 99 * 256 + 77, np.uint16))
    elif mode in ("L", "LA", "1"):
        image = Image.new("L", (40, 30), 255 if mode == "1" else 99).convert(mode)
    else:
        image = Image.new("RGB", (40, 30), colour)
        image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(tmp_path / "x.JPEG", kind)
    with Image.open(tmp_path / "x.JPEG") as file:
        assert file.mode == mode and file.format == kind
    found = decode(tmp_path / "x.JPEG", 64)
    assert found.shape == (64, 64, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 3


def _bomb():
    """A PNG file that declares 60,000 × 60,000 pixels."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def test_what_cannot_be_decoded_is_named_and_left_out(data_dir):
    acorns = data_dir / "ImageNet-30" / "train" / "acorn"
    whole = (acorns / "n00000000_0.JPEG").read_bytes()
    (acorns / "a_cut.JPEG").write_bytes(whole[: len(whole) // 2])
    (acorns / "b_text.JPEG").write_text("not an image")
    (acorns / "c_empty.JPEG").write_bytes(b"")
    (acorns / "d_bomb.JPEG").write_bytes(_bomb())
    (acorns / "e_program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (acorns / "._1.JPEG").write_bytes(b"\x00\x05\x16\x07")
    (acorns / ".hidden").mkdir()
    (acorns / ".hidden" / "x.JPEG").write_bytes(whole)
    splits, lines = read(data_dir)
    reasons = [line for line in lines if line.startswith("skipped")]
    assert [line.split(":")[0] for line in reasons] == [
        f"skipped acorn/{name}"
        for name in ("a_cut.JPEG", "b_text.JPEG", "c_empty.JPEG", "d_bomb.JPEG", "e_program.eps")
    ]
    assert "image file is truncated" in reasons[0] and "exceeds limit" in reasons[3]
    for number in (1, 2, 4):
        assert reasons[number].endswith(": not one of JPEG, PNG, GIF, BMP, WEBP, TIFF")
    assert splits["train"].images.shape == (120, 64, 64, 3)
    names, skipped = splits["train"].files.names, splits["train"].files.skipped
    assert len(names) == 120 and len(skipped) == 5 and not any("hidden" in n for n in names)
    # A better copy of a file that was skipped is noticed.
    (acorns / "a_cut.JPEG").write_bytes(whole)
    with pytest.raises(DataError, match=r"0 new, 1 replaced, such as acorn/a_cut.JPEG\): restore"):
        read(data_dir)


def test_many_bad_files_are_not_all_named(data_dir):
    for number in range(25):
        (data_dir / "ImageNet-30" / "test" / "tank" / f"{number:02d}").write_text("x")
    lines = [line for line in read(data_dir)[1] if line.startswith("skipped")]
    assert len(lines) == 21 and lines[-1].startswith("skipped 5 other files, named with")
    records = (data_dir / "ImageNet-30-64" / "test_files.tsv").read_text().splitlines()
    assert sum(line.startswith("tank/") and line.count("\t") == 4 for line in records) == 25


def test_a_file_that_cannot_be_read_is_no_bad_photograph(data_dir, monkeypatch):
    def fails(path, **kwargs):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr("PIL.Image.open", fails)
    with pytest.raises(OSError, match=r"Input/output error: .*acorn/n00000000_0.JPEG"):
        read(data_dir)


def test_folders_of_the_published_archives(written, tmp_path):
    """one_class_train, one_class_test, the latter with a folder within each folder."""
    source, target = written / "ImageNet-30", tmp_path / "ImageNet-30"
    shutil.copytree(source / "train", target / "one_class_train")
    for name in IMAGENET30.class_names:
        shutil.copytree(source / "test" / name, target / "one_class_test" / name / name)
    expected, found = read(written)[0], read(tmp_path)[0]
    for split in ("train", "test"):
        assert np.array_equal(found[split].images, expected[split].images)
        assert np.array_equal(found[split].labels, expected[split].labels)
    shutil.copytree(source / "train", target / "train")
    with pytest.raises(DataError, match="both .*train and .*one_class_train are there"):
        read(tmp_path)
    shutil.rmtree(written / "ImageNet-30-64")


def test_interrupted_decoding_begins_anew(data_dir, monkeypatch):
    expected = {split: part.images.tobytes() for split, part in read(data_dir)[0].items()}
    shutil.rmtree(data_dir / "ImageNet-30-64")
    monkeypatch.setattr(decoding, "_CHUNK", 8)
    real, calls = decoding.decode, []

    def interrupting(path, side):
        calls.append(path.name)
        if len(calls) == 50:
            raise KeyboardInterrupt
        return real(path, side)

    monkeypatch.setattr(decoding, "decode", interrupting)
    with pytest.raises(KeyboardInterrupt):
        read(data_dir)
    folder = data_dir / "ImageNet-30-64"
    assert list(folder.iterdir()) == []
    # As a killed process leaves it.
    (folder / ".train.npy.partial").write_bytes(b"\x01" * 20_000)
    splits, lines = read(data_dir)
    assert lines[0].endswith("once") and len(calls) == 50 + 120 + 60
    assert {split: part.images.tobytes() for split, part in splits.items()} == expected
    assert sorted(p.suffix for p in folder.iterdir()) == [".npy"] * 2 + [".tsv"] * 2


def test_the_table_of_files_is_parsed_once_per_split(data_dir, tmp_path, monkeypatch):
    """By a whole preparation, with the lists that the one before has written."""
    prepared = prepare_dataset(IMAGENET30, data_dir, "contrast", 3, 1, 0)
    for name, text in prepared.lists.items():
        (tmp_path / name).write_text(text)
    read_bytes, calls = type(tmp_path).read_bytes, []
    monkeypatch.setattr(
        type(tmp_path), "read_bytes", lambda path: calls.append(path.name) or read_bytes(path)
    )
    again = prepare_dataset(IMAGENET30, data_dir, "contrast", None, 1, 0, filelist_dir=tmp_path)
    assert again.lists == prepared.lists
    tables = [name for name in calls if name.endswith("_files.tsv")]
    assert sorted(tables) == ["test_files.tsv", "train_files.tsv"]


def test_workers_make_the_same(data_dir, monkeypatch):
    alone = {split: part.images.tobytes() for split, part in read(data_dir)[0].items()}
    shutil.rmtree(data_dir / "ImageNet-30-64")
    monkeypatch.setattr(decoding, "_WORTH_WORKERS", 0)
    monkeypatch.setattr(decoding, "_CHUNK", 16)
    together = read(data_dir, num_workers=2)[0]
    assert {split: part.images.tobytes() for split, part in together.items()} == alone


def test_without_the_photographs_what_was_decoded_is_used(data_dir):
    before = read(data_dir)[0]["train"].labels
    shutil.rmtree(data_dir / "ImageNet-30")
    assert np.array_equal(read(data_dir)[0]["train"].labels, before)
    shutil.rmtree(data_dir / "ImageNet-30-64")
    with pytest.raises(DataError, match=r"ImageNet-30/train is missing: .* put its photographs"):
        read(data_dir)


def test_a_folder_that_has_changed_is_noticed(data_dir):
    read(data_dir)
    barns = data_dir / "ImageNet-30" / "train" / "barn"
    (barns / "n00000005_1.JPEG").rename(barns / "new.JPEG")
    with pytest.raises(DataError, match=r"\(1 gone, 1 new, 0 replaced, such as") as refused:
        read(data_dir)
    assert f"delete {data_dir / 'ImageNet-30-64' / 'train.npy'} to have them" in str(refused.value)
    (data_dir / "ImageNet-30-64" / "train.npy").unlink()
    read(data_dir)
    photograph(np.random.default_rng(9), 0, 99, 99).save(barns / "new.JPEG")
    with pytest.raises(DataError, match=r"\(0 gone, 0 new, 1 replaced, such as barn/new.JPEG"):
        read(data_dir)
    (data_dir / "ImageNet-30-64" / "train.npy").unlink()
    assert "barn/new.JPEG" in read(data_dir)[0]["train"].files.names


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: shutil.rmtree(f / "train" / "tank"), "train/tank holds no photographs"),
        (
            lambda f: [p.write_text("x") for p in (f / "test" / "tank").iterdir()],
            "test.npy: no photograph of tank could be decoded",
        ),
        (
            lambda f: shutil.copytree(f / "train" / "tank", f / "train" / "tank" / "more"),
            "have the same name: rename one",
        ),
        (
            lambda f: (f / "train" / "tank" / "a\tb").write_text("x"),
            "has a tab or a line break in its name",
        ),
    ],
)
def test_folders_that_will_not_do(data_dir, spoil, message):
    spoil(data_dir / "ImageNet-30")
    with pytest.raises(DataError, match=message):
        read(data_dir)


def _cut(path):
    np.save(path.with_name("train.npy"), np.load(path.with_name("train.npy"))[:-1])


def _edit(path, change):
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_cut, "expected uint8 .*made anew"),
        (lambda p: p.unlink(), "files.tsv is missing"),
        (lambda p: _edit(p, lambda lines: [lines[1], lines[0], *lines[2:]]), "in another order"),
        (lambda p: _edit(p, lambda lines: ["acorn\n", *lines[1:]]), "files.tsv is damaged"),
    ],
)
def test_a_decoded_array_that_does_not_fit_is_refused(data_dir, spoil, message):
    read(data_dir)
    spoil(data_dir / "ImageNet-30-64" / "train_files.tsv")
    with pytest.raises(DataError, match=message) as refused:
        read(data_dir)
    assert f"delete {data_dir / 'ImageNet-30-64' / 'train.npy'}" in str(refused.value) or (
        "delete it to have it made anew" in str(refused.value)
    )


def test_a_damaged_list_without_the_photographs(data_dir):
    read(data_dir)
    shutil.rmtree(data_dir / "ImageNet-30")
    _edit(data_dir / "ImageNet-30-64" / "train_files.tsv", lambda lines: ["x/y\t3\n", *lines[1:]])
    with pytest.raises(DataError, match="train_files.tsv is damaged: 'x' is no class; delete"):
        read(data_dir)


def test_both_folders_are_looked_for_before_anything_is_decoded(data_dir):
    shutil.rmtree(data_dir / "ImageNet-30" / "test")
    with pytest.raises(DataError, match="ImageNet-30/test is missing"):
        read(data_dir)
    assert not (data_dir / "ImageNet-30-64").exists()


def test_one_split_needs_no_other(data_dir):
    shutil.rmtree(data_dir / "ImageNet-30" / "train")
    read_clean(IMAGENET30, data_dir, splits=("test",))
    assert not (data_dir / "ImageNet-30-64" / "train.npy").exists()


def test_too_little_memory_is_no_bad_photograph(data_dir, monkeypatch):
    def fails(path, **kwargs):
        raise MemoryError

    monkeypatch.setattr("PIL.Image.open", fails)
    with pytest.raises(OSError, match=r"too little memory to decode .*_0.JPEG: lower --num_w"):
        read(data_dir)


def test_too_little_room(data_dir, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(OSError, match="ImageNet-30-64: the arrays take 1 MB and 1 MB are free"):
        read(data_dir)


@pytest.mark.parametrize("moment", ["write_atomically", "complete"])
def test_killed_at_the_very_end(data_dir, monkeypatch, moment):
    """Before the list of files, or before the array, gets its name."""
    expected = read(data_dir)[0]["train"].images.tobytes()
    shutil.rmtree(data_dir / "ImageNet-30-64")

    def dying(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(decoding, moment, dying)
        read(data_dir)
    assert not (data_dir / "ImageNet-30-64" / "train.npy").exists()
    assert read(data_dir)[0]["train"].images.tobytes() == expected
    assert len(list((data_dir / "ImageNet-30-64").iterdir())) == 4


def test_two_processes_decode_once(data_dir):
    """The second waits for the first, then takes what that made."""
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; from pathlib import Path;"
        "from dataset.readers import decoding, read_splits; import time;"
        "from dataset.specs import IMAGENET30;"
        "real = decoding.decode;"
        "decoding.decode = lambda *a: (time.sleep(0.01), real(*a))[1];"
        "read_splits(IMAGENET30, Path(sys.argv[1]), report=print)"
    )
    command = [sys.executable, "-c", code, str(data_dir), str(ROOT)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum(text.count("decoding") for text in said) == 2  # train and test, once each
    assert read(data_dir)[1] == []
