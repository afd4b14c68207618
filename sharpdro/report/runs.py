"""Reading run directories."""

import re
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from corruptions import CORRUPTIONS, MAX_SEVERITY
from corruptions.storage.files import check_file
from dataset.filelists import FILELIST_DIR
from dataset.specs import DATASETS, OWN
from sharpdro.command_line.flags import default_of
from sharpdro.methods.specs import METHODS, variant
from sharpdro.own_code import is_place
from sharpdro.report.curves import Curve, read_training, read_validation
from sharpdro.run_folder.folder import IMAGES, PRETRAINED, SUMMARY
from sharpdro.run_folder.reading import parse_json
from sharpdro.run_folder.settings import NotHereError, may_be_registered, not_here, upgraded

# Not settings, but compared as such, checksums: of the test images, None where none was recorded;
# of the lists that a run went by, which copies of runs have under `data` in settings.json instead.
TEST_IMAGES, LISTS = "test_images", "lists"
LISTS_CHECKSUM = "lists_crc32"

# A commit, and what stands before it; its first digits are enough.
_DIGITS = re.compile(r"^(?:.*-g)?([0-9a-f]{7})[0-9a-f]*")


@dataclass(frozen=True)
class Run:
    """One training run as it lies on disk.

    Args:
        folder: its directory.
        method: key into `specs.METHODS`.
        settings: as recorded, and what else must be equal, see `_circumstances`.
        commits: of the program that began it, and of those that took it up; "" where unknown.
        summary: content of summary.json; empty before the first evaluation.
        epoch: number of epochs that it got to.
        validation: accuracy in percent over epochs, by severity; empty if that cannot be read.
        weights: group weights over epochs, by group; empty if it has none.
        remarks: on what could not be read.
    """

    folder: Path
    method: str
    settings: dict
    commits: list[str]
    summary: dict
    epoch: int
    validation: dict[str, Curve] = field(default_factory=dict)
    weights: dict[str, Curve] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def short_commits(self) -> list[str]:
        """Seven digits each, and "-dirty" where files of the program were changed.

        Earlier versions have recorded "TAG-N-gCOMMIT" after a tag.
        """
        return [_DIGITS.sub(r"\1", commit) or "unknown" for commit in self.commits]

    @property
    def is_finished(self) -> bool:
        return self.summary.get("finished", False)

    @property
    def seed(self) -> int:
        return self.settings["seed"]

    def accuracies(self, epoch: str) -> dict[str, float]:
        """Test accuracy in [0, 1] per severity, "mean" and "worst"; of the epoch best or last."""
        return {name: row["accuracy"] for name, row in self.summary[epoch]["test"].items()}

    def numbers(self, epoch: str, name: str) -> dict[str, float] | None:
        """Another number of the test set, as `accuracies`; None: an earlier version lacks it."""
        rows = self.summary[epoch]["test"]
        if any(name not in row for row in rows.values()):
            return None
        return {severity: row[name] for severity, row in rows.items()}


def read_runs(log_dirs: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """All training runs in some log directories, and what is to be said about the others."""
    runs, remarks, evaluations = [], [], 0
    for path in sorted(path for folder in log_dirs for path in folder.glob("*/settings.json")):
        try:
            run = read_run(path.parent)
        except NotHereError as error:
            remarks.append(f"left out: {error}")
            continue
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
        kind = "directory" if evaluations == 1 else "directories"
        remarks.append(f"left out: {evaluations} {kind} of --eval_only")
    return runs, remarks


def read_run(folder: Path) -> Run | None:
    """One run directory; None for one of --eval_only.

    Raises:
        NotHereError: it is of a dataset, corruption or method that is not registered here.
        ValueError, OSError: settings.json or summary.json is not as main.py writes it.
    """
    content = _read_json(folder / "settings.json", _check_content)
    settings = upgraded(content["settings"])
    if settings.get("eval_only"):
        return None
    settings = {**settings, **_circumstances(content)}
    method = _method_of(settings)
    num_severity = settings.get("num_severity", default_of("num_severity"))
    lists = sorted((folder / FILELIST_DIR.name).glob("*.txt"))
    if lists and settings.get("num_per_class") is None:  # what they say is a setting, too
        for path in lists:
            check_file(path)
        content_of_lists = b"".join(path.name.encode() + path.read_bytes() for path in lists)
        settings = {**settings, LISTS: f"{zlib.crc32(content_of_lists):08x}"}
    summary = {}
    if (folder / SUMMARY).exists():
        summary = _read_json(folder / SUMMARY, lambda c: _check_summary(c, num_severity))
    commits = [str(environment.get("git_commit") or "") for environment in _environments(content)]
    curves = _read_curves(folder, method, summary, num_severity)
    return Run(folder, method, settings, list(dict.fromkeys(commits)), summary, **curves)


def _read_curves(folder, method, summary, num_severity) -> dict:
    """The fields of a Run from `epoch` on. What cannot be read costs nothing but itself."""
    # Tables go further than the summary, which is written when an epoch has been evaluated.
    epoch, validation, weights, remarks = 0, {}, {}, []
    if summary:
        epoch = summary["last"]["epoch"]
        try:
            validation = read_validation(folder / "val.csv", num_severity)
        except (OSError, ValueError) as error:
            remarks.append(f"no curves from {error}")
    path, has_weights = folder / "train.csv", method in METHODS and METHODS[method].weights_groups
    if path.exists() or (summary and has_weights):
        try:
            last, weights = read_training(path)
            epoch = max(epoch, last)
            if last and has_weights and not weights:
                raise ValueError(f"{path}: there are no group weights")
        except (OSError, ValueError) as error:
            remarks.append(f"no curves from {error}")
    return {"epoch": epoch, "validation": validation, "weights": weights, "remarks": remarks}


def _read_json(path: Path, check: Callable[[dict], object]) -> dict:
    """A JSON file that passes a check, or ValueError naming it."""
    try:
        content = parse_json(path)
        check(content)
    except NotHereError as error:
        raise NotHereError(f"{path.parent} {error}") from None
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
    return content


def _method_of(settings: dict) -> str:
    return variant(settings["method"], settings.get("distribution_agnostic", False))


def _check_content(content: dict) -> None:
    _check_settings(content)
    _circumstances(content)


def _circumstances(content: dict) -> dict:
    """What runs must have in common besides their settings; None where it is as usual or unknown.

    By how many processes a run was begun and taken up, how many arrays of corrupted images were
    not of this program's making, one checksum of all its test images, that of the weights it was
    begun with, and whether steps could be skipped once it had been taken up.
    """
    environments = _environments(content)
    processes = [environment.get("processes", 1) for environment in environments]
    data = content.get("data") or {}
    foreign = data.get("foreign_arrays", 0)
    for number in processes:
        _require_int("processes", number)
    _require_int("foreign_arrays", foreign)
    sums = " ".join(map(str, (data.get(IMAGES) or {}).get("test") or ()))
    changes = [n for n, before in zip(processes, [None, *processes]) if n != before]
    later = [(environment.get("changed") or {}).get("on_nan") for environment in environments]
    return {
        **({"on_nan": "skip"} if "skip" in later else {}),
        **({LISTS: str(data[LISTS_CHECKSUM])} if LISTS_CHECKSUM in data else {}),
        "processes": None if changes == [1] else ", ".join(map(str, changes)),
        "foreign_arrays": foreign or None,
        PRETRAINED: str(data[PRETRAINED]) if PRETRAINED in data else None,
        TEST_IMAGES: f"{zlib.crc32(sums.encode()):08x}" if sums else None,
    }


def _environments(content: dict) -> list[dict]:
    """Where the run was begun, and where it was taken up."""
    return [content.get("environment") or {}, *(content.get("resumed") or [])]


def _require_int(name: str, value) -> None:
    if type(value) is not int:
        raise ValueError(f"{name} is {value!r:.80}")


def _check_settings(content: dict) -> None:
    settings = content["settings"]
    if settings.get("eval_only"):
        return
    method = _method_of(settings)
    if method not in METHODS and not is_place(method):
        raise _unknown("method", method)
    known_values = {
        "dataset": dict.fromkeys((*DATASETS, *OWN)),
        "corruption": CORRUPTIONS,
        "num_severity": range(1, MAX_SEVERITY + 1),
    }
    for name, known in known_values.items():
        value = settings.get(name, default_of(name))
        if value not in known or isinstance(value, float):
            raise _unknown(name, value)
    _require(settings, "seed", int)
    for name in ("eval_every", "total_epoch"):
        _require_int(name, settings.get(name, default_of(name)))


def _unknown(name, value) -> ValueError:
    """The error for a value that is none of those that there are here."""
    is_possible = may_be_registered(name, value)
    return not_here(name, value) if is_possible else ValueError(f"unknown {name} {value!r}")


def _check_summary(summary: dict, num_severity: int) -> None:
    expected = [*map(str, range(num_severity + 1)), "mean", "worst"]
    for name in ("best", "last"):
        _require(summary[name], "epoch", int)
        rows = summary[name]["test"]
        for row in expected:
            if row not in rows:
                raise ValueError(f"{name} epoch: severity {row} is missing")
            accuracy = rows[row]["accuracy"]
            if not 0 <= accuracy <= 1 or isinstance(accuracy, bool):
                raise ValueError(f"{name} epoch: {accuracy} is no accuracy")
            _check_further(rows[row], name)
        for row in rows.keys() - set(expected):
            raise ValueError(f"{name} epoch: there is no severity {row!r}")
    _require(summary, "finished", bool)
    _require(summary, "total_epoch", int)


def _check_further(row: dict, name: str) -> None:
    """What an evaluation has besides the accuracy, if it has it."""
    largest = {"loss": sys.float_info.max, "ece": 1, "worst_class_accuracy": 1}
    for column in largest.keys() & row.keys():
        value = row[column]
        if not abs(value) <= largest[column] or isinstance(value, bool):
            raise ValueError(f"{name} epoch: {column} is {value}")


def _require(content: dict, name: str, kind: type) -> None:
    if type(content[name]) is not kind:
        raise ValueError(f"{name} is {content[name]!r}")
