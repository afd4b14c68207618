"""Own photographs and own arrays: what is read, what is set aside, what is refused."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from fake_folder import CLASSES, picture, write_arrays, write_folder
from fake_imagenet30 import write_imagenet30
from PIL import Image
from running import ROOT, assert_refused, evaluated_rows, rows, tree, wait_until

import main
from corruptions import corrupt
from corruptions.errors import DataError
from corruptions.frost_photographs import PUBLISHED, smallest_picture
from corruptions.storage.photographs import decode
from dataset.own_data import find_own_data
from dataset.prepare_dataset import prepare_dataset, read_clean
from dataset.readers import photographs, read_splits
from dataset.specs import IMAGENET30, spec_of
from sharpdro.command_line.settings import parse
from sharpdro.report.runs import read_runs

NAMES = tuple(CLASSES)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("own"))


@pytest.fixture
def data_dir(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "mine"))


def train_sizes():
    return [counts[0] for counts in CLASSES.values()]


def test_rows_are_the_photographs_by_class_and_name(data_dir):
    own = find_own_data("folder", data_dir, 32)
    assert own.spec.class_names == NAMES and own.class_sizes.tolist() == train_sizes()
    assert not (data_dir / "decoded-32").exists()
    clean = read_splits(own.spec, data_dir)
    for number, split in enumerate(("train", "test")):
        images, labels = clean[split].images, clean[split].labels
        sizes = [counts[number] for counts in CLASSES.values()]
        assert labels.tolist() == np.repeat(range(3), sizes).tolist()
        paths = [p for name in NAMES for p in sorted((data_dir / split / name).iterdir())]
        for image, path in zip(images, paths, strict=True):
            with Image.open(path) as file:
                small = file.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
            assert np.array_equal(image, small)
    again = find_own_data("folder", data_dir, 32)
    shutil.rmtree(data_dir / "train")
    shutil.rmtree(data_dir / "test")
    alone = find_own_data("folder", data_dir, 32)  # of what was decoded
    assert alone.spec == again.spec == own.spec
    assert alone.class_sizes.tolist() == train_sizes()


@pytest.mark.parametrize(
    ("side", "variant", "quality", "model"),
    [
        *((32, "cifar", None, "wideresnet"), (64, "imagenet64", 85, "resnet50")),
        *((24, "imagenet64", 85, "wideresnet"), (96, "imagenet64", 85, "resnet50")),
    ],
)
def test_strengths_by_side(side, variant, quality, model):
    spec = spec_of("folder", side, NAMES)
    assert (spec.variant, spec.jpeg_quality, spec.model) == (variant, quality, model)
    assert spec.num_classes == 3 and not spec.labels_tell_order


def test_the_way_a_camera_was_held_is_not_looked_at(tmp_path):
    """As for ImageNet-30, and as torchvision's ImageFolder does it."""
    image = picture(np.random.default_rng(0), 1)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(decode(tmp_path / "plain.png", 32), decode(tmp_path / "turned.png", 32))


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((9, 9), 0.5, np.float32), "floating-point"),
        (np.full((9, 9), 70_000, np.int32), "more than 16 bits"),
    ],
)
def test_pixels_of_unknown_range_are_refused(tmp_path, pixels, reason):
    Image.fromarray(pixels).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=reason):
        decode(tmp_path / "x.tif", 32)


def test_without_test_photographs_a_fifth_of_each_class_is_set_aside(data_dir, tmp_path):
    shutil.rmtree(data_dir / "test")
    spec = find_own_data("folder", data_dir, 32).spec
    parts = {split: photographs.find_split(spec, data_dir, split) for split in ("train", "test")}
    everything = photographs.find_photographs(data_dir / "train", NAMES)
    assert {**parts["train"], **parts["test"]} == everything
    assert not parts["train"].keys() & parts["test"].keys()
    for name, (size, _) in CLASSES.items():
        assert sum(file.startswith(f"{name}/") for file in parts["test"]) == size // 5
    sizes = find_own_data("folder", data_dir, 32).class_sizes
    assert sizes.tolist() == [size - size // 5 for size in train_sizes()]
    lines, made = [], []
    for seed in (0, 1):
        data = prepare_dataset(spec, data_dir, "contrast", 9, 1, seed, report=lines.append)
        made.append(data)
    assert any("a fifth of each class's training images" in line for line in lines)
    first, second = made
    assert first.fingerprint == second.fingerprint
    assert first.checksums()["test"] == second.checksums()["test"]
    assert first.checksums()["training"] != second.checksums()["training"]


def imagenet30(tmp_path):
    write_imagenet30(tmp_path)
    return IMAGENET30, tmp_path, tmp_path / "ImageNet-30" / "train" / "banjo" / "n00000004_1.JPEG"


def own_folder(tmp_path):
    write_folder(tmp_path)
    return spec_of("folder", 64, NAMES), tmp_path, tmp_path / "train" / "Hund" / "Bild 03 ü.png"


@pytest.mark.parametrize("make", [imagenet30, own_folder])
def test_a_photograph_replaced_by_one_of_equal_size_is_noticed(tmp_path, make):
    spec, data_dir, path = make(tmp_path)
    before = read_clean(spec, data_dir)["train"][0].copy()
    os.utime(path, ns=(1, 1))  # as copied: the same bytes
    assert np.array_equal(read_clean(spec, data_dir)["train"][0], before)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"1 replaced, such as {path.parent.name}/"):
        read_clean(spec, data_dir)
    # Tables of earlier versions know sizes alone.
    table = data_dir / spec.decoded_folder / "train_files.tsv"
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    assert {len(line) for line in lines} == {4}
    table.write_text("".join(f"{line[0]}\t{line[1]}\n" for line in lines))
    assert np.array_equal(read_clean(spec, data_dir)["train"][0], before)


def test_table_records_what_was_decoded(data_dir):
    (data_dir / "train" / "Hund" / "zuletzt.txt").write_text("no photograph")
    read_splits(spec_of("folder", 32, NAMES), data_dir)
    table = (data_dir / "decoded-32" / "train_files.tsv").read_text().splitlines()
    for line in table[:3]:
        name, size, time, crc32 = line.split("\t")
        path = data_dir / "train" / name
        assert (int(size), int(time)) == (path.stat().st_size, path.stat().st_mtime_ns)
        assert crc32 == f"{zlib.crc32(path.read_bytes()):08x}"
    assert table[train_sizes()[0]].split("\t")[4].startswith("not one of JPEG")


# Changes to a folder of photographs, and what the one line says of them.
def no_train(folder):
    shutil.rmtree(folder / "train")
    return f"{folder}/train is missing: put photographs there, a folder for"


def one_class(folder):
    for name in NAMES[1:]:
        shutil.rmtree(folder / "train" / name)
    return "at least two classes, and has Hund: name the right place with --data_dir"


def class_without_photographs(folder):
    (folder / "train" / "leer").mkdir()
    (folder / "test" / "leer").mkdir()
    return "train/leer holds no photographs"


def other_test_classes(folder):
    (folder / "test" / "Hund").rename(folder / "test" / "Hunde")
    return "test has other classes than expected: 'Hund' is missing"


def name_with_line_break(folder):
    (folder / "train" / "a\nb").mkdir()
    return r"a\nb' has a name that cannot be printed: rename it"


def one_photograph_and_no_test(folder):
    shutil.rmtree(folder / "test")
    for path in sorted((folder / "train" / "Hund").iterdir())[1:]:
        path.unlink()
    return "class Hund has 1 images, of which some must be set aside for testing"


def class_too_small(folder):
    return "-n 25 is too large: class große Katze has 24 training images: give -n 18, say"


@pytest.mark.parametrize(
    "spoil",
    [
        *(no_train, one_class, class_without_photographs, other_test_classes),
        *(name_with_line_break, one_photograph_and_no_test, class_too_small),
    ],
)
def test_folders_that_do_not_fit_are_refused(data_dir, tmp_path, capsys, spoil):
    text = spoil(data_dir)
    before = tree(tmp_path)
    flags = ["-d", "folder", "--data_dir", data_dir, "--log_dir", tmp_path / "logs", "--depth", 10]
    assert_refused(capsys, [*flags, "-m", "wideresnet", "-n", 25], text)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "texts"),
    [
        (["-d", "cifar10", "--side", "32"], ["--side does not apply to -d cifar10: leave it out"]),
        (["-d", "arrays", "--side", "32"], ["--side does not apply to -d arrays"]),
        (["-d", "folder", "--side", "7"], ["--side: 7 is not a whole number >= 8 and <= 1024"]),
        (["-d", "folder", "--filelist_dir", "."], ["--filelist_dir does not apply to -d folder"]),
        (
            ["-d", "folder", "--side", "211", "-c", "frost"],
            ["-c frost: images of 211×211", "210×300: lower --side, or name larger", "--frost_dir"],
        ),
        (
            ["-d", "folder", "--side", "96", "-c", "frost", "--frost_dir", "FROST"],
            ["-c frost: images of 96×96", "75×90: lower --side"],
        ),
    ],
)
def test_flags_that_do_not_fit_are_refused(data_dir, tmp_path, capsys, flags, texts):
    (tmp_path / "frost").mkdir()
    for name in PUBLISHED:
        Image.new("RGB", (300, 250)).save(tmp_path / "frost" / name)
    flags = [str(tmp_path / "frost") if flag == "FROST" else flag for flag in flags]
    before = tree(tmp_path)
    assert_refused(capsys, [*flags, "--data_dir", data_dir, "--log_dir", tmp_path / "l"], *texts)
    assert tree(tmp_path) == before


def test_frost_covers_what_is_not_refused():
    """The limit is that of the corruption itself."""
    for variant, (height, width) in {"cifar": (140, 200), "imagenet64": (210, 300)}.items():
        assert smallest_picture(variant) == (height, width)
    corrupt(np.zeros((1, 210, 210, 3), np.uint8), "frost", 5, variant="imagenet64")
    with pytest.raises(ValueError, match="larger than the pictures of frost"):
        corrupt(np.zeros((1, 211, 211, 3), np.uint8), "frost", 5, variant="imagenet64")


def test_defaults(data_dir):
    flags = ["-d", "folder", "--data_dir", str(data_dir)]
    args = parse(flags)
    assert (args.side, args.num_per_class, args.model) == (64, 18, "resnet50")
    assert args.class_names == NAMES
    args = parse([*flags, "--side", "32", "-n", "5"])
    assert (args.side, args.num_per_class, args.model) == (32, 5, "wideresnet")


def test_a_run_says_what_is_special_about_its_data(data_dir, tmp_path, asked_steps):
    """In its log and in settings.json; -n is three quarters of the smallest class."""
    shutil.rmtree(data_dir / "test")
    flags = [*("-d", "folder", "--data_dir", str(data_dir), "--side", "24", "--num_severity", "1")]
    flags += ["--depth", "10", "--widen_factor", "1", "-b", "8", "-c", "contrast"]
    assert main.main([*flags, "--log_dir", str(tmp_path / "logs")]) == 2 and asked_steps
    (folder,) = (tmp_path / "logs").iterdir()
    content = json.loads((folder / "settings.json").read_text())
    assert content["settings"]["num_per_class"] == 15  # of 24 - 4
    strengths, test_images = content["data"]["remarks"]
    assert strengths.endswith("chosen for images of 64×64, and these have 24×24")
    assert test_images.startswith("test images: a fifth of each class's training images in")
    log = (folder / "log.txt").read_text(encoding="utf-8")
    assert strengths in log and test_images in log


# Arrays.
def test_arrays_are_read_as_they_are(tmp_path):
    images, labels = write_arrays(tmp_path)
    write_arrays(tmp_path, (3, 3, 4), name="test", seed=1)
    own = find_own_data("arrays", tmp_path)
    assert own.spec.side == 16 and own.spec.class_names == ("0", "1", "2")
    assert own.class_sizes.tolist() == [30, 24, 40]
    clean = read_splits(own.spec, tmp_path)
    assert np.array_equal(clean["train"].images, images)
    assert np.array_equal(clean["train"].labels, labels) and len(clean["test"].labels) == 10
    assert clean["train"].labels.dtype == np.int32
    fortran = np.asfortranarray(images)
    np.savez_compressed(tmp_path / "train.npz", images=fortran, labels=labels.astype(">u2"))
    again = read_splits(own.spec, tmp_path)["train"]
    assert np.array_equal(again.images, images) and np.array_equal(again.labels, labels)


def test_without_test_arrays_a_fifth_of_each_class_is_set_aside(tmp_path):
    images, labels = write_arrays(tmp_path)
    own = find_own_data("arrays", tmp_path)
    assert own.class_sizes.tolist() == [24, 20, 32]
    clean = read_splits(own.spec, tmp_path)
    assert np.bincount(clean["test"].labels).tolist() == [6, 4, 8]
    together = np.concatenate([clean["train"].images, clean["test"].images])
    assert sorted(map(bytes, together)) == sorted(map(bytes, images))
    (alone,) = read_splits(own.spec, tmp_path, ("test",)).values()
    assert np.array_equal(alone.images, clean["test"].images)


LABELS = np.repeat([0, 1], 8)
IMAGES = np.zeros((16, 16, 16, 3), np.uint8)


def _bomb():
    """A member that declares a thousand GB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        header = io.BytesIO()
        fields = {"descr": "|u1", "fortran_order": False, "shape": (2**28, 64, 64, 3)}
        np.lib.format.write_array_header_1_0(header, fields)
        archive.writestr("images.npy", header.getvalue())
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "train.npz is missing: save it with numpy.savez"),
        (b"PK nothing", "train.npz is not a whole .npz file"),
        (_bomb(), "images (268435456, 64, 64, 3) of uint8 is not its 0 bytes"),
        ({"images": IMAGES}, "train.npz holds images, not labels"),
        ({"x": IMAGES, "y": LABELS}, "train.npz holds x, y, not images"),
        ({"images": IMAGES / 255}, "images is float64 (16, 16, 16, 3): make it uint8"),
        ({"images": IMAGES[..., 0]}, "images is uint8 (16, 16, 16): make it uint8 (N, side, side"),
        ({"images": IMAGES[:, :9]}, "images is uint8 (16, 9, 16, 3): make it"),
        ({"images": IMAGES[:, :7, :7]}, "squares of 8 to 1024 pixels"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "images is uint8 (0, 16, 16, 3)"),
        ({"images": IMAGES.astype(object)}, "images holds Python objects, which are not loaded"),
        ({"labels": LABELS.astype(object)}, "labels holds Python objects, which are not loaded"),
        ({"labels": LABELS / 2}, "labels is float64 (16,): make it whole numbers (16,)"),
        ({"labels": LABELS[:9]}, "labels is int64 (9,): make it whole numbers (16,)"),
        ({"labels": LABELS - 1}, "labels go from -1 to 0: number the classes from 0 on"),
        ({"labels": LABELS * 10**9}, "labels go from 0 to 1000000000: number the classes"),
        ({"labels": LABELS * 2}, "labels go from 0 to 2, but none is 1"),
        ({"labels": LABELS * 0}, "labels go from 0 to 0, but all labels are 0"),
        ({"test": {"labels": np.repeat([0, 1, 2, 0], 4)}}, "2 in train.npz, but 3 in test.npz"),
        ({"test": {"images": IMAGES[:, :8, :8]}}, "images of 16×16 in"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, capsys, content, text):
    folder = tmp_path / "mine"
    folder.mkdir()
    if isinstance(content, bytes):
        (folder / "train.npz").write_bytes(content)
    elif content is not None:
        test = content.pop("test", None)
        whole = {"images": IMAGES, "labels": LABELS}
        if set(content) == {"images"} and text.endswith("not labels") or "x" in content:
            whole = {}
        np.savez(folder / "train.npz", **{**whole, **content})
        if test is not None:
            np.savez(folder / "test.npz", **{"images": IMAGES, "labels": LABELS, **test})
    before = tree(tmp_path)
    assert_refused(
        capsys, ["-d", "arrays", "--data_dir", folder, "--log_dir", tmp_path / "l"], text
    )
    assert tree(tmp_path) == before


def test_damaged_arrays_are_refused(tmp_path):
    images, _ = write_arrays(tmp_path)
    spec = find_own_data("arrays", tmp_path).spec
    content = bytearray((tmp_path / "train.npz").read_bytes())
    content[len(images[0])] ^= 1
    content[len(content) // 4] ^= 1
    (tmp_path / "train.npz").write_bytes(content)
    with pytest.raises(DataError, match="train.npz is not a whole .npz file"):
        read_splits(spec, tmp_path)


TINY = [
    *("-d", "folder", "--side", "32", "-n", "18", "--num_severity", "2", "--method", "erm"),
    *("--depth", "10", "--widen_factor", "1", "-b", "16", "--lr", "0.05"),
    *("--total_epoch", "40", "--eval_every", "40", "--no-show_progress"),
]


def test_a_run_on_own_photographs(data_dir, tmp_path, capsys):
    """Stopped, refused on other photographs, resumed, measured again, refused on others."""
    logs = tmp_path / "logs"
    flags = [*TINY, "--data_dir", str(data_dir), "--log_dir", str(logs)]
    folder = logs / "run_dsetfolder_corrgaussian_noise_erm_seed0"
    command = [sys.executable, str(ROOT / "main.py"), *flags]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        wait_until(process, lambda: (folder / "last.ckpt").exists())
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    settings = json.loads((folder / "settings.json").read_text())["settings"]
    clean = read_clean(spec_of("folder", 32, NAMES), data_dir)
    sums = [
        f"{zlib.crc32(images.tobytes(), zlib.crc32(labels.astype('<i4'))):08x}"
        for images, labels in clean.values()
    ]
    assert settings["fingerprint"] == "-".join(sums)
    assert settings["class_names"] == list(NAMES) and settings["side"] == 32

    others = write_folder(tmp_path / "others", seed=1)
    before = tree(logs)
    elsewhere = [*TINY, "--data_dir", others, "--log_dir", logs, "--resume"]
    text = f"the train images in {others} differ from those of the network's training run"
    assert_refused(capsys, elsewhere, text)
    assert main.main([*map(str, elsewhere), "--dry_run"]) == 2
    assert text in capsys.readouterr().out
    renamed = shutil.copytree(others, tmp_path / "renamed")
    for split in ("train", "test"):
        (renamed / split / "Hund").rename(renamed / split / "Esel")
    elsewhere[elsewhere.index(others)] = renamed
    assert_refused(capsys, elsewhere, "the classes in --data_dir", "such as Esel: name the place")
    assert tree(logs) == before

    flags.remove("-n"), flags.remove("18")  # the run's own, also where the default is another
    assert main.main([*flags, "--resume"]) == 0
    measured = [row for row in rows(folder / "test.csv") if row["epoch"] == "40"]
    assert {row["count"] for row in measured if row["severity"] in "012"} == {"15"}
    reported, remarks = read_runs([logs])
    assert [run.folder for run in reported] == [folder] and not remarks
    again = ["--eval_only", "--checkpoint", str(folder / "last.ckpt"), "--log_dir", str(logs)]
    assert main.main([*again, "--data_dir", str(data_dir), "--desc", "again"]) == 0
    evaluated = logs / "again_dsetfolder_corrgaussian_noise_eval_seed0"
    assert evaluated_rows(evaluated) == measured
    check_evaluations_that_are_refused(capsys, again, data_dir, others, renamed)


def check_evaluations_that_are_refused(capsys, again, data_dir, others, renamed):
    text = f"the test images in {others} differ from those"
    assert_refused(capsys, [*again, "--data_dir", others], text)
    assert_refused(capsys, [*again, "--data_dir", renamed], "other classes", "such as Esel")
    own = [*again, "--data_dir", data_dir, "--side", "64"]
    assert_refused(capsys, own, "read as images of 64×64, but the network was trained on 32×32")
    nowhere = [*again, "--data_dir", data_dir / "nowhere"]
    assert_refused(capsys, nowhere, "nowhere/test is missing: put photographs", "--data_dir")
