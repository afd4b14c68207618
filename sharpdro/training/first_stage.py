"""What the methods of two stages learn from a network trained by ERM: which images matter how.

Each class names a file, `find`s columns of it (one value per training image) in the network's
logits, and `apply`s them to the training set that the second stage is given; `means` are the names
of the columns' means over the images of a severity.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from corruptions.interrupts import check_interrupts
from corruptions.storage.files import write_atomically
from sharpdro.distributed.process_group import SINGLE_PROCESS, Processes
from sharpdro.errors import RunError
from sharpdro.run_folder.csv_table import csv_text
from sharpdro.run_folder.reading import read_rows, refusing

ALIGNMENT = "alignment.csv"


class JTT:
    """Just train twice (Liu et al., ICML 2021): repeats the training errors of the first stage.

    Args:
        jtt_epochs: length of the first stage.
        jtt_upweight: how often each training error counts in the second.
        seed, show_progress: not used.
    """

    file = "error_set.csv"
    means = {"is_error": "error_rate"}
    num_inferred = None  # groups are the severities

    def __init__(
        self, jtt_epochs: int, jtt_upweight: int, seed: int = 0, show_progress: bool = False
    ):
        self.epochs = jtt_epochs
        self._upweight = jtt_upweight

    def find(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Which images (N,) the logits (N, C) get wrong: 0 or 1."""
        return {"is_error": (logits.argmax(1) != labels).astype(np.int64)}

    def apply(self, train, columns):
        """The training set with its errors repeated."""
        repeats = np.where(columns["is_error"] == 1, self._upweight, 1)
        return dataclasses.replace(train, repeats=repeats)

    def remark(self, columns) -> str:
        """How many images the second stage repeats, and whether that makes sense."""
        errors, count = int(columns["is_error"].sum()), len(columns["is_error"])
        if errors == 0:
            return "no training errors, so the second stage is ERM: lower --jtt_epochs"
        text = f"error set: {errors} of {count} images"
        if 2 * errors > count:
            text += ", more than half, which singles out nothing: raise --jtt_epochs"
        return text

    def check(self, columns) -> bool:
        """Whether values read from a file are possible."""
        return np.isin(columns["is_error"], (0, 1)).all()


class EIIL:
    """Environment inference (Creager et al., ICML 2021, section 3.2): two groups of images.

    Args:
        eiil_epochs: length of the first stage.
        eiil_steps, eiil_lr: Adam's, which maximises over the images' group probabilities.
        seed: fixes their initial values.
        show_progress: draw a progress bar.
    """

    file = "inferred_groups.csv"
    means = {"probability": "mean_probability_of_group_1", "group": "share_in_group_1"}
    num_inferred = 2  # groups

    def __init__(
        self,
        eiil_epochs: int,
        eiil_steps: int,
        eiil_lr: float,
        seed: int = 0,
        show_progress: bool = False,
    ):
        self.epochs = eiil_epochs
        self._steps, self._rate, self._seed = eiil_steps, eiil_lr, seed
        self._disable = None if show_progress else True

    def find(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Probability of group 1, and the group, per image (N,), from logits (N, C).

        Group 1 is the one of the higher mean loss: which is which would else be chance.
        """
        logits = logits.astype(np.float64)
        shifted = logits - logits.max(1, keepdims=True)
        log_softmax = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        rows = np.arange(len(labels))
        slopes = (np.exp(log_softmax) * logits).sum(1) - logits[rows, labels]
        rng = np.random.default_rng([self._seed, 2])
        probability = self._maximise_penalty(slopes, rng.standard_normal(len(labels)))
        losses = -log_softmax[rows, labels]
        if np.average(losses, weights=1 - probability) > np.average(losses, weights=probability):
            probability = 1 - probability
        return {"probability": probability, "group": (probability > 0.5).astype(np.int64)}

    def _maximise_penalty(self, slopes, assignment):
        """Sigmoid of the assignments (N,) after Adam's ascent of the IRMv1 penalty of both groups.

        With p_i the probability of group 1 and d_i = ∂ℓ_i(a · logits)/∂a at a = 1, the penalty is
        ½ (g₁² + g₀²) with g₁ = mean p_i d_i and g₀ = mean (1 − p_i) d_i.
        """
        first, second = np.zeros_like(slopes), np.zeros_like(slopes)
        mean_slope = slopes.mean()
        for step in tqdm(
            range(1, self._steps + 1), desc="inferring groups", leave=False, disable=self._disable
        ):
            check_interrupts()
            p = _sigmoid(assignment)
            in_group = (p @ slopes) / len(slopes)
            gradient = (2 * in_group - mean_slope) / len(slopes) * slopes * p * (1 - p)
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            scale = self._rate / (1 - 0.9**step)
            assignment += scale * first / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        return _sigmoid(assignment)

    def apply(self, train, columns):
        """The training set with the inferred groups instead of the severities."""
        return dataclasses.replace(train, groups=columns["group"].astype(np.int32))

    def remark(self, columns) -> str:
        """The groups' sizes, and whether they make sense."""
        if len(set(columns["group"].tolist())) == 1:
            return "all images are in one group, so the second stage is ERM: change --eiil_epochs"
        sizes = np.bincount(columns["group"].astype(int), minlength=2)
        return f"inferred groups: {sizes[0]} images in group 0, {sizes[1]} in group 1"

    def check(self, columns) -> bool:
        """Whether values read from a file are possible."""
        p = columns["probability"]
        return np.isin(columns["group"], (0, 1)).all() and ((p >= 0) & (p <= 1)).all()


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def learn_from_first_stage(
    stage,
    folder: Path,
    train,
    predict: Callable[[], np.ndarray],
    say,
    processes: Processes = SINGLE_PROCESS,
):
    """The training set of the second stage; what was found is kept in the folder, and reused.

    Args:
        stage: a `JTT` or `EIIL`.
        folder: of the first stage, made where it is missing.
        train: the training set.
        predict: trains the first stage, or takes up what is there of it; returns its logits for
            every training image, (N, C).
        say: called with the lines that tell how what was found lines up with the severities.
        processes: the processes of the run, the first of which keeps what was found.

    Raises:
        RunError: the file that is there is damaged, or of other training images.
    """
    path = folder / stage.file
    is_found = path.exists()
    processes.check_equal(
        f"what they find at {path}", int(is_found), "let all see the same --log_dir"
    )
    if not is_found:
        fixed = {"index": train.indices, "label": train.labels, "severity": train.severities}
        text = _as_csv({**fixed, **stage.find(predict(), train.labels)})
        processes.run_on_first(lambda: write_atomically(path, text))
    columns = _read(path, stage, train)  # as a resumed run will
    table = _alignment(columns, stage.means, train.severities)
    processes.run_on_first(lambda: write_atomically(folder / ALIGNMENT, _as_csv(table)))
    say(f"what the first stage columns, by true severity ({path}):\n{_as_text(table)}")
    say(stage.remark(columns))
    return stage.apply(train, columns)


def _alignment(columns, means, severities):
    """Per severity the number of images and the mean of every column found."""
    present = np.unique(severities)
    chosen = [severities == s for s in present]
    table = {"severity": present, "count": np.array([c.sum() for c in chosen])}
    for name, mean in means.items():
        table[mean] = np.array([columns[name][c].mean() for c in chosen])
    return table


def _as_csv(columns):
    return csv_text(columns, zip(*(values.tolist() for values in columns.values())))


def _as_text(columns):
    rows = [list(columns), *zip(*(v.tolist() for v in columns.values()))]
    lines = []
    for row in rows:
        cells = (f"{v:.3f}" if isinstance(v, float) else str(v) for v in row)
        lines.append("  " + "".join(f"{cell:>29}" for cell in cells))
    return "\n".join(lines)


def _read(path, stage, train):
    """The columns that were found before.

    Raises:
        RunError: they cannot be read or do not fit the training set.
    """
    advice = "restore it, or delete it to have it made again"
    rows = read_rows(path, lambda row: {k: float(v) for k, v in row.items()}, advice)
    with refusing(path, advice):
        table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        learned = {k: v for k, v in table.items() if k not in ("index", "label", "severity")}
        is_sound = stage.check(learned) and "index" in table
    if not is_sound or not np.array_equal(table["index"], train.indices):
        raise RunError(f"{path} does not fit the training set: {advice}")
    return learned
