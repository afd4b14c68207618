"""Writing corrupted arrays: whole or not at all, whoever else is at it."""

import multiprocessing

import numpy as np
import pytest

from corruptions import corrupt
from corruptions.generate import Recipe, worker_pool, write_corrupted

RECIPE = Recipe("gaussian_noise", 2, "cifar", 0, "train")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (1100, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(images):
    return corrupt(images, "gaussian_noise", 2, split="train")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_file_holds_the_corrupted_images(tmp_path, images, expected, num_workers):
    path, done = tmp_path / "a.npy", []
    with worker_pool(num_workers) as pool:
        write_corrupted(path, images, RECIPE, pool, done.append)
    assert np.array_equal(np.load(path), expected)
    assert sum(done) == len(images)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_interruption_leaves_nothing(tmp_path, images):
    def interrupt(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_corrupted(tmp_path / "a.npy", images, RECIPE, None, interrupt)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_are_overwritten(tmp_path, images, expected):
    (tmp_path / ".a.npy.partial").write_bytes(b"half a file" * 1000)
    write_corrupted(tmp_path / "a.npy", images, RECIPE)
    assert np.array_equal(np.load(tmp_path / "a.npy"), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def _write(path, images, barrier):
    barrier.wait()
    write_corrupted(path, images, RECIPE)


def test_two_processes_at_once(tmp_path, images, expected):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    arguments = (tmp_path / "a.npy", images, barrier)
    writers = [context.Process(target=_write, args=arguments) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_killed_worker_is_reported(tmp_path, images):
    with pytest.raises(OSError, match="was killed"), worker_pool(2) as pool:
        for process in list(pool._processes.values()):
            process.kill()
        write_corrupted(tmp_path / "a.npy", images, RECIPE, pool)
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept(tmp_path, images):
    np.save(tmp_path / "a.npy", images[:3])
    write_corrupted(tmp_path / "a.npy", images, RECIPE)
    assert len(np.load(tmp_path / "a.npy")) == 3
