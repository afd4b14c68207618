"""scripts/evaluate_common_corruptions.py from flags to files, on errors that are known."""

import csv
import importlib.util
import shutil
import subprocess
import sys

import known_network
import numpy as np
import pytest
from known_network import NUM_IMAGES, SETTINGS, num_wrong
from mindspore import Tensor
from running import ROOT, rows

from corruptions import STANDARD
from sharpdro.evaluation import evaluator
from sharpdro.jobs.evaluate import prepare_evaluation
from sharpdro.networks.build import load_trained
from sharpdro.run_folder import checkpoint

SPEC = importlib.util.spec_from_file_location(
    "common", ROOT / "scripts" / "evaluate_common_corruptions.py"
)
common = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(common)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of known_network, and all flags but the checkpoints."""
    folder = tmp_path_factory.mktemp("known")
    _, labels = known_network.write(folder)
    flags = ["--data_dir", str(folder / "data"), "--published", str(folder / "published")]
    return folder, labels, [*flags, "--log_dir", str(folder / "logs")]


def code_of(arguments):
    try:
        return common.main([str(argument) for argument in arguments])
    except SystemExit as exit:
        return exit.code


def table_of(prefix):
    with open(f"{prefix}.csv", newline="") as file:
        return list(csv.DictReader(file))


# Mean number of wrong ones over the severities 1 … 5.
EXPECTED = {name: 100 * (3 + number) / NUM_IMAGES for number, name in enumerate(STANDARD)}


def test_table_of_known_errors(made, tmp_path, capsys, monkeypatch):
    folder, _, flags = made
    checkpoints = [folder / "known.ckpt", folder / "constant.ckpt"]
    assert code_of([*checkpoints, *flags, "-o", tmp_path / "table"]) == 0
    first, second = table_of(tmp_path / "table")
    assert (first["dataset"], first["num_images"]) == ("cifar10", "40")
    assert first["baseline"] == "" and first["published"] == str(folder / "published")
    assert (tmp_path / "table.md").read_text().startswith("Error in percent on 40 test images of")
    assert first["name"] == "run_gaussian_noise_erm_known_published seed 0"
    assert first["checkpoint"] == str(checkpoints[0]) and float(first["clean"]) == 0
    for name in STANDARD:
        assert float(first[name]) == pytest.approx(EXPECTED[name], rel=1e-4)
    # (3 + … + 17) / 15 = 10 of 40.
    assert float(first["mCE"]) == pytest.approx(25, rel=1e-4)
    assert "rel. mCE" not in first
    for name in STANDARD:
        log = (
            folder
            / "logs"
            / "run_gaussian_noise_erm_known_published_dsetcifar10_corr15corruptions_eval_seed0"
        )
        for row in rows(log / "test.csv"):
            if row["corruption"] == name and row["severity"] in "12345":
                wrong = num_wrong(name, int(row["severity"]))
                assert float(row["accuracy"]) == pytest.approx(1 - wrong / 40, abs=1e-6)
                assert row["count"] == "40"  # all, though the run had --num_test 5
    shown = capsys.readouterr().out
    assert "error in percent on 40 test images of cifar10" in shown
    assert (
        (tmp_path / "table.md")
        .read_text()
        .splitlines()[5]
        .startswith(
            "| run_gaussian_noise_erm_known_published seed 0 | **0.0** | **25.0** | **7.5** |"
        )
    )

    def never(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(evaluator.Evaluator, "__call__", never)
    assert code_of([*checkpoints, *flags]) == 0
    assert shown.split("error in percent")[1].split("written to")[0].strip() in (
        capsys.readouterr().out
    )


def test_with_a_baseline(made, tmp_path, capsys):
    """The baseline says always the same, and so has the same error everywhere."""
    folder, labels, flags = made
    baseline = folder / "constant.ckpt"
    table = tmp_path / "table"
    again = folder / ".." / folder.name / "constant.ckpt"  # the same, spelt otherwise
    both = [folder / "known.ckpt", again]
    assert code_of([*both, "--baseline", baseline, *flags, "-o", table]) == 0
    own, known = table_of(table)
    error = 100 * (labels != labels[0]).mean()
    assert float(own["clean"]) == pytest.approx(error) and float(own["fog"]) == 100
    assert float(known["fog"]) == pytest.approx(100 * EXPECTED["fog"] / error, rel=1e-4)
    assert float(known["mCE"]) == pytest.approx(100 * 25 / error, rel=1e-4)
    assert known["rel. mCE"] == "" == own["rel. mCE"]
    said = capsys.readouterr().out
    assert "relative mCE is undefined, for that error is not raised by Gauss., Shot, Imp" in said
    assert f"in percent of the error of {baseline}" in said


@pytest.mark.slow
def test_images_of_our_own_making(made, tmp_path):
    """Without --published, on some of the images, with what main.py makes."""
    folder, _, _ = made
    flags = ["--data_dir", folder / "data", "--log_dir", tmp_path / "logs", "--num_test", "8"]
    assert code_of([folder / "known.ckpt", *flags, "-o", tmp_path / "t"]) == 0
    (row,) = table_of(tmp_path / "t")
    trained = load_trained(str(folder / "known.ckpt"))
    chosen = np.sort(np.random.default_rng(0).permutation(NUM_IMAGES)[:8])
    labels = np.load(folder / "published" / "labels.npy")[:NUM_IMAGES][chosen]
    wrong = []
    for severity in range(1, 6):
        path = folder / "data" / "CIFAR-10-C" / "test" / str(severity) / "pixelate.npy"
        images = np.load(path)[chosen]
        logits = trained.network(trained.normalize(Tensor(images))).asnumpy()
        wrong.append((logits.argmax(1) != labels).mean())
    assert np.mean(wrong) > 0
    assert float(row["pixelate"]) == pytest.approx(100 * np.mean(wrong), rel=1e-4)
    shutil.rmtree(folder / "data" / "CIFAR-10-C")


@pytest.mark.slow
def test_desc_starts_anew_beside(made, tmp_path):
    folder, _, flags = made
    flags = [*flags, "--log_dir", tmp_path / "logs", "--desc", "again"]
    assert code_of([folder / "known.ckpt", *flags]) == 0
    (log,) = (tmp_path / "logs").iterdir()
    assert (
        log.name
        == "again_run_gaussian_noise_erm_known_published_dsetcifar10_corr15corruptions_eval_seed0"
    )


def test_what_cannot_stand_in_one_table(made, tmp_path, capsys):
    """Refused before anything is measured."""
    folder, _, flags = made
    logs = ["--log_dir", str(tmp_path / "logs")]
    known = folder / "known.ckpt"
    other = tmp_path / "known.ckpt"
    shutil.copy(known, other)
    assert code_of([known, other, *flags, *logs]) == 2
    assert f"{known} and {other} would both be measured in" in capsys.readouterr().err
    foreign = tmp_path / "foreign.ckpt"
    trained = load_trained(known)
    checkpoint.save(other, trained.network, 1, {**SETTINGS, "corruption": "snow"})
    args = common.create_parser().parse_args([str(known), *flags, *logs])
    settings = [common.settings_of(args, path) for path in (known, other)]
    names = {prepare_evaluation(one).args.desc for one in settings}
    assert len(names) == 2  # a network trained with another corruption is another row
    checkpoint.save(foreign, trained.network, 1, {**SETTINGS, "dataset": "synthetic"})
    flags = ["--data_dir", folder / "data", *logs]
    assert code_of([known, foreign, *flags]) == 2
    error = capsys.readouterr().err
    assert "name the dataset to measure both on with -d" in error and error.count("\n") == 1
    assert code_of([known, tmp_path / "none.ckpt", *flags]) == 2
    assert "none.ckpt does not exist" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("", "the following arguments are required: CHECKPOINT"),
        ("{old}/known.ckpt --num_test -1", "--num_test: -1 is not a whole number >= 0"),
        ("{old}/known.ckpt -c fog", "unrecognized arguments: -c fog"),
        ("{old}/known.ckpt --num_severity 2", "unrecognized arguments: --num_severity 2"),
        ("{old}/known.ckpt --lr 1", "unrecognized arguments: --lr 1"),
        ("{old}/known.ckpt -d mnist", "invalid choice: 'mnist'"),
        ("{old}/known.ckpt --baseline {new}/none", "checkpoint {new}/none does not exist"),
        ("{old}/known.ckpt --published {new}/none", "--published {new}/none is not a folder"),
        ("{old}/known.ckpt -o {new}/none/table", "there is no folder {new}/none: make it first"),
        ("{old}/known.ckpt -o {new}", "-o {new} is a folder: name the files in it"),
        ("{old}/known.ckpt --desc a/b", "--desc: 'a/b' must be usable as a directory's name"),
        ("{old}/known.ckpt -d cifar100", "-d cifar100 has 100 classes, but"),
    ],
)
def test_bad_usage_is_refused_in_one_line(made, tmp_path, capsys, flags, text):
    folder, _, _ = made
    own = ["--log_dir", str(tmp_path / "logs"), "--data_dir", str(tmp_path / "data")]
    assert code_of([*own, *flags.format(old=folder, new=tmp_path).split()]) == 2
    error = capsys.readouterr().err
    assert text.format(new=tmp_path) in error, error
    assert error.startswith(f"{common.NAME}: error: ") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_bad_usage_is_answered_without_mindspore():
    code = (
        "import sys; sys.path.insert(0, 'scripts'); import evaluate_common_corruptions; "
        "sys.exit('mindspore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
