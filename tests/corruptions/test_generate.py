"""The command line that corrupts whole datasets."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_cifar
import numpy as np
import pytest
from PIL import Image

from corruptions import CORRUPTIONS, EXTRA, STANDARD, corrupt, generate
from corruptions.frost_photographs import PUBLISHED
from corruptions.jpeg import jpeg_round_trip
from corruptions.storage import manifest
from dataset.prepare_dataset import read_clean
from dataset.specs import CIFAR10, DATASETS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data_dir(tmp_path):
    fake_cifar.write_cifar10(tmp_path)
    return tmp_path


@pytest.fixture
def own(tmp_path):
    """Twelve images of 64 pixels, their labels, and the flags that name them."""
    images = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", np.arange(12) % 3)
    return images, ["--images", str(tmp_path / "images.npy"), "-o", str(tmp_path / "out")]


def arrays_in(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.npy")
        if path.name != "labels.npy"
    )


def test_dataset(data_dir, capsys):
    flags = ["-d", "cifar10", "--data_dir", str(data_dir), "-s", "2", "5"]
    assert generate.main([*flags, "-c", "contrast", "shot_noise"]) == 0
    folder = data_dir / "CIFAR-10-C"
    names = ("contrast", "shot_noise")
    expected = [f"{s}/{n}/{c}.npy" for s in ("test", "train") for n in (2, 5) for c in names]
    assert arrays_in(folder) == expected
    for split, (images, labels) in read_clean(CIFAR10, data_dir).items():
        found = np.load(folder / split / "5" / "shot_noise.npy")
        assert np.array_equal(found, corrupt(images, "shot_noise", 5, split=split))
        assert np.array_equal(np.load(folder / split / "5" / "labels.npy"), labels)
    text = capsys.readouterr().out
    assert "CIFAR-10-C: cifar strengths, seed 0, no JPEG" in text
    assert "8 arrays asked for, 0 there, 8 to make" in text
    assert re.search(r"960 images in .* s, .* images/s", text)

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    assert generate.main([*flags, "-c", "contrast", "fog", "--splits", "test"]) == 0
    assert "4 arrays asked for, 2 there, 2 to make" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(arrays_in(folder)) == 10


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (["all"], CORRUPTIONS),
        (["standard"], STANDARD),
        (["extra"], EXTRA),
        (["fog", "extra", "fog"], ("fog", *EXTRA)),
    ],
)
def test_sets_of_corruptions(own, tmp_path, asked, names):
    assert generate.main([*own[1], "-c", *asked, "-s", "1"]) == 0
    assert arrays_in(tmp_path / "out") == sorted(f"test/1/{name}.npy" for name in names)


def test_own_images_of_64_pixels_go_through_jpeg_unless_raw(own, tmp_path):
    images, flags = own
    assert generate.main([*flags, "-c", "contrast", "-s", "1", "--splits", "val"]) == 0
    raw = corrupt(images, "contrast", 1, variant="imagenet64", split="val")
    found = np.load(tmp_path / "out" / "val" / "1" / "contrast.npy")
    assert np.array_equal(found, jpeg_round_trip(raw, 85))
    assert generate.main([*flags, "-c", "contrast", "-s", "1", "--splits", "val", "--raw"]) == 2
    flags[-1] = str(tmp_path / "raw")
    assert generate.main([*flags, "-c", "contrast", "-s", "1", "--splits", "val", "--raw"]) == 0
    assert np.array_equal(np.load(tmp_path / "raw" / "val" / "1" / "contrast.npy"), raw)


def test_labels_seed_variant_and_workers(own, tmp_path, monkeypatch):
    images, flags = own
    asked = []
    monkeypatch.setattr(
        generate, "make_arrays", lambda *arguments, **k: asked.append((arguments, k))
    )
    flags += ["--labels", str(tmp_path / "labels.npy"), "--seed", "3", "--variant", "cifar"]
    assert generate.main([*flags, "-c", "fog", "-s", "4", "--num_workers", "7"]) == 0
    (folder, sources, (recipe,), num_workers), _ = asked[0]
    assert folder == tmp_path / "out" and num_workers == 7
    assert (recipe.seed, recipe.variant, recipe.jpeg_quality) == (3, "cifar", None)
    assert np.array_equal(sources["test"].labels, np.arange(12) % 3)


def test_strengths_for_64_go_with_jpeg_whatever_the_dataset():
    """And so each dataset has by its strengths what main.py makes for it."""
    for spec in DATASETS.values():
        expected = {"cifar": None, "imagenet64": 85}
        assert spec.jpeg_quality == expected[spec.variant]
        images = np.zeros((1, spec.side, spec.side, 3), np.uint8)
        sources = {"test": generate.Source(images, np.zeros(1, int))}
        for variant, quality in expected.items():
            flags = ["-d", spec.name, "-c", "fog", "-s", "1", "--variant", variant]
            args = generate.parse(generate.create_parser(), flags)
            (recipe,) = generate.create_recipes(args, sources)
            assert (recipe.variant, recipe.jpeg_quality) == (variant, quality)


def test_frost_dir(own, tmp_path):
    for name in PUBLISHED:
        Image.new("RGB", (300, 250), (200, 200, 200)).save(tmp_path / name)
    images, flags = own
    flags += ["-c", "frost", "-s", "1", "--raw", "--frost_dir", str(tmp_path)]
    assert generate.main(flags) == 0
    found = np.load(tmp_path / "out" / "test" / "1" / "frost.npy")
    assert np.abs(found - np.clip(images + 0.3 * 200, 0, 255)).max() <= 1
    entry = manifest.read(tmp_path / "out")["test/1/frost.npy"]
    assert set(entry["frost"]) == set(PUBLISHED)


def test_verify(own, tmp_path, capsys):
    flags = own[1]
    assert generate.main([*flags, "-c", "fog", "contrast", "-s", "1"]) == 0
    verify = ["--verify", "-o", str(tmp_path / "out")]
    assert generate.main(verify) == 0
    assert "all 2 arrays are as the manifest says: contrast, fog" in capsys.readouterr().out
    (tmp_path / "out" / "test" / "1" / "fog.npy").unlink()
    assert generate.main(verify) == 1
    told = capsys.readouterr().out.splitlines()
    assert (
        told[0] == "test/1/fog.npy: missing"
        and ": 1 problem, named above; delete the files" in told[1]
    )
    assert generate.main([*flags, "-c", "fog", "-s", "1"]) == generate.main(verify) == 0


def test_other_ways_are_refused_all_at_once(own, capsys):
    flags = [*own[1], "-c", "fog"]
    assert generate.main(flags) == 0
    assert generate.main([*flags, "--seed", "2"]) == 2
    text = "test/1/fog.npy (and 4 others) was made with seed 0, not 2: delete it"
    assert text in capsys.readouterr().err


def assert_refused(capsys, arguments, text):
    try:
        code = generate.main(arguments)
    except SystemExit as exit:
        code = exit.code
    error = capsys.readouterr().err
    assert code == 2 and text in error and error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("-c fog", "give either -d DATASET or --images FILE.npy or FOLDER"),
        ("-d cifar10 --images x.npy -c fog", "give either -d DATASET or --images"),
        ("--images x.npy -c fog", "--images needs --output FOLDER"),
        ("-d cifar10 --labels x.npy -c fog", "--labels goes with --images alone"),
        ("-d cifar10", "-c: name corruptions"),
        ("-d cifar10 -c rain", "invalid choice: 'rain'"),
        ("-d cifar10 -c fog -s 6", "invalid choice: 6"),
        ("-d cifar10 -c fog --splits val", "--splits: -d has train and test alone"),
        ("--images x.npy -o y -c fog --splits a b", "--images is one split"),
        ("-d cifar10 -c fog --seed -1", "--seed"),
        ("-d cifar10 -c fog --num_workers x", "--num_workers: 'x' is not a whole number"),
        ("--images x.npy -o y -c fog", "--images x.npy: No such file or directory"),
        (f"--images x.npy -o {__file__} -c fog", f"--output {__file__} is not a folder: name one"),
        (f"-d cifar10 -c fog --data_dir {__file__}", f"--data_dir {__file__} is not a folder"),
        ("--verify", "--verify needs either -d DATASET or --output FOLDER"),
        ("--verify -o x -c fog", "--verify looks at the whole folder: leave out --corruptions"),
        ("--verify -o x --seed 3", "--verify looks at the whole folder: leave out --seed"),
        ("-d cifar10 -c fog --frost_dir x", "--frost_dir goes with frost alone"),
        ("--images x.npy -o y -c fog --splits ../z", "--splits: '../z' must be a plain name"),
        ("--images x.npy -o y -c fog --splits .", "--splits: '.' must be a plain name"),
        ("--verify -o nowhere", "nowhere/manifest.json is missing or empty"),
    ],
)
def test_bad_usage(capsys, tmp_path, monkeypatch, flags, text):
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, flags.split(), text)
    assert list(tmp_path.iterdir()) == []


def test_bad_files(capsys, own, tmp_path):
    flags = [*own[1], "-c", "fog"]
    np.save(tmp_path / "images.npy", np.zeros((3, 64, 64, 3), np.float32))
    assert_refused(capsys, flags, "holds float32 (3, 64, 64, 3), not uint8 (N, H, W, 3)")
    np.save(tmp_path / "images.npy", np.zeros((3, 40, 40, 3), np.uint8))
    assert_refused(capsys, flags, "neither 32 × 32 nor 64 × 64: choose the strengths with")
    assert_refused(
        capsys, [*flags, "frost", "--variant", "imagenet64", "--labels", "x"], "--labels x: No such"
    )
    np.save(tmp_path / "images.npy", np.zeros((3, 240, 240, 3), np.uint8))
    assert_refused(
        capsys, [*flags, "frost", "--variant", "cifar"], "frost: images of 240 × 240 are larger"
    )
    np.save(tmp_path / "images.npy", np.zeros((3, 7, 40, 3), np.uint8))
    assert_refused(capsys, [*flags, "--variant", "cifar"], "fog: images must be (N, H, W, 3)")
    np.save(tmp_path / "images.npy", np.zeros((3, 40, 40, 3), np.uint8))
    labels = ["--labels", str(tmp_path / "labels.npy"), "--variant", "cifar"]
    assert_refused(
        capsys, [*flags, *labels], "holds int64 (12,), not one label, a whole number, for each"
    )
    np.save(tmp_path / "labels.npy", np.array(["a", "b", "c"]))
    assert_refused(capsys, [*flags, *labels], "holds <U1 (3,), not one label, a whole number")
    (tmp_path / "images.npy").write_text("no array")
    assert_refused(capsys, flags, "save the array with numpy.save")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "code", "text"),
    [
        (signal.SIGTERM, 143, "terminated"),
        pytest.param(signal.SIGINT, 130, "interrupted", marks=pytest.mark.slow),
    ],
)
def test_interruption_is_one_line_and_the_command_goes_on(tmp_path, number, code, text):
    images = np.random.default_rng(0).integers(0, 256, (12000, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    flags = ["--images", str(tmp_path / "images.npy"), "-o", str(tmp_path / "out")]
    flags += ["-c", "jpeg_compression"]
    command = [sys.executable, "-m", "corruptions.generate", *flags]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        first = tmp_path / "out" / "test" / "1" / "jpeg_compression.npy"
        deadline = time.monotonic() + 60
        while not first.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        error = process.stderr.read()
    assert process.returncode == code
    assert error == f"python -m corruptions.generate: {text}: the same command goes on\n"
    left = arrays_in(tmp_path / "out")
    assert 1 <= len(left) < 5 and not list((tmp_path / "out").rglob("*.partial"))
    assert generate.main([*flags, "-s", *"12345"[: len(left) + 1]]) == 0
    assert list(manifest.verify(tmp_path / "out")) == []
    assert len(arrays_in(tmp_path / "out")) == len(left) + 1
