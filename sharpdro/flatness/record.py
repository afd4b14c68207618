"""What was measured of checkpoints' flatness: kept as it is found, and written as tables."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from corruptions.storage.files import write_atomically
from sharpdro.errors import RunError
from sharpdro.run_folder.csv_table import csv_text
from sharpdro.run_folder.folder import at_work_in
from sharpdro.run_folder.reading import read_json

RECORD = "measurements.json"
COLUMNS = {
    "flatness.csv": [
        "checkpoint",
        "epoch",
        "dataset",
        "corruption",
        "severity",
        "num_images",
        "loss",
        "sharpness",
        "gradient_norm",
        "eigenvalue",
        "eigenvalue_converged",
        "eigenvalue_residual",
        "iterations",
    ],
    "eigenvalues.csv": [
        "checkpoint",
        "severity",
        "iteration",
        "shift",
        "eigenvalue",
        "change",
        "residual",
    ],
    "surface.csv": ["checkpoint", "severity", "alpha", "beta", "loss"],
}


class Record:
    """The measurements in a folder, by checkpoint, severity and quantity.

    Quantities are `slope` and `eigenvalue`, dicts, and `surface`, a list of rows of losses that
    grows; what is put there stays, and is in the tables at once.

    Args:
        folder: where measurements.json and the tables lie.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._path = folder / RECORD
        self._content = {"settings": {}, "checkpoints": {}, "results": {}}
        if self._path.exists():
            self._content = self._read()

    def _read(self) -> dict:
        def convert(content):
            content = {key: dict(content[key]) for key in self._content}
            _check(**content)
            return content

        return read_json(self._path, convert, "delete it, or choose another --output")

    def check_same(self, settings: dict, checkpoints: dict[str, dict]) -> None:
        """Refuse to mix measurements of different kinds.

        Args:
            settings: of all measurements, by flag.
            checkpoints: by name, what was measured of each and with what; new names may come.

        Raises:
            RunError: the folder holds measurements made otherwise.
        """
        if not self._content["results"]:
            return
        advice = "give the same, or choose another --output"
        for key, value in settings.items():
            earlier = self._content["settings"].get(key)
            if value != earlier:
                raise RunError(
                    f"--{key} is {value}, but {self.folder} was measured with {earlier}: {advice}"
                )
        for name, facts in checkpoints.items():
            earlier = self._content["checkpoints"].get(name, facts)
            for key, value in facts.items():
                if earlier.get(key) != value:
                    raise RunError(
                        f"checkpoint {name}: {key} is {value}, but {self.folder} was measured with "
                        f"{earlier.get(key)}: {advice}"
                    )

    def start(self, settings: dict, checkpoints: dict[str, dict]) -> None:
        """Note what is about to be measured, after `check_same`."""
        self._content["settings"] = settings
        self._content["checkpoints"].update(checkpoints)
        self._write()

    def get(self, name: str, severity: int, quantity: str):
        """What was measured, or None."""
        return self._content["results"].get(name, {}).get(str(severity), {}).get(quantity)

    def put(self, name: str, severity: int, quantity: str, value) -> None:
        """Keep what was measured."""
        of_checkpoint = self._content["results"].setdefault(name, {})
        of_checkpoint.setdefault(str(severity), {})[quantity] = value
        self._write()

    def _write(self) -> None:
        write_atomically(self._path, json.dumps(self._content) + "\n")
        rows = {"flatness.csv": [], "eigenvalues.csv": [], "surface.csv": []}
        for name, severity, measured in self._all_measured():
            labels = {"checkpoint": name, "severity": severity}
            rows["flatness.csv"].append({**labels, **self._summary(name, measured)})
            rows["eigenvalues.csv"] += [{**labels, **step} for step in eigenvalue_rows(measured)]
            rows["surface.csv"] += [{**labels, **point} for point in self._points(measured)]
        for file, columns in COLUMNS.items():
            text = csv_text(columns, ([row.get(c) for c in columns] for row in rows[file]))
            write_atomically(self.folder / file, text)

    def _all_measured(self) -> Iterator[tuple[str, int, dict]]:
        for name, by_severity in self._content["results"].items():
            for severity in sorted(by_severity, key=int):
                yield name, int(severity), by_severity[severity]

    def _summary(self, name, measured) -> dict:
        row = {**self._content["checkpoints"][name], **measured.get("slope", {})}
        if "eigenvalue" in measured:
            top = measured["eigenvalue"]
            row["eigenvalue"] = top["value"]
            row["eigenvalue_converged"] = "yes" if top["converged"] else "no"
            row["eigenvalue_residual"] = top["residual"]
            row["iterations"] = len(top["steps"])
        return row

    def _points(self, measured) -> Iterator[dict]:
        grid, span = self._content["settings"]["grid"], self._content["settings"]["span"]
        along = np.linspace(-span, span, grid).tolist()
        for alpha, row in zip(along, measured.get("surface", [])):
            yield from ({"alpha": alpha, "beta": b, "loss": loss} for b, loss in zip(along, row))


def _check(settings: dict, checkpoints: dict, results: dict) -> None:
    """See that a record from a file is as `Measurement` makes it; fails where it is not."""
    grid = settings["grid"] if results else 0
    for name, by_severity in results.items():
        checkpoints[name].keys()
        for severity, measured in by_severity.items():
            int(severity)
            _check_measured(measured, grid)


def _check_measured(measured: dict, grid: int) -> None:
    if "slope" in measured:
        _require_numbers(measured["slope"], "loss", "sharpness", "gradient_norm")
    if "eigenvalue" in measured:
        _require_numbers(measured["eigenvalue"], "value", "residual")
        if type(measured["eigenvalue"]["converged"]) is not bool:
            raise ValueError("converged is neither true nor false")
        for step in measured["eigenvalue"]["steps"]:
            _require_numbers(step, "value")
    surface = measured.get("surface", [])
    for row in surface:
        _require_numbers(row, *range(grid))
    if any(len(part) > grid for part in (surface, *surface)):
        raise ValueError("a surface is larger than its grid")


def _require_numbers(values: dict | list, *places) -> None:
    for place in places:
        if type(values[place]) not in (int, float):
            raise ValueError(f"{place} is {values[place]!r:.80}, no number")
        float(values[place])  # fails where an integer is too large to be one


def eigenvalue_rows(measured: dict) -> list[dict]:
    """The steps of power iteration, numbered; a second run, with a shift, goes on counting."""
    steps = measured.get("eigenvalue", {}).get("steps", [])
    return [
        {**step, "iteration": number, "eigenvalue": step["value"]}
        for number, step in enumerate(steps, 1)
    ]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder and keep other processes from measuring into it.

    Raises:
        RunError: one is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with at_work_in(folder, "--output"):
        yield
