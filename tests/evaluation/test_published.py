"""main.py --eval_only --published, with files of which it is known how many are got wrong."""

import hashlib
import re
import shutil
from dataclasses import replace

import known_network
import numpy as np
import pytest
from archive_server import Handler, make_tar, serving
from known_network import NUM_IMAGES, num_wrong
from running import ROOT, assert_refused, rows

import main
from corruptions import CORRUPTIONS, EXTRA
from corruptions.errors import DataError
from dataset.readers.published import fetch_published, open_published
from dataset.specs import CIFAR10, DATASETS, Archive
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
    folder, _, labels = made
    published = ("--published", str(folder / "published"), "--num_test", "0", "--save_logits")
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
    check_logits(log / "logits", labels)
    assert readme_example(log) == pytest.approx(ece_of(log, "fog", 4), rel=1e-4)
    assert log.name.startswith("run_gaussian_noise_erm_known_published_dset")
    assert not (folder / "data" / "CIFAR-10-C").exists()  # nothing is made


def ece_of(log, corruption, severity):
    key = (corruption, str(severity))
    (row,) = (r for r in rows(log / "test.csv") if (r["corruption"], r["severity"]) == key)
    return float(row["ece"])


def readme_example(log):
    """What the code prints that sharpdro/run_folder/README.md has for the logits."""
    text = (ROOT / "sharpdro" / "run_folder" / "README.md").read_text(encoding="utf-8")
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "logits" in c)
    code, printed = code.replace("RUN/", f"{log}/").replace("fog_5", "fog_4"), []
    exec(code, {"np": np, "print": printed.append})
    return printed[0]


def check_logits(folder, labels):
    arrays = {path.stem: np.load(path) for path in folder.iterdir()}
    assert np.array_equal(arrays.pop("labels"), labels)
    assert np.array_equal(arrays.pop("indices"), np.arange(NUM_IMAGES))
    expected = {f"{n}_{s}": num_wrong(n, s) for n in ("fog", "shot_noise") for s in range(1, 5)}
    expected["clean"] = 0
    assert {n: (a.argmax(1) != labels).sum() for n, a in arrays.items()} == expected
    assert {(a.dtype.name, a.shape) for a in arrays.values()} == {("float32", (NUM_IMAGES, 10))}


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
        (
            "--published download -d synthetic",
            "download is for -d cifar10 and cifar100, not for -d ",
        ),
        ("--published download -d imagenet30", "cifar100, not for -d imagenet30: leave it out"),
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


@pytest.fixture
def offered(made, monkeypatch):
    """What `--published download` fetches is on a server here; yields the archive."""
    folder, _, _ = made
    files = [(path.name, path.read_bytes()) for path in (folder / "published").iterdir()]
    files += [*((f"{name}.npy", b"x") for name in EXTRA), ("README.txt", b"x")]
    content = make_tar([("../evil.npy", b"x"), *((f"CIFAR-10-C/{n}", c) for n, c in files)])
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    with serving(monkeypatch, content) as address:
        archive = Archive(f"{address}/x", "CIFAR-10-C.tar", digest, len(content), "md5")
        monkeypatch.setitem(DATASETS, "cifar10", replace(CIFAR10, published=archive))
        yield archive


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download_is_measured_and_found_the_second_time(made, offered, tmp_path, capsys):
    folder, _, _ = made
    data = tmp_path / "data"
    shutil.copytree(folder / "data", data)
    flags = flags_of(folder, tmp_path / "logs", "--data_dir", str(data), "--published", "download")
    flags += ["--num_severity", "1", "--num_test", "0", "-c", "fog"]
    assert main.main(flags) == 0
    found = accuracies(tmp_path / "logs")
    assert found["fog", "1"] == pytest.approx(1 - num_wrong("fog", 1) / NUM_IMAGES, abs=1e-6)
    said = f"downloading CIFAR-10-C.tar into {data}/published: 0.0 GB, and as much for what is"
    assert said in capsys.readouterr().out
    assert names(data) == ["cifar-10-batches-py", "published"]
    assert names(data / "published") == ["CIFAR-10-C", "CIFAR-10-C.tar"]
    expected = sorted([*(f"{name}.npy" for name in CORRUPTIONS), "labels.npy"])
    assert names(data / "published" / "CIFAR-10-C") == expected
    assert main.main([*flags, "--resume"]) == 0
    assert Handler.requests == [None]


def test_download_that_broke_off_goes_on(offered, tmp_path, monkeypatch):
    spec = DATASETS["cifar10"]
    monkeypatch.setattr(Handler, "broken_after", 100)
    with pytest.raises(DataError, match="broke off after 100 of"):
        fetch_published(spec, tmp_path)
    monkeypatch.setattr(Handler, "broken_after", None)
    assert fetch_published(spec, tmp_path) == tmp_path / "published" / "CIFAR-10-C"
    assert Handler.requests == [None, "bytes=100-"]


def test_archive_put_there_by_hand_is_unpacked(offered, tmp_path):
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "CIFAR-10-C.tar").write_bytes(Handler.content)
    said = []
    folder = fetch_published(DATASETS["cifar10"], tmp_path, report=said.append)
    assert said == [f"unpacking {tmp_path}/published/CIFAR-10-C.tar (0.0 GB)"]
    assert (folder / "fog.npy").exists() and not Handler.requests


def test_no_network_says_which_file_to_put_where(made, offered, tmp_path, monkeypatch, capsys):
    folder, _, _ = made
    nowhere = replace(offered, url="http://127.0.0.1:1/CIFAR-10-C.tar")
    monkeypatch.setitem(DATASETS, "cifar10", replace(CIFAR10, published=nowhere))
    own = ("--data_dir", tmp_path / "data", "--published", "download", "-c", "fog")
    assert_refused(
        capsys,
        flags_of(folder, tmp_path / "logs", *own),
        "cannot download http://127.0.0.1:1/CIFAR-10-C.tar (",
        f"put CIFAR-10-C.tar, or the folder unpacked from it, into {tmp_path}/data/published",
    )
    assert not list(tmp_path.iterdir())


def test_no_room_is_said_before_anything_is_fetched(offered, tmp_path, monkeypatch):
    monkeypatch.setattr("corruptions.storage.files.free_bytes", lambda folder: 10)
    with pytest.raises(OSError, match="make room, or use another folder"):
        fetch_published(DATASETS["cifar10"], tmp_path)
    assert not Handler.requests and not list(tmp_path.iterdir())
