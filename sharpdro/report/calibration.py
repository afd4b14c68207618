"""The second table of a report: likelihood, calibration and the worst-off class."""

from dataclasses import dataclass, replace
from itertools import chain

from sharpdro.evaluation.scores import NUM_BINS
from sharpdro.report.experiments import Experiment
from sharpdro.report.runs import Run
from sharpdro.report.tables import Row, Table, mark_best, over_runs


@dataclass(frozen=True)
class Measure:
    """A number that an evaluation has besides the accuracy.

    Args:
        name: of it in summary.json.
        title: at the head of its columns.
        csv_name: the same in CSV.
        factor: from what is recorded to what is shown.
        decimals: shown.
        is_lower_better: which of two is the better one.
    """

    name: str
    title: str
    csv_name: str
    factor: int
    decimals: int
    is_lower_better: bool


MEASURES = (
    Measure("loss", "NLL", "nll", 1, 2, True),
    Measure("ece", "ECE", "ece", 100, 1, True),
    Measure("worst_class_accuracy", "worst class", "worst_class", 100, 1, False),
)
# Over severities, and at the severity of the lowest accuracy.
_SHOWN = ("mean", "worst")
_COLUMNS = {f"{m.title} ({severity})": (m, severity) for m in MEASURES for severity in _SHOWN}
CSV_COLUMNS = ["calibration_seeds"]
CSV_COLUMNS += [f"{m.csv_name}_{what}" for m in MEASURES for what in ("mean", "std")]
_ABOUT = (
    f"NLL: negative log-likelihood (the loss) in nats; ECE: expected calibration error in percent "
    f"({NUM_BINS} bins, Guo et al. 2017, not debiased); worst class: accuracy in percent of the "
    f"class with the lowest; mean: over severities; worst: at the severity of the lowest accuracy"
)


@dataclass(frozen=True)
class CalibrationRow(Row):
    """As a row of accuracies, of the runs that have measured all this."""

    def as_shown(self, column: str, value: float) -> str:
        measure, _ = _COLUMNS[column]
        return f"{value:.{measure.decimals}f}"


@dataclass(frozen=True)
class CalibrationTable(Table):
    """As a table of accuracies; the best is the lowest NLL and ECE, the highest accuracy."""

    @property
    def title(self) -> str:
        return f"{super().title}: calibration and worst class"

    @property
    def remarks(self) -> list[str]:
        return [_ABOUT, *self._marks()]


def make_calibration_tables(tables: list[Table], epoch: str) -> list[CalibrationTable]:
    """One for each table that has runs which measured all this; others are not in it.

    Args:
        tables: of `tables.make_tables`.
        epoch: best or last, as there.
    """
    made = []
    for table in tables:
        rows = [row for row in (_make_row(row, epoch) for row in table.rows) if row is not None]
        if rows:
            for column, (measure, _) in _COLUMNS.items():
                best = min if measure.is_lower_better else max
                mark_best(rows, column, best)
            made.append(CalibrationTable(table.key, [*_COLUMNS], rows, table.shared))
    return made


def csv_cells(experiment: Experiment, severity: str, epoch: str) -> list:
    """The cells of CSV_COLUMNS for one line; None where no run has measured this.

    Args:
        experiment: whose line it is.
        severity: which, or "mean" or "worst".
        epoch: best or last.
    """
    runs = _measured(experiment, epoch)
    if not runs:
        return [None] * len(CSV_COLUMNS)
    means, stds = over_runs({m.name: _values(runs, m, severity, epoch) for m in MEASURES})
    cells = [(means[m.name], stds.get(m.name)) for m in MEASURES]
    return [" ".join(str(run.seed) for run in runs), *chain.from_iterable(cells)]


def _measured(experiment: Experiment, epoch: str) -> list[Run]:
    return [run for run in experiment.runs if all(run.numbers(epoch, m.name) for m in MEASURES)]


def _values(runs: list[Run], measure: Measure, severity: str, epoch: str) -> list[float]:
    return [measure.factor * run.numbers(epoch, measure.name)[severity] for run in runs]


def _make_row(row: Row, epoch: str) -> CalibrationRow | None:
    runs = _measured(row.experiment, epoch)
    if not runs:
        return None
    values = {
        column: _values(runs, measure, severity, epoch)
        for column, (measure, severity) in _COLUMNS.items()
    }
    experiment = replace(row.experiment, runs=runs)
    return CalibrationRow(experiment, row.label, row.state, values)
