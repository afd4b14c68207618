"""The contact sheet shows what `corrupt` makes."""

import fake_cifar
import numpy as np
import pytest
from PIL import Image

from corruptions import CORRUPTIONS, EXTRA, contact_sheet, corrupt
from dataset.prepare_dataset import read_clean
from dataset.specs import CIFAR10


def tiles(path, num_rows, side, magnify):
    """The pictures on a sheet, (rows, 6, side, side, 3): its right lower part is a plain grid."""
    sheet = np.asarray(Image.open(path).convert("RGB"))
    step, gap = side * magnify + 4, 4
    grid = sheet[-num_rows * step :, -6 * step :]
    grid = grid.reshape(num_rows, step, 6, step, 3).transpose(0, 2, 1, 3, 4)
    return grid[:, :, : step - gap, : step - gap][:, :, ::magnify, ::magnify]


def test_image_of_a_dataset(tmp_path, capsys):
    fake_cifar.write_cifar10(tmp_path)
    output = tmp_path / "sheet.png"
    flags = ["-d", "cifar10", "--data_dir", str(tmp_path), "--index", "7", "-o", str(output)]
    assert contact_sheet.main([*flags, "--seed", "4"]) == 0
    assert f"{len(CORRUPTIONS)} corruptions of cifar strength" in capsys.readouterr().out
    image = read_clean(CIFAR10, tmp_path)["test"][0][7:8]
    shown = tiles(output, len(CORRUPTIONS), 32, 4)
    for row, name in enumerate(CORRUPTIONS):
        for severity in range(6):
            expected = corrupt(image, name, severity, seed=4, split="test", first_index=7)[0]
            assert np.array_equal(shown[row, severity], expected), (name, severity)


def test_any_image(tmp_path):
    Image.effect_noise((300, 200), 60).convert("P").save(tmp_path / "photo.png")
    flags = [str(tmp_path / "photo.png"), "-o", str(tmp_path / "sheet.png"), "--magnify", "2"]
    flags += ["--variant", "imagenet64", "-c", "fog", "extra"]
    assert contact_sheet.main(flags) == 0
    shown = tiles(tmp_path / "sheet.png", 1 + len(EXTRA), 64, 2)
    with Image.open(tmp_path / "photo.png") as photo:
        small = photo.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    small = np.asarray(small)[None]
    assert np.array_equal(shown[0, 0], small[0])
    assert np.array_equal(shown[0, 3], corrupt(small, "fog", 3, variant="imagenet64")[0])
    assert np.array_equal(shown[-1, 5], corrupt(small, EXTRA[-1], 5, variant="imagenet64")[0])


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("", "give either an image file or -d DATASET"),
        ("a.png -d synthetic", "give either an image file or -d DATASET"),
        ("a.png --magnify 0", "--magnify must be 1 to 32"),
        ("a.png -c rain", "invalid choice: 'rain'"),
        ("a.png -c fog --frost_dir x", "--frost_dir goes with frost alone"),
        ("a.png -o sheet.jpg", "--output sheet.jpg: the name must end in .png"),
        ("text.png -o text.png", "--output text.png is the image itself"),
        ("missing.png", "No such file or directory"),
        ("text.png", "text.png cannot be read as an image"),
        ("-d synthetic --index 99999", "--index 99999: the test set has"),
        ("-d synthetic -c fog -o missing/sheet.png", "No such file or directory"),
        ("-d synthetic -c frost --frost_dir nowhere", "nowhere/frost1.png is missing"),
    ],
)
def test_bad_usage(capsys, tmp_path, monkeypatch, flags, text):
    (tmp_path / "text.png").write_text("no image")
    monkeypatch.chdir(tmp_path)
    try:
        code = contact_sheet.main(flags.split())
    except SystemExit as exit:
        code = exit.code
    error = capsys.readouterr().err
    assert code == 2 and text in error and error.count("\n") == 1, error
    assert [path.name for path in tmp_path.iterdir()] == ["text.png"]
