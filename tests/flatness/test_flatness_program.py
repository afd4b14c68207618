"""scripts/flatness.py as its users call it, on two untrained networks."""

import importlib.util
import shutil
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from running import rows

from dataset.prepare_dataset import prepare_test_sets
from dataset.specs import DATASETS
from sharpdro import drawing
from sharpdro.drawing import save_png
from sharpdro.errors import RunError
from sharpdro.evaluation.evaluator import Evaluator, for_each_severity
from sharpdro.flatness import pictures
from sharpdro.flatness.network_loss import NetworkLoss
from sharpdro.flatness.pictures import contour_levels, draw_curves, draw_surfaces, two_digits
from sharpdro.flatness.record import Record, locked
from sharpdro.flatness.tables import doubtful_of, short_names
from sharpdro.networks.build import create_network, load_trained
from sharpdro.run_folder import checkpoint

SPEC = importlib.util.spec_from_file_location(
    "flatness_program", Path(__file__).resolve().parents[2] / "scripts" / "flatness.py"
)
program = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(program)

SETTINGS = {"dataset": "cifar10", "model": "wideresnet", "depth": 10, "widen_factor": 1}
SETTINGS |= {"corruption": "gaussian_noise", "num_severity": 1, "num_test": 5}
SMALL = ("--num_images", "6", "--batch_size", "4", "--grid", "3", "--iterations", "2")
TABLES = ("flatness.csv", "eigenvalues.csv", "surface.csv")
PICTURES = ("flatness.png", "surface.png")


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Two checkpoints, logs/run_erm_seed0/best.ckpt and logs/run_sam_seed1/best.ckpt."""
    logs, paths = tmp_path_factory.mktemp("logs"), []
    for seed, name in enumerate(("run_erm_seed0", "run_sam_seed1")):
        ms.set_seed(seed)
        network, _ = create_network("wideresnet", DATASETS["cifar10"], 10, 1)
        (logs / name).mkdir()
        checkpoint.save(logs / name / "best.ckpt", network, 3 + seed, SETTINGS)
        paths.append(logs / name / "best.ckpt")
    return paths


@pytest.fixture(scope="module")
def call(data_dir, networks):
    def run(output, *flags, paths=networks):
        where = ("--data_dir", str(data_dir), "-o", str(output))
        return program.main([*map(str, paths), *where, *SMALL, *flags])

    return run


@pytest.fixture(scope="module")
def measured(call, tmp_path_factory):
    output = tmp_path_factory.mktemp("measured") / "flatness"
    assert call(output, "--surface_severities", "1") == 0
    return output


def contents(folder):
    return {name: (folder / name).read_bytes() for name in TABLES}


def test_tables(measured, networks, data_dir):
    found = rows(measured / "flatness.csv")
    names = ["run_erm_seed0/best", "run_sam_seed1/best"]
    assert [(r["checkpoint"], r["severity"], r["epoch"]) for r in found] == [
        (name, severity, epoch) for name, epoch in zip(names, "34") for severity in "01"
    ]
    for path, name in zip(networks, names):
        trained = load_trained(path)
        sets = prepare_test_sets(trained.spec, data_dir, ["gaussian_noise"], 1, num_test=6)
        evaluator = Evaluator(trained.network, trained.normalize)
        scores = for_each_severity(evaluator, "test", sets["gaussian_noise"], 6)
        own = [row for row in found if row["checkpoint"] == name]
        for row, score in zip(own, scores):
            assert float(row["loss"]) == pytest.approx(score.loss, rel=1e-5)
            assert row["num_images"] == "6" and row["corruption"] == "gaussian_noise"
            assert float(row["gradient_norm"]) > 0 and float(row["sharpness"]) > 0
    steps = rows(measured / "eigenvalues.csv")
    for row in found:
        key = row["checkpoint"], row["severity"]
        own = [s for s in steps if (s["checkpoint"], s["severity"]) == key]
        assert [int(s["iteration"]) for s in own] == list(range(1, int(row["iterations"]) + 1))
        assert row["eigenvalue"] in {s["eigenvalue"] for s in own}


def test_middle_of_a_surface_is_the_network_itself(measured):
    losses = {(r["checkpoint"], r["severity"]): r for r in rows(measured / "flatness.csv")}
    points = rows(measured / "surface.csv")
    assert len(points) == 2 * 9 and {p["severity"] for p in points} == {"1"}
    for point in points:
        if point["alpha"] == point["beta"] == "0":
            here = losses[point["checkpoint"], "1"]
            assert float(point["loss"]) == pytest.approx(float(here["loss"]), rel=1e-5)
    at_corners = [p for p in points if p["alpha"] == "-1" and p["beta"] == "1"]
    assert len(at_corners) == 2


def test_pictures_are_small(measured):
    pytest.importorskip("matplotlib")
    for name in PICTURES:
        assert (measured / name).stat().st_size < 150_000
        with Image.open(measured / name) as picture:
            assert np.asarray(picture.convert("RGB")).std() > 10


def test_nothing_is_measured_twice(call, measured, capsys, monkeypatch):
    before = contents(measured)

    def refuse(self, theta):
        raise AssertionError("measured again")

    monkeypatch.setattr(NetworkLoss, "loss", refuse)
    monkeypatch.setattr(NetworkLoss, "gradient", refuse)
    monkeypatch.setattr(drawing, "can_draw", lambda: False)
    capsys.readouterr()
    assert call(measured, "--surface_severities", "1", "--batch_size", "3") == 0
    assert contents(measured) == before
    out = capsys.readouterr().out
    assert "top Hessian eigenvalue at severity" in out and "erm_seed0" in out
    assert "pip install -r requirements-plots.txt" in out and "pictures there" not in out
    assert (Path(__file__).resolve().parents[2] / "requirements-plots.txt").exists()


@pytest.mark.slow
def test_interrupted_goes_on_to_the_same_end(
    call, networks, measured, tmp_path, capsys, monkeypatch
):
    calls, loss = [], NetworkLoss.loss

    def stop_in_the_first_surface(self, theta):
        calls.append(theta)
        if len(calls) == 2 + 2 + 5:  # two severities' slopes, then the second row
            raise KeyboardInterrupt
        return loss(self, theta)

    output, one = tmp_path / "flatness", networks[:1]
    monkeypatch.setattr(NetworkLoss, "loss", stop_in_the_first_surface)
    assert call(output, "--surface_severities", "1", paths=one) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert len(rows(output / "surface.csv")) == 3
    assert call(output, "--surface_severities", "1", paths=one) == 0
    for table in TABLES:
        undisturbed = rows(measured / table)
        first = [row for row in undisturbed if row["checkpoint"] == "run_erm_seed0/best"]
        assert rows(output / table) == first and 0 < len(first) < len(undisturbed)
    # One row was kept; the second began anew, and none of the slopes.
    assert len(calls) == 9 + 6


@pytest.mark.slow
def test_parts_can_be_left_out_and_measured_later(call, networks, tmp_path):
    output, one = tmp_path / "flatness", networks[:1]
    assert call(output, "--no-surface", "--no-eigenvalue", paths=one) == 0
    (first, _) = rows(output / "flatness.csv")
    assert first["eigenvalue"] == "" and first["sharpness"]
    assert not rows(output / "surface.csv") and not (output / "surface.png").exists()
    assert call(output, "--no-surface", paths=one) == 0
    (now, _) = rows(output / "flatness.csv")
    assert now["eigenvalue"] and now["sharpness"] == first["sharpness"]


def error_of(capsys, code):
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1, error
    return error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--rho", "0.1"),
            "--rho is 0.1, but {0} was measured with 0.05: give the same, or choose",
        ),
        (("--seed", "3"), "--seed is 3, but {0} was measured with 0"),
        (("--grid", "5"), "--grid is 5, but {0} was measured with 3"),
        (("-c", "fog"), "run_erm_seed0/best: corruption is fog, but {0} was measured with gauss"),
        (("--surface_severities", "4"), "--surface_severities 4: "),
    ],
)
def test_other_settings_are_refused(call, measured, capsys, flags, message):
    before = contents(measured)
    error = error_of(capsys, call(measured, *flags))
    assert message.format(measured) in error and contents(measured) == before


def test_another_network_of_the_same_name_is_refused(call, networks, measured, tmp_path, capsys):
    folder = tmp_path / networks[0].parent.name
    folder.mkdir()
    shutil.copy(networks[1], folder / "best.ckpt")
    error = error_of(capsys, call(measured, paths=[folder / "best.ckpt"]))
    assert "run_erm_seed0/best: epoch is 4" in error
    error = error_of(capsys, call(measured, paths=[networks[0], folder / "best.ckpt"]))
    assert "two checkpoints are called run_erm_seed0/best" in error


def test_frost_dir_goes_with_frost_alone(call, tmp_path, capsys):
    assert call(tmp_path / "x", "--frost_dir", "photographs") == 2
    assert "--frost_dir goes with frost alone: leave it out" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_other_images_are_refused(call, data_dir, measured, tmp_path, capsys):
    shutil.copytree(data_dir, tmp_path / "data")
    before = contents(measured)
    own = ("--surface_severities", "1", "--data_dir", str(tmp_path / "data"))
    assert call(measured, *own) == 0  # the same ones elsewhere
    (path,) = tmp_path.glob("data/*-C/test/1/gaussian_noise.npy")
    np.save(path, 255 - np.load(path))
    capsys.readouterr()
    error = error_of(capsys, call(measured, *own))
    assert "images_crc32 is" in error and contents(measured) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--grid", "4"), "--grid: 4 is not odd"),
        (("--grid", "1"), "--grid: 1 is not a whole number >= 3"),
        (("--rho", "0"), "--rho: 0 is not a number > 0"),
        (("--num_severity", "6"), "--num_severity: 6 is not a whole number >= 1 and <= 5"),
        (("-c", "rain"), "invalid choice: 'rain'"),
    ],
)
def test_bad_usage(call, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit) as end:
        call(tmp_path / "new", *flags)
    assert message in error_of(capsys, end.value.code) and not (tmp_path / "new").exists()


def test_missing_files_are_named_and_nothing_is_written(call, networks, tmp_path, capsys):
    error = error_of(capsys, call(tmp_path / "new", paths=[networks[0], Path("nowhere.ckpt")]))
    assert "checkpoint nowhere.ckpt does not exist" in error and not (tmp_path / "new").exists()


def test_record_that_is_broken_or_in_use(call, tmp_path, capsys):
    (tmp_path / "measurements.json").write_text("{")
    assert "delete it, or choose another --output" in error_of(capsys, call(tmp_path))
    (tmp_path / "measurements.json").unlink()
    with locked(tmp_path):
        error = error_of(capsys, call(tmp_path))
        assert f"another process is at work in {tmp_path}" in error


def test_record_of_a_number_too_large_is_refused(tmp_path):
    record = Record(tmp_path)
    record.start({"grid": 3, "span": 1.0}, {"a": {}})
    record.put("a", 1, "slope", {"loss": 10**400, "sharpness": 0.25, "gradient_norm": 2.0})
    with pytest.raises(RunError, match=r"measurements\.json cannot be read .*too large"):
        Record(tmp_path)


def test_record_quotes_names(tmp_path):
    record = Record(tmp_path)
    record.start({"grid": 3, "span": 1.0}, {'a, "b"/best': {"epoch": 2}})
    record.put('a, "b"/best', 1, "slope", {"loss": 0.5, "sharpness": 0.25, "gradient_norm": 2.0})
    (row,) = rows(tmp_path / "flatness.csv")
    assert row["checkpoint"] == 'a, "b"/best' and row["loss"] == "0.5" and row["epoch"] == "2"


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["run_x_erm_seed0/best"], ["run_x_erm_seed0"]),
        (["run_x_erm_seed0/best", "run_x_sam_seed0/best"], ["erm_seed0", "sam_seed0"]),
        (["run_x_erm_seed0/best", "run_x_erm_seed0/last"], ["seed0/best", "seed0/last"]),
        (["run_erm/best", "run_erm_seed1/best"], ["erm", "erm_seed1"]),
        (["a/best", "b/best"], ["a", "b"]),
    ],
)
def test_short_names(names, short):
    assert short_names(names) == dict(zip(names, short))


def test_one_scale_for_all_surfaces():
    levels = contour_levels([np.array([[1.0, np.inf], [10.0, np.nan]]), np.array([[100.0, 2.0]])])
    assert levels[0] == pytest.approx(1) and levels[-1] == pytest.approx(100)
    assert np.diff(np.log(levels)) == pytest.approx(np.log(100) / (len(levels) - 1))
    with pytest.raises(RunError, match="lower --span"):
        contour_levels([np.array([np.inf])])
    assert [two_digits(x) for x in (0.857, 4.6, 131.2, 2.5e7)] == ["0.86", "4.6", "131", "2.5e+07"]


def test_pictures_of_what_is_not_complete(tmp_path):
    pytest.importorskip("matplotlib")
    level = np.full((3, 3), 0.5)
    surfaces = {"a": {0: level, 5: level}, "b": {5: np.where(np.eye(3), np.inf, level)}}
    draw_surfaces(tmp_path / "s.png", surfaces, np.array([-1.0, 0, 1]))
    many = {f"run {i}": {0: float(i), 3: -1.0} for i in range(9)}
    draw_curves(tmp_path / "c.png", {"sharpness": many}, 0.05)
    for name in ("s.png", "c.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG" and min(picture.size) > 200
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.png", "s.png"]


def test_names_are_drawn_as_they_are(tmp_path, monkeypatch):
    """No formulas between dollars; none is hidden for its underscore or missing in one panel."""
    pytest.importorskip("matplotlib")
    from matplotlib.text import Text

    figures = []

    def keep(figure, path):
        save_png(figure, path)
        figures.append(figure)

    monkeypatch.setattr(pictures, "save_png", keep)
    curves = {"sharpness": {r"$\foo$": {0: 1.0}}, "eigenvalue": {"_b": {0: 2.0}, "c": {0: 1.0}}}
    draw_curves(tmp_path / "c.png", curves, 0.05)
    level = {0: np.full((3, 3), 0.5)}
    draw_surfaces(tmp_path / "s.png", {r"$\foo$": level, "_b": level}, np.array([-1.0, 0, 1]))
    found = [{t.get_text(): t.get_parse_math() for t in f.findobj(Text)} for f in figures]
    assert {name: found[0].get(name) for name in (r"$\foo$", "_b", "c")} == {
        **{r"$\foo$": False, "_b": False, "c": False}
    }
    assert found[1][r"$\foo$"] is False and found[1]["_b"] is False
    (legend,) = figures[0].legends
    colours = {t.get_text(): line.get_color() for t, line in zip(legend.texts, legend.get_lines())}
    assert len(set(colours.values())) == 3


def test_what_has_not_converged_is_hollow(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("sharpdro.flatness.pictures.save_png", lambda f, path: drawn.append(f))
    curves = {"eigenvalue": {"a": {0: 1.0, 1: 2.0}, "b": {0: 3.0}}}
    record = Record(tmp_path)
    record.start({"grid": 3, "span": 1.0}, {"x": {}, "y": {}})
    for name, severity, value, converged in (("x", 0, 1, True), ("x", 1, 2, False), ("y", 0, 3, 1)):
        kept = {"value": value, "residual": 0, "converged": bool(converged), "steps": []}
        record.put(name, severity, "eigenvalue", kept)
    titles, severities = {"x": "a", "y": "b"}, {"x": range(2), "y": range(2)}
    doubtful = doubtful_of(record, titles, severities)
    assert doubtful == {"a": {1}, "b": set()}
    draw_curves(tmp_path / "c.png", curves, 0.05, doubtful)
    (panel,) = drawn[0].axes
    hollow = [line for line in panel.lines if line.get_markerfacecolor() == "white"]
    assert [x for line in hollow for x in line.get_xdata()] == [1]
    assert "hollow: not converged" in panel.get_title()
