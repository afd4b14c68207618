"""Reading run directories, and sorting them into experiments that may be averaged."""

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dataset.filelists import FILELIST_DIR
from sharpdro.command_line import FREE_ON_RESUME, default_of
from sharpdro.methods import METHOD_SETTINGS, METHODS, variant
from sharpdro.run_log import SUMMARY, epochs_of

# Runs that differ in these go into different tables.
TABLE_SETTINGS = ("dataset", "corruption", "num_severity")
_NOT_COMPARED = FREE_ON_RESUME | {"seed", "method", "distribution_agnostic"}
# SharpDRO comes last, after what it is compared with.
METHOD_ORDER = sorted(METHODS, key=lambda name: name.startswith("sharpdro"))


@dataclass(frozen=True)
class Run:
    """One training run as it lies on disk.

    Args:
        folder: its directory.
        method: key into `methods.METHODS`.
        settings: as recorded.
        commit: of the program that began it, "" where unknown.
        summary: content of summary.json; empty before the first evaluation.
        epoch: number of epochs that it got to.
    """

    folder: Path
    method: str
    settings: dict
    commit: str
    summary: dict
    epoch: int

    @property
    def is_finished(self) -> bool:
        return self.summary.get("finished", False)

    @property
    def seed(self) -> int:
        return self.settings["seed"]

    def accuracies(self, epoch: str) -> dict[str, float]:
        """Test accuracy in [0, 1] per severity, "mean" and "worst"; of the epoch best or last."""
        return {name: row["accuracy"] for name, row in self.summary[epoch]["test"].items()}


@dataclass
class Experiment:
    """Runs in which nothing differs but the seed; or a single run that is not finished.

    Args:
        method: key into `methods.METHODS`.
        settings: what was compared, see `compared`.
        runs: by seed.
    """

    method: str
    settings: dict
    runs: list[Run] = field(default_factory=list)

    @property
    def is_finished(self) -> bool:
        return all(run.is_finished for run in self.runs)

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]


def read_run(folder: Path) -> Run:
    """One run directory.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, OSError: it cannot be read.
    """
    content = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    settings = content["settings"]
    method = variant(settings["method"], settings.get("distribution_agnostic", False))
    METHODS[method], int(settings["seed"])  # an unknown method, or no number
    lists = sorted((folder / FILELIST_DIR.name).glob("*.txt"))
    if lists and settings.get("num_per_class") is None:  # what they say is a setting, too
        content_of_lists = b"".join(path.name.encode() + path.read_bytes() for path in lists)
        settings = {**settings, "lists": f"{zlib.crc32(content_of_lists):08x}"}
    path, summary = folder / SUMMARY, {}
    if path.exists():
        summary = json.loads(path.read_text(encoding="utf-8"))
        for epoch in ("best", "last"):
            for row in summary[epoch]["test"].values():
                float(row["accuracy"])
        bool(summary["finished"])
    commit = content.get("environment", {}).get("git_commit") or ""
    return Run(folder, method, settings, commit, summary, _epoch_of(folder, summary))


def _epoch_of(folder: Path, summary: dict) -> int:
    """The run's last epoch: of its tables, which go further than its summary."""
    return max([0, *epochs_of(folder / "train.csv"), summary.get("last", {}).get("epoch", 0)])


def read_runs(log_dirs: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """All training runs in some log directories, and what is to be said about the others."""
    runs, remarks, evaluations = [], [], 0
    for path in sorted(path for folder in log_dirs for path in folder.glob("*/settings.json")):
        try:
            if json.loads(path.read_text(encoding="utf-8"))["settings"].get("eval_only"):
                evaluations += 1
                continue
            runs.append(read_run(path.parent))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            remarks.append(f"left out, cannot be read: {path.parent} ({error!r})")
    if evaluations:
        remarks.append(f"left out: {evaluations} directories of --eval_only")
    return runs, remarks


def compared(run: Run, all_names: set[str]) -> dict:
    """What must be equal for runs to be averaged; what a run does not name has its default."""
    own = METHODS[run.method].settings
    names = (all_names - _NOT_COMPARED - METHOD_SETTINGS) | own.keys()
    return {name: run.settings.get(name, default_of(name)) for name in sorted(names)}


def experiments_of(runs: list[Run]) -> tuple[list[Experiment], list[str]]:
    """Sort runs into experiments, baselines first; also remarks on runs that are left out."""
    all_names = set(TABLE_SETTINGS).union(*(run.settings for run in runs))
    found, remarks = {}, []
    for run in sorted(runs, key=lambda run: (METHOD_ORDER.index(run.method), run.seed)):
        settings = compared(run, all_names)
        if not run.summary:
            remarks.append(f"not evaluated yet: {run.folder} (epoch {run.epoch})")
            continue
        # Runs on their way are at different epochs: each stands for itself.
        alone = None if run.is_finished else str(run.folder)
        key = (run.method, json.dumps(settings, sort_keys=True), alone)
        experiment = found.setdefault(key, Experiment(run.method, settings))
        if run.seed in experiment.seeds:
            twin = experiment.runs[experiment.seeds.index(run.seed)].folder
            remarks.append(f"left out, the same settings and seed as {twin}: {run.folder}")
            continue
        experiment.runs.append(run)
    return list(found.values()), remarks


def tables_of(experiments: list[Experiment]) -> dict[tuple, list[Experiment]]:
    """The experiments of each table, by their values of TABLE_SETTINGS."""
    tables = {}
    for experiment in experiments:
        key = tuple(experiment.settings.get(name) for name in TABLE_SETTINGS)
        tables.setdefault(key, []).append(experiment)
    return dict(sorted(tables.items(), key=lambda item: [str(value) for value in item[0]]))


def varying_settings(experiments: list[Experiment]) -> list[str]:
    """Names of the settings in which some of the experiments that have them differ."""
    values = {}
    for experiment in experiments:
        for name, value in experiment.settings.items():
            values.setdefault(name, set()).add(json.dumps(value))
    return sorted(name for name, seen in values.items() if len(seen) > 1)


def common_settings(experiments: list[Experiment]) -> dict:
    """Settings that all experiments share and that are not the defaults, but for the table's."""
    first = experiments[0].settings
    shared = set.intersection(*(set(e.settings) for e in experiments))
    names = shared - set(varying_settings(experiments)) - set(TABLE_SETTINGS)
    return {name: first[name] for name in sorted(names) if first[name] != default_of(name)}
