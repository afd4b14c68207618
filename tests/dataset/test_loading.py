"""Data as an object: the same images as a run's, from any folder."""

import json
import re
import subprocess
import sys
import zlib

import numpy as np
import pytest
from fake_folder import CLASSES, write_arrays, write_folder
from running import ERM, NAME, ROOT, script_environment

import dataset
from corruptions.errors import DataError
from dataset import load, loading
from dataset.specs import IMAGENET30


def python(code, folder):
    """Runs code in a folder, as one does who has the project on the path."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=script_environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def data(data_dir):
    return load("cifar10", "gaussian_noise", 15, 2, 0, data_dir, num_val=6, num_test=5)


def checksum(part, rows=slice(None)):
    """As settings.json has it."""
    value = zlib.crc32(part.labels[rows].astype("<i8").tobytes())
    value = zlib.crc32(part.indices[rows].astype("<i8").tobytes(), value)
    return f"{zlib.crc32(part.images[rows].tobytes(), value):08x}"


def test_images_are_those_of_a_run(run, data, tmp_path, asked_steps):
    assert run.code(*ERM, "--log_dir", str(tmp_path)) == 2 and asked_steps
    content = json.loads((tmp_path / NAME.format(method="erm") / "settings.json").read_text())
    sums = content["data"]["images_crc32"]
    assert [checksum(data.train, data.train.severities == s) for s in range(3)] == sums["training"]
    assert [checksum(part) for part in data.validation] == sums["validation"]
    assert [checksum(part) for part in data.test] == sums["test"]


def test_shapes_and_types(data):
    for part in (data.train, *data.validation, *data.test):
        count = len(part)
        assert part.images.shape == (count, 32, 32, 3) and part.images.dtype == np.uint8
        assert part.labels.shape == part.severities.shape == part.indices.shape == (count,)
        assert part.labels.dtype == part.severities.dtype == np.int32
    assert np.bincount(data.train.severities).tolist() == [50, 50, 20]
    for parts, count in ((data.validation, 6), (data.test, 5)):
        assert [set(part.severities) for part in parts] == [{0}, {1}, {2}]
        assert [len(part) for part in parts] == [count] * 3
        assert (parts[0].labels == parts[2].labels).all()
        assert (parts[0].images != parts[2].images).any()


def batches_of(pipeline):
    return list(pipeline.create_dict_iterator(num_epochs=1, output_numpy=True))


def together(batches, column):
    return np.concatenate([batch[column] for batch in batches])


def test_mindspore_gets_every_image_once_in_order(data):
    pipeline = data.train.to_mindspore(50)
    assert pipeline.get_col_names() == ["image", "label", "severity"]
    assert pipeline.get_dataset_size() == 3 and pipeline.get_batch_size() == 50
    batches = batches_of(pipeline)
    assert [len(batch["label"]) for batch in batches] == [50, 50, 20]
    columns = {"image": "images", "label": "labels", "severity": "severities"}
    for column, name in columns.items():
        values, expected = together(batches, column), getattr(data.train, name)
        assert values.dtype == expected.dtype and np.array_equal(values, expected)
    assert len(batches_of(data.train.to_mindspore(50, drop_remainder=True))) == 2


def triples(images, labels, severities):
    return sorted(zip(map(bytes, images), labels.tolist(), severities.tolist()))


def test_mindspore_shuffles_anew_in_every_epoch_and_iterator(data):
    def epochs(seed):
        pipeline = data.train.to_mindspore(120, shuffle=True, seed=seed)
        rows = pipeline.create_dict_iterator(num_epochs=2, output_numpy=True)
        of_one_iterator = [batch for _ in range(2) for batch in rows]
        return of_one_iterator + batches_of(pipeline)  # and of the next

    first, *others = epochs(0)
    assert all((first["image"] != other["image"]).any() for other in others)
    assert (others[0]["image"] != others[1]["image"]).any()
    expected = triples(data.train.images, data.train.labels, data.train.severities)
    for epoch in (first, *others):
        assert triples(epoch["image"], epoch["label"], epoch["severity"]) == expected
    for again, epoch in zip(epochs(0), (first, *others), strict=True):
        assert np.array_equal(again["image"], epoch["image"])
    assert (epochs(1)[0]["image"] != first["image"]).any()


def test_own_data(tmp_path, capsys):
    folder = load("folder", "fog", data_dir=write_folder(tmp_path / "a"), num_severity=1, side=32)
    assert folder.class_names == tuple(CLASSES) and re.fullmatch(r"\w{8}-\w{8}", folder.fingerprint)
    assert len(folder.test[1]) == 15 and folder.train.images.shape[1:] == (32, 32, 3)
    assert "decoding 94 train photographs" in capsys.readouterr().out
    images, labels = write_arrays(tmp_path / "b")
    arrays = load("arrays", "fog", num_per_class=9, num_severity=1, data_dir=tmp_path / "b")
    assert np.bincount(arrays.train.labels[arrays.train.severities == 0]).tolist() == [3, 3, 3]
    everything = {image.tobytes(): label for image, label in zip(images, labels)}
    for image, label, _ in (arrays.test[0][i] for i in range(len(arrays.test[0]))):
        assert everything[image.tobytes()] == label


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"name": "mnist"}, ValueError, "name is 'mnist': choose one of synthetic, cifar10"),
        ({"corruption": "rain"}, ValueError, "corruption is 'rain': choose one of gaussian_noise"),
        ({"severity_law": "best"}, ValueError, "severity_law is 'best': choose one of poisson"),
        ({"num_severity": 6}, ValueError, "num_severity is 6: give a whole number, 1 to 5"),
        ({"num_per_class": 0}, ValueError, "num_per_class is 0: give a whole number, at least 1"),
        ({"seed": 1.5}, ValueError, "seed is 1.5: give a whole number, at least 0"),
        ({"num_test": True}, ValueError, "num_test is True: give a whole number"),
        ({"frost_dir": "."}, ValueError, "frost_dir goes with frost alone: leave it out"),
        ({"side": 32}, ValueError, "side does not apply to 'cifar10': leave it out"),
        ({"name": "folder", "side": 7}, ValueError, "side is 7: give a whole number, 8 to 1024"),
        ({"filelist_dir": "."}, ValueError, "filelist_dir does not apply to 'cifar10'"),
        ({"name": "imagenet30", "filelist_dir": "."}, DataError, "filelist_dir . holds no lists"),
        ({"name": "folder"}, DataError, "train is missing: put photographs there"),
        ({"name": "arrays"}, DataError, "train.npz is missing"),
        ({"num_per_class": 10**7}, DataError, "-n 10000000 is too large"),
    ],
)
def test_bad_arguments_are_refused(data_dir, tmp_path, monkeypatch, settings, error, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=re.escape(text)):
        load(**{"name": "cifar10", "data_dir": data_dir, **settings})
    assert not list(tmp_path.iterdir())


def test_importing_takes_no_mindspore(tmp_path):
    code = "import sys, dataset; from dataset import load; sys.exit('mindspore' in sys.modules)"
    assert python(code, tmp_path).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'unload'"):
        dataset.unload  # noqa: B018


def examples():
    """What the README shows: loading, and training with what was loaded."""
    text = (ROOT / "dataset" / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_example_of_the_readme_runs_from_any_folder(tmp_path):
    loading, training = examples()
    assert len(loading.splitlines()) <= 6 and len(training.splitlines()) <= 16
    done = python(loading, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "(3980, 32, 32, 3) [0 0 0 ... 5 5 5]" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.slow
def test_the_readme_trains_with_what_it_loads(tmp_path):
    done = python("".join(examples()), tmp_path)
    assert done.returncode == 0, done.stderr
    weights = done.stdout.splitlines()[-1].split("[")[-1].rstrip("]").split()
    assert len(weights) == 6 and sum(map(float, weights)) == pytest.approx(1, abs=1e-4)


def test_lists_that_are_not_found_are_told(tmp_path, monkeypatch):
    """As after an installation that leaves them behind."""
    monkeypatch.setattr(loading, "FILELIST_DIR", tmp_path)
    texts = []
    assert loading._find_lists(IMAGENET30, None, None, "poisson", texts.append) is None
    assert texts == [f"{tmp_path} holds no lists: the seed decides which image belongs where"]
