"""The settings that the flags come to: complete, of one type each, and frozen.

`corruption` is a tuple of names, of one name for a training. Those of an evaluation are complete
once its checkpoint is known, see `of_checkpoint`.
"""

import itertools
import os
import re
import sys
from dataclasses import make_dataclass, replace
from pathlib import Path

from corruptions.command_line import expand
from dataset.filelists import FILELIST_DIR, find_lists
from dataset.specs import DATASETS
from sharpdro.command_line import checks
from sharpdro.command_line.config import config_flags
from sharpdro.command_line.flags import (
    FLAGS,
    FROM_CHECKPOINT,
    OF_EVALUATION,
    create_parser,
    given_settings,
)
from sharpdro.errors import RunError
from sharpdro.methods.own import read_settings, spec_of
from sharpdro.methods.specs import FIRST_STAGE_FOLDER, METHOD_SETTINGS, variant
from sharpdro.run_folder.folder import RunLog, run_name

# More corruptions than this are counted in the name of an evaluation's directory.
_MAX_NAMED = 3

TrainingSettings = make_dataclass("TrainingSettings", FLAGS, frozen=True)
EvaluationSettings = make_dataclass("EvaluationSettings", sorted(OF_EVALUATION), frozen=True)


def parse(argv, prog="main.py"):
    """The command line as settings; ends the program on bad usage.

    Raises:
        RunError, DataError: flags do not go together, or not with what is there.
    """
    given = given_settings(create_parser(prog), FLAGS, argv)
    path = given.pop("config", None)
    if path is None:
        return _settings(given)
    flags = config_flags(path, given)
    words = [*itertools.chain(*flags.values()), *(sys.argv[1:] if argv is None else argv)]
    completed = given_settings(create_parser(prog), FLAGS, words)
    del completed["config"]
    try:
        return _settings(completed)
    except RunError as error:
        if any(re.search(rf"--{name}\b", str(error)) for name in flags.keys() - given.keys()):
            raise RunError(f"{error} (--config {path} has it)") from error
        raise


def _settings(given: dict):
    checks.check_mode(given)
    return evaluation_settings(given) if given.get("eval_only") else training_settings(given)


def training_settings(given: dict) -> TrainingSettings:
    """The settings of a training, where the others than those given have their defaults."""
    values = {name: flag.default for name, flag in FLAGS.items()} | given
    spec = DATASETS[values["dataset"]]
    values["corruption"] = expand(values["corruption"])
    values["model"] = values["model"] or spec.model
    if values["model"] == "wideresnet":
        values["depth"] = values["depth"] or spec.depth
        values["widen_factor"] = values["widen_factor"] or spec.widen_factor
    settings = TrainingSettings(**values)
    checks.check_folders(settings)
    checks.check_training(settings, given)
    checks.check_frost(settings)
    checks.check_filelists(settings.filelist_dir, spec)
    return _kept_or_default(settings)


def _kept_or_default(settings) -> TrainingSettings:
    """With -n and --threads, if not given, of the run that is resumed, or with their defaults.

    -n stays None where the lists of a new run say which images there are.
    """
    log = RunLog(run_folder(settings))
    is_resumed = settings.resume and log.exists()
    spec, lists = DATASETS[settings.dataset], find_filelists(settings)
    threads, per_class = settings.threads, settings.num_per_class
    if threads is None:
        threads = log.read_threads() if is_resumed else len(os.sched_getaffinity(0))
    if lists is None:
        per_class = per_class or spec.num_per_class
    elif lists.parent == log.folder and per_class is None:
        per_class = log.read_settings().get("num_per_class")
    return replace(settings, threads=threads, num_per_class=per_class)


def evaluation_settings(given: dict) -> EvaluationSettings:
    """The settings of an evaluation; None for what its checkpoint tells, see `of_checkpoint`."""
    unknown = dict.fromkeys((*FROM_CHECKPOINT, "desc"))
    values = {name: FLAGS[name].default for name in OF_EVALUATION} | unknown | given
    if values["corruption"] is not None:
        values["corruption"] = expand(values["corruption"])
    settings = EvaluationSettings(**values)
    checks.check_folders(settings)
    return settings


def of_checkpoint(
    settings: EvaluationSettings, trained: dict, desc_prefix: str = ""
) -> EvaluationSettings:
    """The settings with those of the run that wrote the checkpoint, where others are not given.

    Args:
        settings: from `evaluation_settings`.
        trained: the settings of that run.
        desc_prefix: put before a description that is not given.

    Raises:
        RunError, DataError: they do not go together.
    """
    measured = {"dataset": settings.dataset, "corruption": "+".join(settings.corruption or ())}
    # Evaluations of several runs, or of several checkpoints of one, get directories of their own.
    others = (k for k, value in measured.items() if value and value != trained.get(k))
    trained_on = "".join(f"_{trained.get(key)}" for key in others)
    method = variant(str(trained.get("method")), trained.get("distribution_agnostic", False))
    method = method.replace(":", ".")
    path, images = settings.checkpoint, "_published" if settings.published else ""
    stage = f"_{FIRST_STAGE_FOLDER}" if path.resolve().parent.name == FIRST_STAGE_FOLDER else ""
    values = {name: trained.get(name, FLAGS[name].default) for name in FROM_CHECKPOINT}
    if "corruption" in trained:
        values["corruption"] = (trained["corruption"],)
    desc = f"{trained.get('desc')}{trained_on}_{method}{stage}_{path.stem}{images}"
    values["desc"] = f"{desc_prefix}{desc}"
    given = {name: value for name, value in vars(settings).items() if value is not None}
    settings = replace(settings, **{k: v for k, v in values.items() if k not in given})
    checks.check_frost(settings)
    checks.check_filelists(settings.filelist_dir, DATASETS[settings.dataset])
    checks.check_published(settings)
    return settings


def run_folder(settings) -> Path:
    """The directory of the run or evaluation."""
    names = settings.corruption
    corruption = "+".join(names) if len(names) <= _MAX_NAMED else f"{len(names)}corruptions"
    is_training = isinstance(settings, TrainingSettings)
    kind = method_name(settings) if is_training else "eval"
    kind = kind.replace(":", ".")  # of a method of the user's own; not for all tools a file's name
    name = run_name(settings.desc, settings.dataset, corruption, kind, settings.seed)
    return settings.log_dir / name


def method_name(settings: TrainingSettings) -> str:
    """Key into METHODS, or the place of one of the user's own."""
    return variant(settings.method, settings.distribution_agnostic)


def step_settings(settings: TrainingSettings, method: str) -> dict:
    """The settings of a method's training step.

    Args:
        settings: of the run.
        method: of the run or of its first stage, as `method_name` gives it.
    """
    spec = spec_of(method)
    if spec.is_own:
        return spec.step_settings | read_settings(method, settings.method_settings or "")
    return {name: getattr(settings, name) for name in spec.step_settings}


def find_filelists(settings: TrainingSettings) -> Path | None:
    """Where the lists lie that say which image belongs where; None without any.

    A run that is resumed goes by the lists that it has kept.
    """
    if not DATASETS[settings.dataset].has_lists:
        return None
    kept = run_folder(settings) / FILELIST_DIR.name
    if settings.resume and find_lists(kept):
        return kept
    folder = settings.filelist_dir or FILELIST_DIR
    return folder if find_lists(folder) else None


def lists_of_checkpoint(dataset: str, checkpoint: Path) -> Path | None:
    """Where the list of test images lies: with the checkpoint's run, or in the project's folder."""
    if not DATASETS[dataset].has_lists:
        return None
    run = checkpoint.resolve().parent
    kept = [folder / FILELIST_DIR.name for folder in (run, run.parent)]
    return next(filter(find_lists, kept), FILELIST_DIR)


def recorded(settings) -> dict:
    """The settings as JSON can hold them; of a training without those of other methods."""
    values = {k: str(v) if isinstance(v, Path) else v for k, v in sorted(vars(settings).items())}
    if isinstance(settings, EvaluationSettings):
        return values | {"corruption": [*settings.corruption]}
    (values["corruption"],) = settings.corruption
    others = METHOD_SETTINGS - spec_of(method_name(settings)).flag_names
    return {name: value for name, value in values.items() if name not in others}
