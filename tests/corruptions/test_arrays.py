"""Writing corrupted arrays: whole or not at all, whoever else is at it."""

import contextlib
import fcntl
import hashlib
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from running import tree

from corruptions import corrupt
from corruptions.errors import DataError
from corruptions.jpeg import jpeg_round_trip
from corruptions.storage import arrays, manifest
from corruptions.storage.arrays import (
    Source,
    array_path,
    look_up,
    num_foreign,
)
from corruptions.storage.files import _remove_abandoned, complete, exclusive_partial
from corruptions.storage.making import make_arrays, write_array
from corruptions.storage.manifest import Recipe
from corruptions.storage.workers import in_order, worker_pool

ROOT = Path(__file__).resolve().parents[2]
RECIPE = Recipe("gaussian_noise", 2, "cifar", 0, "train")


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1100, 32, 32, 3), dtype=np.uint8)
    return Source(images, rng.integers(0, 10, 1100))


@pytest.fixture(scope="module")
def expected(source):
    return corrupt(source.images, "gaussian_noise", 2, split="train")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train" / "2" / "gaussian_noise.npy"


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


WHOLE = ["manifest.json", "train/2/gaussian_noise.npy", "train/2/labels.npy"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_array_holds_the_corrupted_images(tmp_path, path, source, expected, num_workers):
    done = []
    with worker_pool(num_workers) as pool:
        write_array(tmp_path, RECIPE, source, pool, done.append)
    assert array_path(tmp_path, RECIPE) == path
    assert np.array_equal(np.load(path), expected)
    assert np.array_equal(np.load(path.with_name("labels.npy")), source.labels)
    assert sum(done) == len(source.images)
    assert files(tmp_path) == WHOLE


def test_manifest_tells_how_and_what(tmp_path, path, source):
    write_array(tmp_path, RECIPE, source)
    entry = json.loads((tmp_path / "manifest.json").read_text())["arrays"][WHOLE[1]]
    assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert entry["clean_sha256"] == hashlib.sha256(source.images.tobytes()).hexdigest()
    told = {"corruption": "gaussian_noise", "severity": 2, "split": "train", "seed": 0}
    told |= {"variant": "cifar", "parameters": 0.06, "jpeg_quality": None, "version": 1}
    assert told.items() <= entry.items()
    assert entry["shape"] == [1100, 32, 32, 3]
    assert entry["made_with"]["numpy"] == np.__version__


def test_jpeg_round_trip(tmp_path, source):
    recipe = Recipe("contrast", 5, "imagenet64", 0, "test", jpeg_quality=85)
    few = Source(source.images[:7])
    write_array(tmp_path, recipe, few)
    raw = corrupt(few.images, "contrast", 5, variant="imagenet64", split="test")
    found = np.load(array_path(tmp_path, recipe))
    assert np.array_equal(found, jpeg_round_trip(raw, 85)) and not np.array_equal(found, raw)
    assert files(tmp_path) == ["manifest.json", "test/5/contrast.npy"]  # no labels were given


def test_interruption_leaves_nothing(tmp_path, source):
    def interrupt(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_array(tmp_path, RECIPE, source, None, interrupt)
    assert files(tmp_path) == ["train/2/labels.npy"]


@pytest.mark.parametrize("moment", ["flock", "fsync", "replace", "stat"])
def test_interruption_at_an_awkward_moment_leaves_nothing(tmp_path, source, monkeypatch, moment):
    def interrupt(*arguments):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(fcntl if moment == "flock" else os, moment, interrupt)
    with pytest.raises(KeyboardInterrupt), exclusive_partial(tmp_path / "a.npy") as partial:
        partial.write(b"half")
        complete(partial, tmp_path / "a.npy")
    assert files(tmp_path) == []


def test_interruption_before_the_opened_file_is_known(tmp_path, monkeypatch):
    def interrupted_open(name, mode, **how):
        monkeypatch.undo()
        open(name, mode, **how).close()
        raise KeyboardInterrupt

    monkeypatch.setattr("corruptions.storage.files.open", interrupted_open, raising=False)
    with pytest.raises(KeyboardInterrupt), exclusive_partial(tmp_path / "a.npy"):
        pass
    assert files(tmp_path) == []


def test_partial_file_of_another_process_is_left_alone(tmp_path):
    with exclusive_partial(tmp_path / "a.npy") as partial:
        _remove_abandoned(tmp_path / ".a.npy.partial")
        partial.write(b"whole")
        complete(partial, tmp_path / "a.npy")
    assert (tmp_path / "a.npy").read_bytes() == b"whole" and files(tmp_path) == ["a.npy"]


def test_leftovers_of_a_killed_run_are_overwritten(tmp_path, path, source, expected):
    path.parent.mkdir(parents=True)
    path.with_name(".gaussian_noise.npy.partial").write_bytes(b"half a file" * 1000)
    write_array(tmp_path, RECIPE, source)
    assert np.array_equal(np.load(path), expected)
    assert files(tmp_path) == WHOLE


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.4])
def test_killed_at_any_moment(tmp_path, path, source, expected, delay):
    """SIGKILL after the first progress and a while: the array is there whole, or it is not."""
    np.save(tmp_path / "images.npy", np.tile(source.images, (8, 1, 1, 1)))
    code = (
        "import sys, numpy as np\n"
        "from corruptions.storage.arrays import Source\n"
        "from corruptions.storage.making import write_array\n"
        "from corruptions.storage.manifest import Recipe\n"
        "source = Source(np.load(sys.argv[1]))\n"
        "recipe = Recipe('gaussian_noise', 2, 'cifar', 0, 'train')\n"
        "write_array(__import__('pathlib').Path(sys.argv[2]), recipe, source, None,\n"
        "            lambda count: print(count, flush=True))\n"
    )
    target = tmp_path / "out"
    command = [sys.executable, "-c", code, str(tmp_path / "images.npy"), str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    big = Source(np.load(tmp_path / "images.npy"))
    made = array_path(target, RECIPE)
    assert not made.exists() or len(np.load(made)) == len(big.images)
    write_array(target, RECIPE, big)
    assert np.array_equal(np.load(made)[: len(expected)], expected)
    assert list(manifest.verify(target)) == []


def _write(folder, source, barrier, recipe):
    barrier.wait()
    write_array(folder, recipe, source)


def test_processes_at_once(tmp_path, path, source, expected):
    """Three write the same array, one another one of the same folder."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    other = Recipe("contrast", 2, "cifar", 0, "train")
    writers = [
        context.Process(target=_write, args=(tmp_path, source, barrier, recipe))
        for recipe in (RECIPE, RECIPE, RECIPE, other)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert np.array_equal(np.load(path), expected)
    assert files(tmp_path) == sorted([*WHOLE, "train/2/contrast.npy"])
    assert len(manifest.read(tmp_path)) == 2 and list(manifest.verify(tmp_path)) == []


def test_another_process_made_it_in_another_way(tmp_path, source):
    """Found only once the lock is had."""
    write_array(tmp_path, Recipe(**{**vars(RECIPE), "seed": 1}), source)
    with pytest.raises(DataError, match="was made with seed 1, not 0"):
        write_array(tmp_path, RECIPE, source)


def test_killed_worker_is_reported(tmp_path, source):
    with pytest.raises(OSError, match="was killed"), worker_pool(2) as pool:
        for process in list(pool._processes.values()):
            process.kill()
        write_array(tmp_path, RECIPE, source, pool)
    assert files(tmp_path) == ["train/2/labels.npy"]


def test_more_than_a_pipe_holds_for_dead_workers():
    """Python 3.11.4 and earlier would wait for ever for it to be read."""
    with pytest.raises(OSError, match="was killed"), worker_pool(2) as pool:
        for process in list(pool._processes.values()):
            process.kill()
        list(in_order(pool, np.sum, ((np.zeros(10**6),) for _ in range(8))))


@contextlib.contextmanager
def file_size_limit(num_bytes):
    """Longer files cannot be written, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_no_room_while_writing(tmp_path, path, source):
    message = "cannot be written: File too large"
    with file_size_limit(10**6), pytest.raises(OSError, match=message) as caught:
        write_array(tmp_path, RECIPE, source)
    assert str(path) in str(caught.value)
    assert files(tmp_path) == ["train/2/labels.npy"]


@pytest.mark.parametrize("limit", [100, 128, 300, 8000])
def test_no_room_for_the_labels(tmp_path, source, limit):
    message = "labels.npy cannot be written: File too large"
    with file_size_limit(limit), pytest.raises(OSError, match=message):
        write_array(tmp_path, RECIPE, source)
    assert files(tmp_path) == []


def test_too_little_room_is_seen_before_anything_is_made(tmp_path, source):
    usage = os.statvfs(tmp_path)
    free = usage.f_bavail * usage.f_frsize
    many = [RECIPE] * (free // source.images.nbytes + 2)
    with pytest.raises(OSError, match=r"the arrays take .* MB and .* MB are free") as caught:
        make_arrays(tmp_path / "new" / "folder", {"train": source}, many)
    assert "new" in str(caught.value) and files(tmp_path) == []


def test_existing_array_is_kept(tmp_path, path, source):
    path.parent.mkdir(parents=True)
    np.save(path, source.images[:3])
    write_array(tmp_path, RECIPE, source)
    assert len(np.load(path)) == 3
    assert num_foreign(tmp_path, [RECIPE]) == 1


def test_missing_arrays_are_made_and_only_they(tmp_path, path, source):
    recipes = [Recipe("contrast", s, "cifar", 0, "train") for s in (1, 2, 3)]
    sources = {"train": source}
    make_arrays(tmp_path, sources, recipes[:2])
    before = array_path(tmp_path, recipes[0]).stat().st_mtime_ns
    missing = look_up(tmp_path, sources, recipes).missing
    assert missing == recipes[2:]
    make_arrays(tmp_path, sources, missing)
    assert look_up(tmp_path, sources, recipes).missing == []
    assert array_path(tmp_path, recipes[0]).stat().st_mtime_ns == before
    assert num_foreign(tmp_path, recipes) == 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"variant": "imagenet64"}, "variant cifar, not imagenet64"),
        ({"jpeg_quality": 85}, "jpeg_quality None, not 85"),
    ],
)
def test_arrays_made_in_another_way_are_refused(tmp_path, source, change, text):
    write_array(tmp_path, RECIPE, source)
    other = Recipe(**{**vars(RECIPE), **change})
    with pytest.raises(DataError, match=f"was made with {text}: delete it"):
        look_up(tmp_path, {"train": source}, [other])
    if "seed" in change:
        assert look_up(tmp_path, {"train": source}, [other], any_seed=True).missing == []


def test_arrays_made_from_other_images_are_refused(tmp_path, source):
    """Same shape, same labels, one bit of one image."""
    write_array(tmp_path, RECIPE, source)
    images = source.images.copy()
    images[-1, -1, -1, -1] ^= 1
    with pytest.raises(DataError, match=r"was made from other images: delete it"):
        look_up(tmp_path, {"train": Source(images, source.labels)}, [RECIPE])


def test_workers_compute_with_one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with worker_pool(2) as pool:
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
        assert os.environ["OMP_NUM_THREADS"] == "7"
        assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_arrays_of_an_older_version_are_refused(tmp_path, source, monkeypatch):
    write_array(tmp_path, RECIPE, source)
    monkeypatch.setattr(manifest, "VERSION", 2)
    with pytest.raises(DataError, match="was made with version 1, not 2"):
        look_up(tmp_path, {"train": source}, [RECIPE])


def test_chunks_are_invisible(tmp_path, path, source, expected, monkeypatch):
    monkeypatch.setattr(arrays, "_CHUNK_BYTES", 100_000)
    write_array(tmp_path, RECIPE, source)
    assert np.array_equal(np.load(path), expected)


def _flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (_flip_a_bit, "train/2/gaussian_noise.npy: differs from the manifest's checksum"),
        (lambda p: os.truncate(p, 10**6), "train/2/gaussian_noise.npy: differs"),
        (lambda p: p.unlink(), "train/2/gaussian_noise.npy: missing"),
        (lambda p: np.save(p.with_name("fog.npy"), 0), "train/2/fog.npy: not in the manifest"),
        (lambda p: p.with_name(".fog.npy.partial").touch(), ".fog.npy.partial: being written, or"),
        (lambda p: p.with_name("labels.npy").unlink(), "train/2/labels.npy: missing"),
        (lambda p: np.save(p.with_name("labels.npy"), 1), "train/2/labels.npy: differs from"),
        (
            lambda p: (p.unlink(), p.mkdir()),
            "train/2/gaussian_noise.npy: cannot be read: it is a folder",
        ),
    ],
)
def test_verify_names_what_is_wrong(tmp_path, path, source, damage, text):
    write_array(tmp_path, RECIPE, source)
    assert list(manifest.verify(tmp_path)) == []
    damage(path)
    problems = list(manifest.verify(tmp_path))
    assert len(problems) == 1 and text in problems[0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"arrays": 3}', '{"arrays": {"a": 3}}', "\0"])
def test_broken_manifest(tmp_path, source, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest.json is not a manifest"):
        look_up(tmp_path, {"train": source}, [RECIPE])
    with pytest.raises(DataError, match=r"manifest.json is not a manifest"):
        write_array(tmp_path, RECIPE, source)
    assert not array_path(tmp_path, RECIPE).exists()


def test_nothing_to_verify(tmp_path):
    with pytest.raises(DataError, match="nothing to verify"):
        list(manifest.verify(tmp_path))


def test_array_that_was_overwritten_is_not_of_our_making(tmp_path, path, source):
    write_array(tmp_path, RECIPE, source)
    assert num_foreign(tmp_path, [RECIPE]) == 0
    content = path.read_bytes()
    changed = bytearray(content)
    changed[-5] ^= 1
    path.write_bytes(changed)
    assert num_foreign(tmp_path, [RECIPE]) == 1
    assert look_up(tmp_path, {"train": source}, [RECIPE]).missing == []
    # What the manifest says of the old one does not count, not even that it is another's.
    other = Recipe("gaussian_noise", 2, "cifar", 5, "train")
    assert look_up(tmp_path, {"train": source}, [other]).missing == []
    path.with_name("labels.npy").unlink()
    with pytest.raises(DataError, match="so the order of gaussian_noise.npy cannot be checked"):
        look_up(tmp_path, {"train": source}, [RECIPE])
    path.write_bytes(content)
    assert look_up(tmp_path, {"train": source}, [RECIPE]).missing == []  # restores the labels
    assert num_foreign(tmp_path, [RECIPE]) == 0
    with pytest.raises(DataError, match="was made with seed 0, not 5"):
        look_up(tmp_path, {"train": source}, [other])


def test_array_is_read_only_once_to_know_it_again(tmp_path, path, source, monkeypatch):
    """Copies have other times; old manifests name none."""

    def forbidden(path):
        raise AssertionError(f"{path} was read")

    write_array(tmp_path / "a", RECIPE, source)
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "file_sha256", forbidden)
        assert num_foreign(tmp_path / "a", [RECIPE]) == 0
    entries = manifest.read(tmp_path / "a")
    for entry in entries.values():
        del entry["last_seen"]
    (tmp_path / "a" / manifest.NAME).write_text(json.dumps({"arrays": entries}))
    for content in (None, b"\0"):
        if content:
            with open(array_path(tmp_path / "a", RECIPE), "r+b") as file:
                file.seek(-1, 2)
                file.write(content)
        before = tree(tmp_path / "a")
        assert num_foreign(tmp_path / "a", [RECIPE], may_write=False) == (content is not None)
        assert tree(tmp_path / "a") == before
        manifest._sha256_of.cache_clear()
        assert num_foreign(tmp_path / "a", [RECIPE]) == (content is not None)
        manifest._sha256_of.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(manifest, "file_sha256", forbidden)
            assert num_foreign(tmp_path / "a", [RECIPE]) == (content is not None)
