"""Corrupting a folder of pictures: as arrays with a list of names, and as PNG files again."""

import functools
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from fake_folder import picture
from PIL import Image
from running import ROOT, refusal_of, script_environment, tree

from corruptions import corrupt, generate
from corruptions.jpeg import jpeg_round_trip
from corruptions.storage import own_images, png

KINDS = {"b grau.png": "L", "a.jpg": "RGB", "ü.gif": "P", "c.png": "RGBA", "d.tif": "CMYK"}


@pytest.fixture
def folder(tmp_path):
    """Pictures of many kinds and sizes, and what is none."""
    place = tmp_path / "my pictures"
    place.mkdir()
    rng = np.random.default_rng(0)
    for label, (name, kind) in enumerate(KINDS.items()):
        picture(rng, label, kind).save(place / name)
    (place / "notes.txt").write_text("no picture")
    (place / ".hidden.png").write_text("no picture")
    (place / "older").mkdir()
    return place


def clean_of(folder, side):
    images = []
    for name in sorted(KINDS):
        with Image.open(folder / name) as file:
            resized = file.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
            images.append(np.asarray(resized))
    return np.stack(images)


def pngs_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_from_a_folder_outside_the_project(folder, tmp_path):
    command = [sys.executable, "-m", "corruptions.generate", "--images", "my pictures"]
    command += ["-o", "out", "--side", "32", "-c", "fog", "contrast", "-s", "2", "5", "--png"]
    environment = script_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "skipped my pictures/older: a folder\n" in done.stdout
    assert "skipped my pictures/notes.txt: not one of JPEG" in done.stdout
    assert "20 PNG files written, 0 there already" in done.stdout
    out, names = tmp_path / "out", sorted(KINDS)
    assert (out / "test" / "names.txt").read_text(encoding="utf-8").splitlines() == names
    clean = clean_of(folder, 32)
    for corruption in ("fog", "contrast"):
        for severity in (2, 5):
            expected = corrupt(clean, corruption, severity, split="test")
            array = np.load(out / "test" / str(severity) / f"{corruption}.npy")
            assert np.array_equal(array, expected)
            for image, name in zip(expected, names):
                path = out / corruption / str(severity) / f"{name.rsplit('.', 1)[0]}.png"
                with Image.open(path) as file:
                    assert file.mode == "RGB" and np.array_equal(np.asarray(file), image)
    before = tree(out)
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "0 PNG files written, 20 there already" in again.stdout and tree(out) == before


def test_workers_write_the_same(folder, tmp_path, monkeypatch):
    flags = ["--images", str(folder), "--side", "64", "-c", "contrast", "-s", "1", "--png", "-o"]
    assert generate.main([*flags, str(tmp_path / "alone")]) == 0
    monkeypatch.setattr(png, "_WORTH_WORKERS_BYTES", 0)
    monkeypatch.setattr(own_images, "_WORTH_WORKERS", 0)
    monkeypatch.setattr(own_images, "_CHUNK", 2)
    assert generate.main([*flags, str(tmp_path / "both"), "--num_workers", "2"]) == 0
    assert pngs_in(tmp_path / "both") == pngs_in(tmp_path / "alone")
    for name in pngs_in(tmp_path / "both"):
        pixels = [np.asarray(Image.open(tmp_path / f / name)) for f in ("alone", "both")]
        assert np.array_equal(*pixels)
    expected = jpeg_round_trip(
        corrupt(clean_of(folder, 64), "contrast", 1, split="test"), 85
    )  # with the strengths for 64×64
    assert np.array_equal(np.load(tmp_path / "both" / "test" / "1" / "contrast.npy"), expected)


def test_pictures_of_one_size_stay_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 24, 40, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "in" / f"{number}.png")
    flags = ["--images", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-c", "fog", "-s", "1"]
    np.save(tmp_path / "labels.npy", np.arange(3))
    flags += ["--variant", "cifar", "--splits", "mine", "--labels", str(tmp_path / "labels.npy")]
    assert generate.main(flags) == 0
    found = np.load(tmp_path / "out" / "mine" / "1" / "fog.npy")
    assert np.array_equal(found, corrupt(pixels, "fog", 1, variant="cifar", split="mine"))
    assert np.load(tmp_path / "out" / "mine" / "1" / "labels.npy").tolist() == [0, 1, 2]
    assert not pngs_in(tmp_path / "out")


assert_refused = functools.partial(refusal_of, generate.main)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("--side 7", "--side 7: give a whole number, 8 to 4096"),
        ("--side 0", "--side 0: give a whole number, 8 to 4096"),
        ("", "my pictures/b grau.png"),  # of another size than a.jpg
        ("--side 40", "neither 32 × 32 nor 64 × 64: choose the strengths with --variant"),
        ("--side 300 --variant cifar -c frost", "frost: images of 300 × 300 are larger"),
    ],
)
def test_flags_that_do_not_fit_are_refused(folder, tmp_path, capsys, flags, text):
    before = tree(tmp_path)
    own = ["--images", folder, "-o", tmp_path / "out", "-c", "fog", "--png"]
    assert_refused(capsys, [*own, *flags.split()], text)
    assert tree(tmp_path) == before


def test_other_images_have_no_side_and_no_names(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((2, 32, 32, 3), np.uint8))
    own = ["--images", tmp_path / "x.npy", "-o", tmp_path / "out", "-c", "fog"]
    assert_refused(capsys, [*own, "--side", "32"], "--side goes with a folder of --images alone")
    assert_refused(capsys, [*own, "--png"], "--png goes with a folder of --images alone")
    assert_refused(capsys, ["-d", "cifar10", "-c", "fog", "--png"], "--png goes with a folder")
    assert not (tmp_path / "out").exists()


def two_of_one_name(folder):
    picture(np.random.default_rng(0), 0).save(folder / "a.png")
    return "--png: a.jpg and a.png would both become a.png: rename one"


def nothing_to_read(folder):
    for name in KINDS:
        (folder / name).unlink()
    return "my pictures holds no pictures: name the folder that they lie in"


def line_break(folder):
    (folder / "a.jpg").rename(folder / "a\nb.jpg")
    return "has a line break in its name: rename it"


@pytest.mark.parametrize("spoil", [two_of_one_name, nothing_to_read, line_break])
def test_folders_that_do_not_fit_are_refused(folder, tmp_path, capsys, spoil):
    text = spoil(folder)
    before = tree(tmp_path)
    flags = ["--images", folder, "-o", tmp_path / "out", "-c", "fog", "--side", "32", "--png"]
    assert_refused(capsys, flags, text)
    assert tree(tmp_path) == before


def test_small_pictures_are_refused(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (7, 9)).save(tmp_path / "in" / "a.png")
    flags = ["--images", tmp_path / "in", "-o", tmp_path / "out", "-c", "fog"]
    assert_refused(capsys, flags, "a.png has 7×9 pixels, and a side needs at least 8: give --side")


def test_what_is_there_is_not_overwritten(folder, tmp_path, capsys):
    flags = ["--images", folder, "-o", tmp_path / "out", "-c", "fog", "-s", "1", "--side", "32"]
    flags += ["--png"]
    assert generate.main([*map(str, flags)]) == 0
    path = tmp_path / "out" / "fog" / "1" / "c.png"
    whole = path.read_bytes()
    Image.new("RGB", (32, 32)).save(path)
    assert_refused(capsys, flags, f"{path} is another picture than would be written there")
    path.write_bytes(whole[:-30])
    assert_refused(capsys, flags, f"{path} is damaged", "delete it to have it written anew")
    path.unlink()
    assert generate.main([*map(str, flags)]) == 0 and path.read_bytes() == whole
    (folder / "a.jpg").rename(folder / "aa.jpg")
    assert_refused(capsys, flags, "names.txt lists other pictures than those that are there now")
    (folder / "aa.jpg").unlink()
    assert_refused(capsys, flags, "names.txt lists other pictures")


@pytest.mark.slow
def test_stopped_it_goes_on(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(400):
        pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number:03d}.png")
    flags = ["--images", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-c", "contrast"]
    flags += ["--png", "--num_workers", "0"]
    command = [sys.executable, "-m", "corruptions.generate", *flags]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        first, deadline = tmp_path / "out" / "contrast" / "1" / "050.png", time.monotonic() + 60
        while not first.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        error = process.stderr.read()
    assert process.returncode == 143
    assert error == "python -m corruptions.generate: terminated: the same command goes on\n"
    left = tree(tmp_path / "out" / "contrast")
    assert 50 < len(left) < 2005 and not list((tmp_path / "out").rglob("*.partial"))
    assert generate.main(flags) == 0
    after = tree(tmp_path / "out" / "contrast")
    assert sum(path.suffix == ".png" for path in after) == 2000
    assert all(after[path] == value for path, value in left.items() if path.suffix == ".png")
