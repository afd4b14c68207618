"""Reading run directories."""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from corruptions import CORRUPTIONS, MAX_SEVERITY
from corruptions.files import check_file
from dataset.filelists import FILELIST_DIR
from dataset.specs import DATASETS
from sharpdro.command_line import default_of
from sharpdro.methods import METHODS, variant
from sharpdro.reading import parse_json
from sharpdro.report.curves import Curve, read_training, read_validation
from sharpdro.run_log import SUMMARY


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
        validation: accuracy in percent over epochs, by severity; empty if that cannot be read.
        weights: group weights over epochs, by group; empty if it has none.
        remarks: on what could not be read.
    """

    folder: Path
    method: str
    settings: dict
    commit: str
    summary: dict
    epoch: int
    validation: dict[str, Curve] = field(default_factory=dict)
    weights: dict[str, Curve] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def is_finished(self) -> bool:
        return self.summary.get("finished", False)

    @property
    def seed(self) -> int:
        return self.settings["seed"]

    def accuracies(self, epoch: str) -> dict[str, float]:
        """Test accuracy in [0, 1] per severity, "mean" and "worst"; of the epoch best or last."""
        return {name: row["accuracy"] for name, row in self.summary[epoch]["test"].items()}


def read_runs(log_dirs: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """All training runs in some log directories, and what is to be said about the others."""
    runs, remarks, evaluations = [], [], 0
    for path in sorted(path for folder in log_dirs for path in folder.glob("*/settings.json")):
        try:
            run = read_run(path.parent)
        except (OSError, ValueError) as error:
            remarks.append(f"left out, cannot be read: {error}")
            continue
        if run is None:
            evaluations += 1
        else:
            runs.append(run)
            remarks += run.remarks
    for folder in log_dirs:
        tables = (path for name in ("test.csv", "train.csv") for path in folder.glob(f"*/{name}"))
        for path in sorted(tables):
            if not (path.parent / "settings.json").exists():
                remarks.append(f"left out, settings.json is missing: {path.parent}")
    remarks = list(dict.fromkeys(remarks))
    if evaluations:
        remarks.append(f"left out: {evaluations} directories of --eval_only")
    return runs, remarks


def read_run(folder: Path) -> Run | None:
    """One run directory; None for one of --eval_only.

    Raises:
        ValueError, OSError: settings.json or summary.json is not as main.py writes it.
    """
    content = _read_json(folder / "settings.json", _check_settings)
    settings = content["settings"]
    if settings.get("eval_only"):
        return None
    method = _method_of(settings)
    num_severity = settings.get("num_severity", default_of("num_severity"))
    lists = sorted((folder / FILELIST_DIR.name).glob("*.txt"))
    if lists and settings.get("num_per_class") is None:  # what they say is a setting, too
        for path in lists:
            check_file(path)
        content_of_lists = b"".join(path.name.encode() + path.read_bytes() for path in lists)
        settings = {**settings, "lists": f"{zlib.crc32(content_of_lists):08x}"}
    summary = {}
    if (folder / SUMMARY).exists():
        summary = _read_json(folder / SUMMARY, lambda c: _check_summary(c, num_severity))
    commit = str((content.get("environment") or {}).get("git_commit") or "")
    curves = _read_curves(folder, method, summary, num_severity)
    return Run(folder, method, settings, commit, summary, *curves)


def _read_curves(folder, method, summary, num_severity):
    """The last fields of a Run. What cannot be read is no reason to leave out its results."""
    # Tables go further than the summary, which is written when an epoch has been evaluated.
    epoch, validation, weights, remarks = 0, {}, {}, []
    if summary:
        epoch = summary["last"]["epoch"]
        try:
            validation = read_validation(folder / "val.csv", num_severity)
        except (OSError, ValueError) as error:
            remarks.append(f"no curves from {error}")
    path, has_weights = folder / "train.csv", "step_size" in METHODS[method].settings
    if path.exists() or (summary and has_weights):
        try:
            last, weights = read_training(path)
            epoch = max(epoch, last)
            if last and has_weights and not weights:
                raise ValueError(f"{path}: there are no group weights")
        except (OSError, ValueError) as error:
            remarks.append(f"no curves from {error}")
    return epoch, validation, weights, remarks


def _read_json(path: Path, check: Callable[[dict], object]) -> dict:
    """A JSON file that passes a check, or ValueError naming it."""
    try:
        content = parse_json(path)
        check(content)
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
    return content


def _method_of(settings: dict) -> str:
    return variant(settings["method"], settings.get("distribution_agnostic", False))


def _check_settings(content: dict) -> None:
    settings = content["settings"]
    (content.get("environment") or {}).get("git_commit")
    if settings.get("eval_only"):
        return
    if _method_of(settings) not in METHODS:
        raise ValueError(f"unknown method {_method_of(settings)}")
    for name, known in (
        *(("dataset", DATASETS), ("corruption", CORRUPTIONS)),
        ("num_severity", range(1, MAX_SEVERITY + 1)),
    ):
        value = settings.get(name, default_of(name))
        if value not in known or isinstance(value, float):
            raise ValueError(f"unknown {name} {value!r}")
    _require(settings, "seed", int)


def _check_summary(summary: dict, num_severity: int) -> None:
    expected = [*map(str, range(num_severity + 1)), "mean", "worst"]
    for name in ("best", "last"):
        _require(summary[name], "epoch", int)
        rows = summary[name]["test"]
        for row in expected:
            if row not in rows:
                raise ValueError(f"{name} epoch: severity {row} is missing")
            if not 0 <= rows[row]["accuracy"] <= 1:
                raise ValueError(f"{name} epoch: {rows[row]['accuracy']} is no accuracy")
        for row in rows.keys() - set(expected):
            raise ValueError(f"{name} epoch: there is no severity {row!r}")
    _require(summary, "finished", bool)
    _require(summary, "total_epoch", int)


def _require(content: dict, name: str, kind: type) -> None:
    if type(content[name]) is not kind:
        raise ValueError(f"{name} is {content[name]!r}")
