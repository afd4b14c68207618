"""JTT's error set and EIIL's groups on data made by hand, and what is kept of them."""

import numpy as np
import oracle
import pytest

from dataset.sampling import draw_rows
from dataset.sets import TrainingSet
from sharpdro.errors import RunError
from sharpdro.training.first_stage import EIIL, JTT, learn_from_first_stage

LABELS = np.array([0, 1, 2, 1, 0, 2], np.int32)
# Rows 1, 3 and 5 are wrong, row 5 by being told apart from class 2 least of all.
LOGITS = np.array([[3, 0, 0], [2, 1, 0], [0, 0, 4], [0, 1, 2], [1, 0.5, 0], [9, 0, -9]], np.float32)


def make_set(severities=(0, 0, 0, 1, 1, 2)):
    images = np.zeros((6, 8, 8, 3), np.uint8)
    return TrainingSet(images, LABELS, np.array(severities, np.int32), np.arange(60, 66))


def eiil(**settings):
    return EIIL(**{"eiil_epochs": 1, "eiil_steps": 3000, "eiil_lr": 0.01, **settings})


def test_jtt_repeats_the_errors():
    stage, train = JTT(jtt_epochs=1, jtt_upweight=3), make_set()
    found = stage.find(LOGITS, LABELS)
    assert found["is_error"].tolist() == [0, 1, 0, 1, 0, 1]
    assert found["is_error"].astype(bool).tolist() == oracle.jtt_error_set(LOGITS, LABELS).tolist()
    second = stage.apply(train, found)
    assert second.repeats.tolist() == [1, 3, 1, 3, 1, 3]
    pool = np.repeat(np.arange(6), second.repeats)
    assert pool.tolist() == oracle.jtt_pool(found["is_error"], 3)
    rows = next(draw_rows("replacement", pool, second.groups, 60_000, np.random.default_rng(0)))
    # Errors are drawn 3 times in 12: 15,000 each, with a standard deviation of 106.
    assert np.abs(np.bincount(rows) - np.array([5, 15, 5, 15, 5, 15]) * 1000).max() < 550
    assert train.repeats.tolist() == [1] * 6 and np.array_equal(second.severities, train.severities)


def test_eiil_parts_what_the_logits_scale_pulls_apart():
    """The penalty is largest with the images of ∂ℓ/∂a > 0 in one group and the rest in the other.

    By hand: ∂ℓ_i/∂a = Σ_c p_c z_c − z_y is 2.73 − 3 < 0 for row 0, 1.58 − 1 > 0 for row 1, and so
    on: positive for the rows that are wrong, 1, 3 and 5.
    """
    found = eiil().find(LOGITS, LABELS)
    assert found["group"].tolist() == [0, 1, 0, 1, 0, 1]
    p = found["probability"]
    assert ((p > 0.9) == (found["group"] == 1)).all() and ((p < 0.1) == (found["group"] == 0)).all()
    second = eiil().apply(make_set(), found)
    assert second.groups.tolist() == [0, 1, 0, 1, 0, 1] and second.groups.dtype == np.int32
    assert second.severities.tolist() == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_eiil_follows_a_plain_version(seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, 2, (40, 5)), rng.integers(0, 5, 40)
    found = eiil(eiil_steps=30, eiil_lr=0.05, seed=seed).find(logits, labels)
    start = np.random.default_rng([seed, 2])
    p = oracle.eiil_groups(logits, labels, 30, 0.05, start)
    same = found["probability"]
    if np.abs(same - p).max() > 0.5:  # group 1 is the one of the higher loss
        losses = oracle.losses(logits, labels)
        assert np.average(losses, weights=p) < np.average(losses, weights=1 - p)
        p = 1 - p
    np.testing.assert_allclose(same, p, atol=1e-6)
    assert np.array_equal(found["group"], p > 0.5)


def learn(stage, folder, train, logits=LOGITS, said=None):
    said = [] if said is None else said
    return learn_from_first_stage(stage, folder, train, lambda: logits, said.append)


@pytest.mark.parametrize("stage", [JTT(1, 3), eiil()], ids=["jtt", "eiil"])
def test_what_was_found_is_kept_and_reused(tmp_path, stage):
    said = []
    first = learn(stage, tmp_path, make_set(), said=said)
    lines = (tmp_path / stage.file).read_text().splitlines()
    assert lines[0].startswith("index,label,severity,") and len(lines) == 7
    assert lines[2].startswith("61,1,0,") and lines[2].endswith(",1")
    table = [line.split(",") for line in (tmp_path / "alignment.csv").read_text().splitlines()]
    assert table[0][:2] == ["severity", "count"]
    assert [row[:2] for row in table[1:]] == [["0", "3"], ["1", "2"], ["2", "1"]]
    # One of three, one of two and the one image are errors (in group 1).
    assert [float(row[-1]) for row in table[1:]] == [pytest.approx(1 / 3, abs=1e-5), 0.5, 1]
    assert said[0].startswith("what the first stage found, by true severity (")
    assert table[0][-1] in said[0] and "0.333" in said[0] and " 3 " in said[1]
    again = learn(stage, tmp_path, make_set(), logits=None)
    assert np.array_equal(first.repeats, again.repeats)
    assert np.array_equal(first.groups, again.groups)


@pytest.mark.parametrize(
    ("stage", "text"),
    [(JTT(1, 3), "no training errors, so the second"), (eiil(), "all images are in one group")],
    ids=["jtt", "eiil"],
)
def test_a_first_stage_that_finds_nothing_says_so(tmp_path, stage, text):
    """Logits of one sign of ∂ℓ/∂a and no error: each row is right, and sure of it."""
    said = []
    sure = 5 * np.eye(3, dtype=np.float32)[LABELS]
    second = learn(stage, tmp_path, make_set(), logits=sure, said=said)
    assert text in said[-1] and second.repeats.tolist() == [1] * 6


@pytest.mark.parametrize("stage", [JTT(1, 3), eiil()], ids=["jtt", "eiil"])
def test_damaged_or_foreign_files_are_refused(tmp_path, stage):
    learn(stage, tmp_path, make_set())
    path = tmp_path / stage.file
    whole = path.read_text()
    for text in ("", "index\n", whole.replace("61,", "77,"), whole[:-1] + "5\n", whole[:60]):
        path.write_text(text)
        with pytest.raises(RunError, match=f"{stage.file} .*delete it to have it made again"):
            learn(stage, tmp_path, make_set())
    assert path.read_text() == whole[:60]
