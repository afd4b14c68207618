"""The directory that a run leaves: its lock, settings.json and log.txt."""

import contextlib
import datetime
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from corruptions.command_line import printable
from corruptions.output import take_losses
from corruptions.storage.files import (
    check_file,
    check_writable,
    locked,
    naming,
    open_in_place,
    write_atomically,
)
from sharpdro.errors import RunError
from sharpdro.run_folder.reading import RESTORE, read_json, refusing
from sharpdro.run_folder.settings import upgraded

SUMMARY = "summary.json"
LAST_CHECKPOINT, PREVIOUS_CHECKPOINT = "last.ckpt", "previous.ckpt"
BEST_CHECKPOINT = "best.ckpt"
# Under "data" in settings.json: checksums of the images, and of the file of --pretrained.
IMAGES, PRETRAINED = "images_crc32", "pretrained_crc32"
# A folder that holds what is to be kept of the best epoch, by its number, until that is finished.
BEST_OF_EPOCH = ".best_of_epoch_"


def run_name(desc: str, dataset: str, corruption: str, method: str, seed: int) -> str:
    """Name of a run's directory."""
    return f"{desc}_dset{dataset}_corr{corruption}_{method}_seed{seed}"


@contextlib.contextmanager
def at_work_in(folder: Path, flag: str) -> Iterator[None]:
    """Keep other processes from working in a folder, which is there and which `flag` names.

    Raises:
        RunError: one is at it.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(folder, wait=False))
        except BlockingIOError:
            raise RunError(
                f"another process is at work in {folder}: wait for it, or choose another {flag}"
            ) from None
        yield


class RunFolder:
    """The directory of a run, with its lock and its log.txt.

    Args:
        folder: the run's directory.
    """

    def __init__(self, folder: Path):
        self.path = folder
        self.events = folder / "tensorboard"
        self._text = folder / "log.txt"
        self._held = contextlib.ExitStack()  # the lock, while this process has it

    def stage(self, name: str) -> "RunFolder":
        """A folder for one stage of the run; its texts and events go to the run's own places."""
        part = RunFolder(self.path / name)
        part.path.mkdir(exist_ok=True)
        part.events, part._text = self.events / name, self._text
        return part

    @property
    def settings_path(self) -> Path:
        return self.path / "settings.json"

    def exists(self) -> bool:
        """Whether there is something that a new run would overwrite."""
        if not self.path.is_dir():
            return False
        return any(not path.name.endswith(".partial") for path in self.path.iterdir())

    def is_finished(self) -> bool:
        """Whether summary.json says that the run is finished."""
        path = self.path / SUMMARY
        if not path.exists():
            return False
        return read_json(path, lambda content: content["finished"] is True, "delete it")

    def check_writable(self) -> None:
        """Check that the directory can be made and written, without making it.

        Raises:
            OSError: it cannot.
        """
        check_writable(self.path)

    def lock(self) -> None:
        """Make the directory if need be, and keep other processes out of it.

        Until `close`, or the end of the process.

        Raises:
            RunError: another process is at work in it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._take_lock()

    def open(self, settings: dict, environment: dict, data: dict | None = None) -> None:
        """Record in the directory, which is locked, what is about to be done.

        Args:
            settings, environment: of this process.
            data: what the images are, see `read_images`; nothing is recorded for None.
        """
        content = {"settings": settings, "environment": environment}
        if self.settings_path.exists():
            content = self._read()
            content["resumed"].append(environment | _changed(content["settings"], settings))
        if data is not None:
            content.setdefault("data", data)
        write_atomically(self.settings_path, json.dumps(content, indent=2) + "\n")

    def check_unlocked(self) -> None:
        """Check that no other process is at work in the directory, if it exists.

        Raises:
            RunError: one is.
        """
        if self.path.is_dir():
            try:
                self._take_lock()
            finally:
                self.close()

    def _take_lock(self) -> None:
        self._held.enter_context(at_work_in(self.path, "--desc"))

    def close(self) -> None:
        """Let other processes work in the directory."""
        self._held.close()

    def read_settings(self) -> dict:
        """The settings of the run that is there.

        Raises:
            RunError: settings.json is missing or broken.
        """
        return self._read()["settings"]

    def read_images(self) -> dict[str, list[str]]:
        """The checksums of the images, by set and severity; errors as above.

        Empty for a run that was begun before they were recorded.
        """
        content = self._read()
        with refusing(self.settings_path, RESTORE):
            sums = dict(content.get("data", {}).get(IMAGES, {}))
            return {name: [str(value) for value in values] for name, values in sums.items()}

    def read_pretrained(self) -> str | None:
        """The checksum of the file of --pretrained; errors as above.

        None where there was none, or for a run that was begun before it was recorded.
        """
        content = self._read()
        with refusing(self.settings_path, RESTORE):
            value = content.get("data", {}).get(PRETRAINED)
            return None if value is None else str(value)

    def read_threads(self) -> int:
        """By how many threads of the CPU's kernels the run is computed; errors as above.

        Of a run that was begun before there was such a setting: the cores that it had.
        """
        content = self._read()
        with refusing(self.settings_path, RESTORE):
            cores = content.get("environment", {}).get("cores", len(os.sched_getaffinity(0)))
            threads = content["settings"].get("threads") or cores
            if type(threads) is not int or threads < 1:
                raise ValueError(f"threads is {threads!r:.80}")
            return threads

    def read_cpus(self) -> list[str | None]:
        """The models of the CPUs that had a part in the run; errors as above.

        None stands for one that was not recorded, as by earlier versions.
        """
        content = self._read()
        with refusing(self.settings_path, RESTORE):
            starts = [content.get("environment", {}), *content["resumed"]]
            return list(dict.fromkeys(start.get("cpu") for start in starts))

    def last_processes(self) -> int:
        """By how many processes the run was begun or last taken up; errors as above."""
        content = self._read()
        with refusing(self.settings_path, RESTORE):
            last = [content.get("environment", {}), *content["resumed"]][-1]
            return int(last.get("processes", 1))

    def _read(self) -> dict:
        def convert(content):
            resumed = content.get("resumed", [])
            if type(resumed) is not list:
                raise ValueError("resumed is no list")
            settings = upgraded(dict(content["settings"]))
            return {**content, "settings": settings, "resumed": resumed}

        advice = f"delete {self.path} or choose another --desc"
        return read_json(self.settings_path, convert, advice)

    def keep(self, folder: str, texts: dict[str, str]) -> None:
        """Keep files in a folder of the run; a resumed run must have the same again.

        Raises:
            RunError: one that is there differs.
        """
        for name, text in texts.items():
            path = self.path / folder / name
            path.parent.mkdir(exist_ok=True)
            check_file(path)
            if not path.exists():
                write_atomically(path, text)
            elif path.read_text(encoding="utf-8", errors="surrogateescape") != text:
                raise RunError(
                    f"{path} differs from the current lists, so this run cannot go on: restore the "
                    f"photographs and lists that it was started with, or choose another --desc"
                )

    def say(self, text: str) -> None:
        """Print a text and add it to log.txt, each line with the time."""
        tqdm.write(printable(text))
        sys.stdout.flush()
        self.note(text)
        for stream, error in take_losses():
            self.note(f"{stream} cannot be written ({error.strerror}): the run goes on without it")

    @contextlib.contextmanager
    def noting_errors(self) -> Iterator[None]:
        """What ends the block because the user can mend it is in log.txt, too."""
        try:
            yield
        except (RunError, OSError) as error:
            with contextlib.suppress(OSError):  # where there is no room for it
                self.note(f"error: {error}")
            raise

    def note(self, text: str) -> None:
        """Add a text to log.txt, each line with the time."""
        now = datetime.datetime.now().isoformat(" ", "seconds")
        with naming(self._text), open_in_place(self._text, "a", encoding="utf-8") as file:
            file.writelines(f"{now}  {line}\n" for line in printable(text).splitlines())


class SilentRunFolder(RunFolder):
    """The directory of a run that another process keeps: it can be read."""

    def stage(self, name: str) -> RunFolder:
        return SilentRunFolder(self.path / name)

    def keep(self, folder: str, texts: dict[str, str]) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


def _changed(recorded: dict, settings: dict) -> dict:
    """For the record: which settings that may change on --resume have changed."""
    names = recorded.keys() & settings.keys() - {"resume"}
    changed = {name: settings[name] for name in sorted(names) if settings[name] != recorded[name]}
    return {"changed": changed} if changed else {}
