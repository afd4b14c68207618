"""main.py --eval_only --published, with files of which it is known how many are got wrong."""

import known_network
import numpy as np
import pytest
from known_network import NUM_IMAGES, num_wrong
from running import rows

import main
from dataset.readers.published import open_published
from sharpdro.networks.build import load_trained  # noqa: F401  (sharpdro before mindspore)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    images, labels = known_network.write(folder)
    assert len(np.unique(labels)) > 3
    return folder, images, labels


def flags_of(folder, logs, *more):
    own = ["--eval_only", "--checkpoint", str(folder / "known.ckpt"), "--log_dir", str(logs)]
    return [*own, "--data_dir", str(folder / "data"), *more]


def accuracies(log_dir):
    (folder,) = log_dir.iterdir()
    return {
        (r["corruption"], r["severity"]): float(r["accuracy"]) for r in rows(folder / "test.csv")
    }


def test_each_severity_is_its_block(made, tmp_path):
    folder, _, _ = made
    published = ("--published", str(folder / "published"), "--num_test", "0")
    chosen = ("-c", "fog", "shot_noise", "--num_severity", "4")
    assert main.main(flags_of(folder, tmp_path, *published, *chosen)) == 0
    found = accuracies(tmp_path)
    for name in ("fog", "shot_noise"):
        assert found[name, "0"] == 1
        for severity in range(1, 5):
            expected = 1 - num_wrong(name, severity) / NUM_IMAGES
            assert found[name, str(severity)] == pytest.approx(expected, abs=1e-6)
        assert (name, "5") not in found
    (log,) = tmp_path.iterdir()
    assert log.name.startswith("run_gaussian_noise_erm_known_published_dset")
    assert not (folder / "data" / "CIFAR-10-C").exists()  # nothing is made


def test_num_test_takes_the_same_photographs(made, tmp_path):
    folder, _, _ = made
    published = ("--published", str(folder / "published"), "--num_test", "10", "-c", "snow")
    assert main.main(flags_of(folder, tmp_path, *published, "--num_severity", "5")) == 0
    chosen = np.random.default_rng(0).permutation(NUM_IMAGES)[:10]
    found = accuracies(tmp_path)
    for severity in range(1, 6):
        wrong = (chosen < num_wrong("snow", severity)).sum()
        assert found["snow", str(severity)] == pytest.approx(1 - wrong / 10, abs=1e-6)


def test_another_folder_is_another_evaluation(made, tmp_path, capsys):
    folder, images, labels = made
    flags = flags_of(folder, tmp_path / "logs", "-c", "fog", "--resume")
    assert main.main([*flags, "--published", str(folder / "published")]) == 0
    other = tmp_path / "other"
    known_network.write_published(other, images, labels)
    assert main.main([*flags, "--published", str(other)]) == 2
    assert f"--published is {other}, but" in capsys.readouterr().err
    desc = ("--desc", "run_gaussian_noise_erm_known_published")
    assert main.main([*flags, *desc]) == 2
    assert "--published is None, but" in capsys.readouterr().err


def test_files_are_mapped_not_read(made):
    folder, images, labels = made
    blocks = open_published(folder / "published", "fog", images, labels)
    assert len(blocks) == 5
    whole = np.load(folder / "published" / "fog.npy")
    for number, block in enumerate(blocks):
        assert isinstance(block, np.memmap) and not block.flags.owndata
        assert np.array_equal(block, whole[40 * number : 40 * (number + 1)])


def save(name, change):
    def spoil(folder):
        np.save(folder / name, change(np.load(folder / name)))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda folder: (folder / "fog.npy").unlink(), "lacks fog.npy: put them there"),
        (lambda folder: (folder / "labels.npy").unlink(), "lacks labels.npy"),
        (lambda folder: (folder / "fog.npy").write_bytes(b"x"), "fog.npy is not a whole .npy"),
        (save("fog.npy", lambda a: a[:-40]), "fog.npy holds uint8 (160, 32, 32, 3), expected"),
        (save("fog.npy", lambda a: a[:-1]), "fog.npy holds uint8 (199, 32, 32, 3), expected"),
        (save("fog.npy", lambda a: a.astype(np.float32)), "fog.npy holds float32 (200"),
        (save("fog.npy", lambda a: a[..., :1]), "expected uint8 (200, 32, 32, 3), the 40 test"),
        (save("labels.npy", lambda a: a[:40]), "labels.npy does not hold the labels of the"),
        (save("labels.npy", lambda a: np.roll(a, 1)), "labels.npy does not hold the labels of the"),
        (save("labels.npy", lambda a: np.repeat(a[:40], 5)), "labels.npy does not hold the labels"),
    ],
)
def test_files_that_do_not_fit(made, tmp_path, capsys, spoil, text):
    folder, images, labels = made
    published = tmp_path / "published"
    known_network.write_published(published, images, labels)
    spoil(published)
    flags = ("--published", str(published), "-c", "fog")
    assert main.main(flags_of(folder, tmp_path / "logs", *flags)) == 2
    error = capsys.readouterr().err
    assert error.startswith("main.py: error: ") and error.count("\n") == 1
    assert text in error and str(published) in error
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("--published {new}/none", "--published {new}/none is not a folder"),
        ("--published {old} -c spatter", "lacks spatter.npy"),
        ("--published {old} -c frost --frost_dir {new}", "--frost_dir does not go with --publis"),
        ("--published {old} -d imagenet30", "images are 32×32, those of -d imagenet30 64×64"),
        ("--published {old} -d synthetic", "labels.npy does not hold the labels of the dataset's"),
    ],
)
def test_flags_that_do_not_go_together(made, tmp_path, capsys, flags, text):
    folder, _, _ = made
    flags = flags.format(old=folder / "published", new=tmp_path).split()
    try:
        code = main.main(flags_of(folder, tmp_path / "logs", *flags))
    except SystemExit as exit:
        code = exit.code
    error = capsys.readouterr().err
    assert code == 2 and text.format(new=tmp_path) in error and error.count("\n") == 1
    assert not (tmp_path / "logs").exists()
