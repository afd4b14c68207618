"""scripts/export.py: the files are run here again, on other images than its own check takes."""

import importlib.util
import subprocess
import sys

import mindspore as ms
import numpy as np
import onnxruntime
import pytest
from mindspore import Tensor, nn
from running import ROOT

from dataset.specs import DATASETS, spec_of
from models import create_model
from models.resnet import ResNet
from sharpdro.networks import export as network_export
from sharpdro.networks.build import create_network, load_trained
from sharpdro.run_folder import checkpoint

SPEC = importlib.util.spec_from_file_location("export", ROOT / "scripts" / "export.py")
export = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(export)

SETTINGS = {
    "wideresnet": {"dataset": "cifar10", "model": "wideresnet", "depth": 10, "widen_factor": 1},
    "resnet18": {"dataset": "imagenet30", "model": "resnet18"},
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Random weights and running statistics that matter."""
    folder = tmp_path_factory.mktemp("checkpoints")
    rng = np.random.default_rng(0)
    for name, settings in SETTINGS.items():
        shape = {k: settings.get(k) for k in ("depth", "widen_factor")}
        network, _ = create_network(settings["model"], DATASETS[settings["dataset"]], **shape)
        for parameter in network.get_parameters():
            if parameter.ndim == 1:
                low = -0.5 if parameter.name.endswith(("mean", "beta", "bias")) else 0.5
                values = rng.uniform(low, low + 1, parameter.shape)
                parameter.set_data(Tensor(values.astype(np.float32)))
        checkpoint.save(folder / f"{name}.ckpt", network, 3, settings)
    return folder


def code_of(arguments):
    try:
        return export.main(arguments)
    except SystemExit as exit:
        return exit.code


def expected_logits(path, images):
    trained = load_trained(path)
    return trained.network(trained.normalize(Tensor(images))).asnumpy()


def random_images(side, count):
    """Smooth ones, unlike those of the program's own check."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (count, side // 8, side // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def close(found, expected):
    assert expected.std() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "side"), [("wideresnet", 32), pytest.param("resnet18", 64, marks=SLOW)]
)
def test_onnx_runs_elsewhere(checkpoints, tmp_path, capsys, name, side):
    path, file = checkpoints / f"{name}.ckpt", tmp_path / "network.onnx"
    assert export.main([str(path), "-o", str(file), "--batch_size", "3"]) == 0
    assert list(tmp_path.iterdir()) == [file]
    session = onnxruntime.InferenceSession(str(file))
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type) == ("images", "tensor(uint8)")
    assert taken.shape == [3, side, side, 3]
    assert (given.name, given.type) == ("logits", "tensor(float)")
    images = random_images(side, 3)
    close(session.run(None, {"images": images})[0], expected_logits(path, images))
    said = capsys.readouterr().out
    assert f"input images: uint8 (3, {side}, {side}, 3)" in said
    assert "output logits: float32 (3, " in said
    assert "checked: run by onnxruntime" in said and "on 6 random images" in said
    classes = DATASETS[SETTINGS[name]["dataset"]].class_names
    assert f"order: {' '.join(classes) or 'cifar10' + chr(39) + 's labels 0 … 9'}\n" in said


def test_names_of_classes_with_spaces_are_told_apart():
    classes = spec_of("folder", 32, ("Hund", "große Katze"))
    assert export.describe_classes(classes) == "classes in this order: Hund, große Katze"


@pytest.mark.parametrize(
    ("name", "side"),
    [("wideresnet", 32), pytest.param("resnet18", 64, marks=SLOW)],
)
def test_mindir_takes_any_number_of_images(checkpoints, tmp_path, capsys, name, side):
    path, file = checkpoints / f"{name}.ckpt", tmp_path / "ein Nètz.mindir"
    assert export.main([str(path), "-o", str(file)]) == 0
    assert list(tmp_path.iterdir()) == [file] and file.stat().st_mode & 0o600 == 0o600
    graph = nn.GraphCell(ms.load(str(file)))
    for count in (2, 5):
        images = random_images(side, count)
        close(graph(Tensor(images)).asnumpy(), expected_logits(path, images))
    said = capsys.readouterr().out
    assert f"input images: uint8 (N, {side}, {side}, 3)" in said and "checked: run by Mind" in said


@SLOW
def test_a_number_of_images_can_be_named_for_mindir(checkpoints, tmp_path, monkeypatch):
    asked, real = [], ms.export
    monkeypatch.setattr(
        ms, "export", lambda cell, images, **how: asked.append(images) or real(cell, images, **how)
    )
    file = tmp_path / "a.mindir"
    own = [str(checkpoints / "wideresnet.ckpt"), "-o", str(file)]
    assert export.main([*own, "--batch_size", "2"]) == 0
    assert asked[0].shape == (2, 32, 32, 3) and file.exists()


@pytest.mark.parametrize("side", [16, 17, 5])
def test_exportable_pool_is_the_other_to_the_bit(side):
    rng = np.random.default_rng(side)
    rectified = np.maximum(rng.integers(-3, 4, (2, 3, side, side)), 0).astype(np.float32)
    padded = np.pad(rectified, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    expected = windows[:, :, ::2, ::2].max((4, 5))
    network = create_model("resnet18", 2)
    usual = network.maxpool
    network.make_exportable()
    for pool in (usual, network.maxpool):
        assert np.array_equal(pool(Tensor(rectified)).asnumpy(), expected)
    assert usual is not network.maxpool


def test_default_names_and_overwriting(checkpoints, tmp_path, capsys):
    path = tmp_path / "best.ckpt"
    path.write_bytes((checkpoints / "wideresnet.ckpt").read_bytes())
    assert export.main([str(path), "--format", "onnx"]) == 0
    (tmp_path / "best.mindir").write_text("mine")
    assert code_of([str(path)]) == 2
    assert "best.mindir exists already: add --overwrite" in capsys.readouterr().err
    assert (tmp_path / "best.mindir").read_text() == "mine"
    assert export.main([str(path), "--overwrite"]) == 0
    assert (tmp_path / "best.mindir").stat().st_size > 100_000
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["best.ckpt", "best.mindir", "best.onnx"]


@SLOW
def test_without_onnxruntime_the_file_is_not_checked(checkpoints, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    file = tmp_path / "a.onnx"
    assert export.main([str(checkpoints / "wideresnet.ckpt"), "-o", str(file)]) == 0
    said = capsys.readouterr().out
    assert "not checked: onnxruntime is not installed (pip install -r requirements-exp" in said
    assert "checked: run" not in said and file.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda logits: logits * 1.01,
        pytest.param(lambda logits: logits * np.nan, marks=SLOW),
        pytest.param(lambda logits: logits.no_such_thing, marks=SLOW),
    ],
    ids=["other", "nan", "cannot be run"],
)
def test_a_file_with_other_logits_or_none_does_not_appear(
    checkpoints, tmp_path, capsys, monkeypatch, wrong
):
    real, calls = network_export.logits_of, []

    def second_differs(*arguments):
        calls.append(1)
        return [wrong(a) if len(calls) == 2 else a for a in real(*arguments)]

    monkeypatch.setattr(network_export, "logits_of", second_differs)
    own = [str(checkpoints / "wideresnet.ckpt"), "-o", str(tmp_path / "a.mindir")]
    assert export.main(own) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "nothing was written" in error
    assert not list(tmp_path.iterdir())


@SLOW
def test_what_mindspore_refuses_is_told_in_one_line(checkpoints, tmp_path, capsys, monkeypatch):
    """As for ResNet to ONNX without the pool's replacement."""
    monkeypatch.setattr(ResNet, "make_exportable", lambda self: None)
    own = [str(checkpoints / "resnet18.ckpt"), "-o", str(tmp_path / "a.onnx")]
    assert export.main(own) == 2
    error = capsys.readouterr().err
    assert "MindSpore cannot export this network as onnx: Can not find key MaxPool" in error
    assert error.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("{new}/a.ckpt -o {new}/a.onnx", "a.ckpt does not exist"),
        ("{new} -o {new}/a.onnx", "is a folder: name a .ckpt file"),
        ("{new}/damaged.ckpt", "damaged.ckpt is damaged or was not written by this program"),
        ("{new}/other.ckpt", "other.ckpt is damaged or was not written by this program"),
        ("{good} -o {new}/a/b.onnx", "there is no folder {new}/a: make it first"),
        ("{good} -o {new}/a.pt", "must end in .mindir or .onnx"),
        ("{good} -o {new}/a.MINDIR", "must end in .mindir or .onnx"),
        ("{good} -o {new}/a", "must end in .mindir or .onnx"),
        ("{good} -o {new}/folder.onnx", "folder.onnx is a folder: name a file"),
        ("{good} -o {new}/a.onnx --format mindir", "does not go with --format mindir"),
        ("{good} -o {new}/a.onnx --batch_size 0", "--batch_size: 0 is not a whole number >= 1"),
        ("{good} -o {new}/a.onnx --batch_size x", "--batch_size: 'x' is not a whole number"),
        ("{good} -o {new}/a.onnx --format pt", "--format: invalid choice: 'pt'"),
        ("", "the following arguments are required: CHECKPOINT"),
    ],
)
def test_bad_usage_is_refused_in_one_line(checkpoints, tmp_path, capsys, flags, text):
    good = checkpoints / "wideresnet.ckpt"
    (tmp_path / "damaged.ckpt").write_bytes(good.read_bytes()[:-1000])
    ms.save_checkpoint([{"name": "w", "data": Tensor([1.0])}], str(tmp_path / "other.ckpt"))
    (tmp_path / "folder.onnx").mkdir()
    before = sorted(tmp_path.rglob("*"))
    code = code_of(flags.format(new=tmp_path, good=good).split())
    error = capsys.readouterr().err
    assert code == 2 and text.format(new=tmp_path) in error, error
    assert error.startswith("export.py: error: ") and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_bad_usage_is_answered_without_mindspore():
    code = (
        "import sys; sys.path.insert(0, 'scripts'); import export; "
        "sys.exit('mindspore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
