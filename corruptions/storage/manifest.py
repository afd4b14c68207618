"""manifest.json: how each array of a folder was made, and what its bytes were.

One JSON object; "arrays" has an entry per file, by its path inside the folder.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from corruptions.errors import DataError
from corruptions.frost_photographs import PUBLISHED
from corruptions.parameters import PARAMETERS
from corruptions.storage.files import check_file, complete, exclusive_partial, partial_path

# Goes up whenever a corruption would come out different.
VERSION = 1
NAME = "manifest.json"
_PACKAGES = ("numpy", "scipy", "pillow")
_BLOCK = 2**22


@dataclass(frozen=True)
class Recipe:
    """How an array is made from the clean images of a split.

    Args:
        name, severity, variant, seed, split, frost_dir: as for `corruptions.corrupt`.
        jpeg_quality: of the JPEG file that every corrupted image goes through; None: none.
    """

    name: str
    severity: int
    variant: str
    seed: int
    split: str
    jpeg_quality: int | None = None
    frost_dir: Path | None = None

    @property
    def file(self) -> str:
        """Its array's path inside the folder, by which the manifest knows it."""
        return f"{self.split}/{self.severity}/{self.name}.npy"


def recipes_of(
    names: Iterable[str],
    splits: Iterable[str],
    severities: Iterable[int],
    variant: str,
    seed: int,
    jpeg_quality: int | None = None,
    frost_dir: Path | None = None,
) -> list[Recipe]:
    """The recipes of all corruptions at all severities; see `Recipe`."""
    return [
        Recipe(
            name,
            severity,
            variant,
            seed,
            split,
            jpeg_quality,
            frost_dir if name == "frost" else None,
        )
        for name, split, severity in itertools.product(names, splits, severities)
    ]


def entry(recipe: Recipe, shape: tuple, sums: dict[str, str], state: dict[str, int]) -> dict:
    """What the manifest says of one array.

    Args:
        recipe: how it was made.
        shape: of it.
        sums: "sha256" of the file, "clean_sha256" of the bytes of the clean images and, if there
            are labels, "labels_sha256" of the file labels.npy.
        state: of the file, see `file_state`.
    """
    facts = {
        "corruption": recipe.name,
        "severity": recipe.severity,
        "split": recipe.split,
        "variant": recipe.variant,
        "parameters": _parameters(recipe),
        "seed": recipe.seed,
        "jpeg_quality": recipe.jpeg_quality,
        "shape": list(shape),
        **sums,
        "last_seen": {**state, "sha256": sums["sha256"]},
        "version": VERSION,
        "made_with": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }
    if recipe.name == "frost":
        facts["frost"] = frost_pictures(recipe.frost_dir)
    return facts


def _parameters(recipe: Recipe) -> float | list:
    """As JSON holds them."""
    return json.loads(json.dumps(PARAMETERS[recipe.variant][recipe.name][recipe.severity - 1]))


def frost_pictures(folder: Path | None) -> str | dict[str, str]:
    """What frost is made of: "drawn", or the checksum of each photograph."""
    if folder is None:
        return "drawn"
    return {name: file_sha256(folder / name) for name in PUBLISHED}


def differences(
    entry: dict, recipe: Recipe, clean_sha256: str, any_seed: bool = False
) -> list[str]:
    """How an array was made, where that is not as the recipe says.

    Any pictures of frost will do where the recipe names no folder.
    """
    wanted = {
        "clean_sha256": clean_sha256,
        "version": VERSION,
        "variant": recipe.variant,
        "parameters": _parameters(recipe),
        "jpeg_quality": recipe.jpeg_quality,
    }
    if not any_seed:
        wanted["seed"] = recipe.seed
    if recipe.name == "frost" and recipe.frost_dir is not None:
        wanted["frost"] = frost_pictures(recipe.frost_dir)
    other = {"clean_sha256": "from other images", "frost": "with other pictures of frost"}
    return [
        other.get(key, f"with {key} {entry.get(key)}, not {value}")
        for key, value in wanted.items()
        if entry.get(key) != value
    ]


def read(folder: Path) -> dict[str, dict]:
    """The entries by path; none if there is no manifest.

    Raises:
        DataError: it is there, but is not a manifest.
    """
    path = folder / NAME
    check_file(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["arrays"]
        if all(isinstance(entry, dict) for entry in entries.values()):
            return entries
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise DataError(
        f"{path} is not a manifest of corrupted arrays: restore it, or delete it, but then nobody "
        f"knows how the arrays there were made"
    )


def record(folder: Path, entries: dict[str, dict]) -> None:
    """Enter arrays, by name, whatever other processes enter at the same time."""
    path = folder / NAME
    with exclusive_partial(path) as partial:
        together = {**read(folder), **entries}
        text = json.dumps({"arrays": dict(sorted(together.items()))}, indent=1)
        partial.write(f"{text}\n".encode())
        complete(partial, path)


def recorded(folder: Path, names: list[str]) -> tuple[dict[str, dict], dict[str, dict]]:
    """The entries of those files that are there and still what was entered.

    Size and time of change are enough where they are those of when a file was last looked at; else
    the whole file is read.

    Args:
        folder: of the manifest.
        names: of the files, which need not be there.

    Returns:
        The entries by name; and, for `note_seen`, those of all files that were read.

    Raises:
        DataError: see `read`.
        OSError: a file cannot be read.
    """
    entries, unchanged, seen = read(folder), {}, {}
    for name in names:
        path = folder / name
        if name not in entries or not path.exists():
            continue
        entry = entries[name]
        state, last_seen = file_state(path.stat()), entry.get("last_seen")
        if not isinstance(last_seen, dict) or any(last_seen.get(k) != state[k] for k in state):
            last_seen = {**state, "sha256": _sha256_of(path, *state.values())}
            seen[name] = {**entry, "last_seen": last_seen}
        if last_seen.get("sha256") == entry.get("sha256"):
            unchanged[name] = entry
    return unchanged, seen


def note_seen(folder: Path, entries: dict[str, dict]) -> None:
    """Note what files were when they were read, so that they need not be read again."""
    if entries:
        with contextlib.suppress(OSError):  # a folder that is shared for reading alone
            record(folder, entries)


def file_state(status: os.stat_result) -> dict[str, int]:
    """By what a file is known again without being read."""
    return {"num_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


@functools.cache
def _sha256_of(path: Path, num_bytes: int, mtime_ns: int) -> str:
    return file_sha256(path)


def verify(
    folder: Path, on_progress: Callable[[int], object] = lambda num_bytes: None
) -> Iterator[str]:
    """Compare the files of a folder with its manifest; yields one line for everything wrong.

    Raises:
        DataError: there is no manifest, or it cannot be read.
    """
    entries = read(folder)
    if not entries:
        raise DataError(f"{folder / NAME} is missing or empty: nothing to verify")
    for name, facts in entries.items():
        yield from _wrong(folder, name, facts.get("sha256"), on_progress)
    labels = {
        (Path(name).parent / "labels.npy").as_posix(): facts["labels_sha256"]
        for name, facts in entries.items()
        if "labels_sha256" in facts
    }
    for name, sha256 in labels.items():
        yield from _wrong(folder, name, sha256, on_progress)
    for path in sorted(folder.rglob("*.npy")):
        name = path.relative_to(folder).as_posix()
        if name not in entries and path.name != "labels.npy":
            yield f"{name}: not in the manifest"
    for path in sorted(folder.rglob(partial_path(Path("*")).name)):
        yield (
            f"{path.relative_to(folder).as_posix()}: being written, or left by a run that was "
            f"killed, which making that array anew removes"
        )


def _wrong(folder, name, sha256, on_progress) -> Iterator[str]:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        yield f"{name}: not inside the folder"
        return
    try:
        if not path.exists():
            yield f"{name}: missing"
        elif file_sha256(path, on_progress) != sha256:
            yield f"{name}: differs from the manifest's checksum"
    except OSError as error:
        yield f"{name}: cannot be read: {error.strerror}"


def file_sha256(path: Path, on_progress: Callable[[int], object] = lambda count: None) -> str:
    """Of a file; on_progress is called with the number of bytes read since the last call."""
    check_file(path)
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            on_progress(len(block))
    return digest.hexdigest()
