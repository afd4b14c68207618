"""The corruptions against independent versions, reference output and their own promises."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from reference import shared_file, statistics

import corruptions
from corruptions import CORRUPTIONS, IMPLEMENTED, corrupt


@pytest.fixture(scope="module")
def photos():
    """Smooth random images: soft gradients, nothing at the edges of the range."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 196, (40, 4, 4, 3), dtype=np.uint8)
    big = [Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC) for image in coarse]
    return np.stack([np.asarray(image) for image in big])


def test_names():
    assert len(CORRUPTIONS) == 19 and len(set(CORRUPTIONS)) == 19
    assert CORRUPTIONS[0] == "gaussian_noise" and CORRUPTIONS[14] == "jpeg_compression"
    assert CORRUPTIONS[15:] == corruptions.EXTRA


@pytest.mark.parametrize("name", IMPLEMENTED)
def test_result_depends_on_the_index_not_on_the_division(photos, name):
    whole = corrupt(photos, name, 3, seed=5, split="train")
    parts = [
        corrupt(photos[a:b], name, 3, seed=5, split="train", first_index=a)
        for a, b in ((0, 1), (1, 17), (17, 40))
    ]
    assert np.array_equal(whole, np.concatenate(parts))
    assert whole.dtype == np.uint8 and not np.array_equal(whole, photos)


def test_chunks_are_invisible(photos, monkeypatch):
    whole = corrupt(photos, "gaussian_noise", 2)
    monkeypatch.setattr(corruptions, "_CHUNK", 7)
    assert np.array_equal(whole, corrupt(photos, "gaussian_noise", 2))


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"split": "test"}, {"first_index": 1}, {"variant": "imagenet64"}]
)
def test_noise_differs(photos, change):
    base = corrupt(photos, "gaussian_noise", 4, seed=0, split="train")
    other = corrupt(photos, "gaussian_noise", 4, **{"seed": 0, "split": "train", **change})
    assert (base != other).mean() > 0.5


def test_noise_of_images_and_severities_is_independent(photos):
    grey = np.full((2, 32, 32, 3), 128, np.uint8)
    weak, strong = (corrupt(grey, "gaussian_noise", s).astype(float) - 128 for s in (2, 3))
    for a, b in ((weak[0], weak[1]), (weak[0], strong[0]), (weak[0, ..., 0], weak[0, ..., 1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


@pytest.mark.parametrize(
    ("variant", "scales"),
    [("cifar", (0.04, 0.06, 0.08, 0.09, 0.10)), ("imagenet64", (0.04, 0.08, 0.12, 0.15, 0.18))],
)
def test_gaussian_noise_has_the_published_strength(variant, scales):
    grey = np.full((100, 32, 32, 3), 128, np.uint8)
    for severity, scale in enumerate(scales, 1):
        noisy = corrupt(grey, "gaussian_noise", severity, variant=variant).astype(float)
        inside = 255 * scale
        assert noisy.std() == pytest.approx(inside, rel=0.01)
        # Truncated, not rounded: half a grey level less on average.
        assert noisy.mean() == pytest.approx(127.5, abs=5 * inside / np.sqrt(noisy.size) + 0.02)


def test_gaussian_noise_equals_a_slow_version(photos):
    """x + c·N, clipped, truncated, pixel by pixel in float64, from the documented stream."""
    from corruptions.random_streams import RandomStreams

    noisy = corrupt(photos[:2], "gaussian_noise", 5, seed=3, split="test", first_index=9)
    for i in range(2):
        streams = RandomStreams(3, "gaussian_noise", 5, "test", 9)
        noise = streams.generator(i).standard_normal((32, 32, 3), np.float32)
        for place in np.ndindex(32, 32, 3):
            value = photos[i][place] / 255 + 0.10 * float(noise[place])
            exact = min(max(value, 0.0), 1.0) * 255
            assert abs(int(noisy[i][place]) - exact) < 1.001
            assert int(noisy[i][place]) == int(exact) or abs(exact - round(exact)) < 1e-3


def test_jpeg_is_one_round_trip_at_the_published_quality(photos):
    for severity, quality in enumerate((80, 65, 58, 50, 40), 1):
        file = io.BytesIO()
        Image.fromarray(photos[7]).save(file, "JPEG", quality=quality)
        expected = np.asarray(Image.open(io.BytesIO(file.getvalue())))
        assert np.array_equal(corrupt(photos[7:8], "jpeg_compression", severity)[0], expected)


def test_severity_0_is_a_copy(photos):
    copy = corrupt(photos, "gaussian_noise", 0)
    assert np.array_equal(copy, photos) and not np.shares_memory(copy, photos)


@pytest.mark.parametrize(
    ("images", "arguments", "error", "text"),
    [
        (np.zeros((1, 4, 4, 3)), ("gaussian_noise", 1), TypeError, "must be uint8"),
        (np.zeros((4, 4, 3), np.uint8), ("gaussian_noise", 1), ValueError, "must be"),
        (np.zeros((1, 4, 4, 3), np.uint8), ("noise", 1), ValueError, "unknown corruption 'noise'"),
        (np.zeros((1, 4, 4, 3), np.uint8), ("gaussian_noise", 6), ValueError, "severity"),
        (np.zeros((1, 4, 4, 3), np.uint8), ("fog", 1), NotImplementedError, "fog cannot"),
    ],
)
def test_bad_arguments(images, arguments, error, text):
    with pytest.raises(error, match=text):
        corrupt(images, *arguments)


@pytest.mark.parametrize("variant", ["cifar", "imagenet64"])
@pytest.mark.parametrize("severity", range(1, 6))
def test_jpeg_equals_the_published_code(variant, severity):
    box = np.load(shared_file("data/corruption_reference.npz"))
    expected = box[f"{variant}_jpeg_compression_{severity}"]
    clean = box[f"{variant}_clean"][: len(expected)]
    assert np.array_equal(corrupt(clean, "jpeg_compression", severity, variant=variant), expected)


@pytest.mark.parametrize("variant", ["cifar", "imagenet64"])
@pytest.mark.parametrize("severity", range(1, 6))
def test_gaussian_noise_measures_like_the_published_code(variant, severity):
    """CORRUPTIONS.md's tolerances for noises on samples of this size, mean over three seeds."""
    published = json.loads(shared_file("data/corruption_statistics.json").read_text())
    clean = np.load(shared_file("data/corruption_reference.npz"))[f"{variant}_clean"]
    expected = published[variant]["gaussian_noise"][str(severity)]
    runs = [
        statistics(clean, corrupt(clean, "gaussian_noise", severity, variant=variant, seed=seed))
        for seed in range(3)
    ]
    found = {name: np.mean([run[name] for run in runs]) for name in runs[0]}
    assert found["mad"] == pytest.approx(expected["mad"], rel=0.015)
    assert found["grad_ratio"] == pytest.approx(expected["grad_ratio"], rel=0.015)
    assert found["mean_level"] == pytest.approx(expected["mean_level"], abs=0.15)
    assert found["sat_frac"] == pytest.approx(expected["sat_frac"], abs=0.002)
