"""scripts/evaluate_common_corruptions.py from flags to files, on errors that are known."""

import csv
import importlib.util
import shutil
import subprocess
import sys

import known_network
import numpy as np
import pytest
from fake_folder import write_arrays
from known_network import NUM_IMAGES, SETTINGS, num_wrong
from mindspore import Tensor
from running import ROOT, rows

from corruptions import STANDARD
from sharpdro.command_line.settings import check_same_test_list, dataset_spec, parse, recorded
from sharpdro.errors import RunError
from sharpdro.evaluation import evaluator
from sharpdro.jobs.evaluate import prepare_evaluation
from sharpdro.networks.build import create_network, load_trained
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


def test_network_trained_on_arrays_of_ones_own(tmp_path, capsys):
    write_arrays(tmp_path / "data")
    data_dir = ["--data_dir", str(tmp_path / "data")]
    shape = ["-m", "wideresnet", "--depth", "10", "--widen_factor", "1"]
    args = parse(["-d", "arrays", *data_dir, *shape])
    network, _ = create_network("wideresnet", dataset_spec(args), 10, 1)
    checkpoint.save(tmp_path / "own.ckpt", network, 1, recorded(args))
    flags = [*data_dir, "--log_dir", tmp_path / "logs", "--num_test", "4"]
    assert code_of([tmp_path / "own.ckpt", *flags]) == 0
    found = capsys.readouterr()
    assert "error in percent on 4 test images of arrays" in found.out and not found.err


def test_networks_with_lists_of_other_test_images_are_not_in_one_table(tmp_path):
    paths = []
    for name, listed in (("a", "x/1.JPEG 0\ny/2.JPEG 1\n"), ("b", "y/2.JPEG 1\nx/1.JPEG 0\n")):
        (tmp_path / name / "imagenet30_filelist").mkdir(parents=True)
        (tmp_path / name / "imagenet30_filelist" / "imagenet30_test.txt").write_text(listed)
        paths.append(tmp_path / name / "best.ckpt")
    check_same_test_list("imagenet30", paths, "do this")  # in another order
    check_same_test_list("cifar10", paths, "do this")
    (tmp_path / "b" / "imagenet30_filelist" / "imagenet30_test.txt").write_text("x/1.JPEG 0\n")
    with pytest.raises(RunError, match=f"{paths[0]} and {paths[1]} have lists of .*: do this"):
        check_same_test_list("imagenet30", paths, "do this")


def means_of(table):
    """What the table of errors shows besides, from the rows of test.csv."""
    corrupted = [row for row in rows(table) if row["severity"] in ("1", "2", "3", "4", "5")]
    assert len(corrupted) == 75
    columns = {"loss": [], "ece": [], "worst_class_accuracy": []}
    for name, values in columns.items():
        values += [float(row[name]) for row in corrupted]
    nll, ece, accuracy = map(np.mean, columns.values())
    return {"NLL": nll, "ECE": 100 * ece, "worst class": 100 * (1 - accuracy)}


def worst_class_accuracy(labels, num_wrong):
    """The first `num_wrong` images are of another class."""
    right = np.arange(len(labels)) >= num_wrong
    return min(right[labels == c].mean() for c in set(labels.tolist()))


def test_likelihood_calibration_and_worst_class(made, tmp_path, capsys):
    """Also after an evaluation by an earlier version, which has measured neither of the latter."""
    folder, labels, flags = made
    checkpoints = [folder / "known.ckpt", folder / "constant.ckpt"]
    flags = [*flags, "-o", tmp_path / "table"]
    assert code_of([*checkpoints, *flags]) == 0
    name = "run_gaussian_noise_erm_{}_published_dsetcifar10_corr15corruptions_eval_seed0"
    paths = [folder / "logs" / name.format(stem) / "test.csv" for stem in ("known", "constant")]
    for row, path in zip(table_of(tmp_path / "table"), paths):
        for column, value in means_of(path).items():
            assert float(row[column]) == pytest.approx(value, rel=1e-5)
    counts = [num_wrong(name, severity) for name in STANDARD for severity in range(1, 6)]
    expected = 100 - 100 * np.mean([worst_class_accuracy(labels, count) for count in counts])
    known, constant = table_of(tmp_path / "table")
    assert float(known["worst class"]) == pytest.approx(expected, rel=1e-5)
    assert float(constant["worst class"]) == 100  # all but one class are never predicted
    assert "lacking" not in capsys.readouterr().out

    whole = paths[1].read_text()
    lines = [line.split(",") for line in whole.splitlines()]
    kept = [i for i, name in enumerate(lines[0]) if name not in ("ece", "worst_class_accuracy")]
    paths[1].write_text("".join(",".join(line[i] for i in kept) + "\n" for line in lines))
    assert code_of([*checkpoints, *flags]) == 0
    again, earlier = table_of(tmp_path / "table")
    assert again == known and earlier["NLL"] == constant["NLL"]
    assert earlier["ECE"] == earlier["worst class"] == "" and earlier["mCE"] == constant["mCE"]
    assert "lacking where an earlier version has measured (--desc" in capsys.readouterr().out
    paths[1].write_text(whole)


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
    assert "no larger than on clean images: Gauss., Shot, Imp" in said
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
        ("{old}/known.ckpt -o {new}", "--output {new} is a folder: name the files in it"),
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
