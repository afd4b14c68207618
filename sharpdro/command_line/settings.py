"""The settings parsed from the flags: complete, of one type each, and frozen.

`corruption` is a tuple of names, of one name for a training. Those of an evaluation are complete
once its checkpoint is known, see `of_checkpoint`.
"""

import itertools
import os
import re
import sys
from dataclasses import make_dataclass, replace
from pathlib import Path

from corruptions import CORRUPTIONS
from corruptions.command_line import expand
from dataset.filelists import FILELIST_DIR, TEST, find_lists
from dataset.own_data import OwnData, find_own_data
from dataset.specs import DATASETS, OWN, DatasetSpec, spec_of
from sharpdro.command_line import checks
from sharpdro.command_line.config import config_flags
from sharpdro.command_line.flags import (
    FLAGS,
    FOUND,
    FROM_CHECKPOINT,
    OF_EVALUATION,
    create_parser,
    given_settings,
)
from sharpdro.errors import RunError
from sharpdro.methods.own import method_spec, read_settings
from sharpdro.methods.specs import FIRST_STAGE_FOLDER, METHOD_SETTINGS, variant
from sharpdro.run_folder.folder import RunFolder, run_name

# More corruptions than this are counted in the name of an evaluation's directory.
_MAX_NAMED = 3

TrainingSettings = make_dataclass("TrainingSettings", (*FLAGS, *FOUND), frozen=True)
EvaluationSettings = make_dataclass(
    "EvaluationSettings", (*sorted(OF_EVALUATION), *FOUND), frozen=True
)


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
        by_file = {name for name, words in flags.items() if words} - given.keys()
        refused = re.search(r"--(\w+)", str(error))  # it is named first
        if refused and refused[1] in by_file:
            raise RunError(f"{error} (--config {path} has it: use a copy without)") from error
        raise


def _settings(given: dict):
    checks.check_mode(given)
    return evaluation_settings(given) if given.get("eval_only") else training_settings(given)


def training_settings(given: dict) -> TrainingSettings:
    """The settings of a training, with defaults for flags that are not given."""
    values = {name: flag.default for name, flag in FLAGS.items()} | given
    values |= dict.fromkeys(FOUND) | {"corruption": expand(values["corruption"])}
    checks.check_folders(TrainingSettings(**values))
    checks.check_side(given.get("side"), values["dataset"])
    own, spec = None, DATASETS.get(values["dataset"])
    if values["dataset"] in OWN:
        own = find_own_data(values["dataset"], values["data_dir"], values["side"])
        spec = own.spec
        values |= {"side": spec.side, "class_names": spec.class_names}
    values["model"] = values["model"] or spec.model
    if values["model"] == "wideresnet":
        values["depth"] = values["depth"] or spec.depth
        values["widen_factor"] = values["widen_factor"] or spec.widen_factor
    settings = TrainingSettings(**values)
    checks.check_training(settings, given)
    checks.check_frost(settings, spec)
    checks.check_filelists(settings.filelist_dir, spec)
    return _kept_or_default(settings, own)


def _kept_or_default(settings, own: OwnData | None) -> TrainingSettings:
    """With -n and --threads, if not given, of the run that is resumed, or with their defaults.

    -n stays None where the lists of a new run say which images there are.
    """
    run = RunFolder(run_folder(settings))
    is_resumed = settings.resume and run.exists()
    spec, lists = dataset_spec(settings), find_filelists(settings)
    threads, per_class = settings.threads, settings.num_per_class
    if threads is None:
        threads = run.read_threads() if is_resumed else len(os.sched_getaffinity(0))
    if own is not None:
        if per_class is None and is_resumed:
            per_class = run.read_settings().get("num_per_class")
        per_class = per_class or own.default_num_per_class
        if not is_resumed:  # of which all must be as it was, which is checked elsewhere
            own.check_num_per_class(per_class)
    elif lists is None:
        per_class = per_class or spec.num_per_class
    elif lists.parent == run.path and per_class is None:
        per_class = run.read_settings().get("num_per_class")
    return replace(settings, threads=threads, num_per_class=per_class)


def evaluation_settings(given: dict) -> EvaluationSettings:
    """The settings of an evaluation; None for what its checkpoint sets, see `of_checkpoint`."""
    unknown = dict.fromkeys((*FROM_CHECKPOINT, "desc", *FOUND))
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
    agnostic = trained.get("distribution_agnostic", False)
    method = _in_file_names(variant(str(trained.get("method")), agnostic))
    path, images = settings.checkpoint, "_published" if settings.published else ""
    stage = f"_{FIRST_STAGE_FOLDER}" if path.resolve().parent.name == FIRST_STAGE_FOLDER else ""
    values = {name: trained.get(name, FLAGS[name].default) for name in FROM_CHECKPOINT}
    if "corruption" in trained:
        values["corruption"] = (trained["corruption"],)
        if settings.corruption is None and trained["corruption"] not in CORRUPTIONS:
            raise RunError(
                f"{path} was trained with the corruption {trained['corruption']}, which is not "
                f"registered here: name another one to measure on with -c"
            )
    desc = f"{trained.get('desc')}{trained_on}_{method}{stage}_{path.stem}{images}"
    values["desc"] = f"{desc_prefix}{desc}"
    given = {name: value for name, value in vars(settings).items() if value is not None}
    side = given.get("side")
    settings = replace(settings, **{k: v for k, v in values.items() if k not in given})
    checks.check_side(side, settings.dataset)
    settings = _with_own_data(settings, side, trained)
    spec = dataset_spec(settings)
    checks.check_frost(settings, spec)
    checks.check_filelists(settings.filelist_dir, spec)
    checks.check_published(settings, spec)
    return settings


def _with_own_data(settings, side: int | None, trained: dict) -> EvaluationSettings:
    """The settings with what is found of the user's own data, which must fit the network.

    The side of photographs is that of the images that it was trained on, unless it is given.
    """
    if settings.dataset not in OWN:
        return replace(settings, side=None)
    of_training = spec_of(trained["dataset"], trained.get("side"), trained.get("class_names"))
    splits = ("test",)
    own = find_own_data(settings.dataset, settings.data_dir, side or of_training.side, splits).spec
    if trained["dataset"] == settings.dataset:
        checks.check_same_kind(own, of_training, settings.data_dir)
    return replace(settings, side=own.side, class_names=own.class_names)


def dataset_spec(settings) -> DatasetSpec:
    """The dataset of a training or evaluation."""
    return spec_of(settings.dataset, settings.side, settings.class_names)


def run_folder(settings) -> Path:
    """The directory of the run or evaluation."""
    names = settings.corruption
    corruption = "+".join(names) if len(names) <= _MAX_NAMED else f"{len(names)}corruptions"
    is_training = isinstance(settings, TrainingSettings)
    kind = _in_file_names(method_name(settings)) if is_training else "eval"
    name = run_name(settings.desc, settings.dataset, corruption, kind, settings.seed)
    return settings.log_dir / name


def _in_file_names(method: str) -> str:
    """A method's name; the colon in that of one of the user's own does not suit all tools."""
    return method.replace(":", ".")


def method_name(settings: TrainingSettings) -> str:
    """Key into METHODS, or the place of one of the user's own."""
    return variant(settings.method, settings.distribution_agnostic)


def step_settings(settings: TrainingSettings, method: str) -> dict:
    """The settings of a method's training step.

    Args:
        settings: of the run.
        method: of the run or of its first stage, as `method_name` gives it.
    """
    spec = method_spec(method)
    if spec.is_own:
        return spec.step_settings | read_settings(method, settings.method_settings or "")
    return {name: getattr(settings, name) for name in spec.step_settings}


def find_filelists(settings: TrainingSettings) -> Path | None:
    """Where the lists lie that say which image belongs where; None without any.

    A run that is resumed goes by the lists that it has kept.
    """
    if not dataset_spec(settings).has_lists:
        return None
    kept = run_folder(settings) / FILELIST_DIR.name
    if settings.resume and find_lists(kept):
        return kept
    folder = settings.filelist_dir or FILELIST_DIR
    return folder if find_lists(folder) else None


def about_frost(trained: dict, corruptions: list[str], frost_dir: Path | None) -> str | None:
    """A line on frost that need not be what a network was trained on; None: nothing says so.

    Args:
        trained: settings of its run.
        corruptions: that it is measured on.
        frost_dir: folder with the photographs of frost; None: as it lies there, or drawn.
    """
    folder = trained.get("frost_dir")
    if "frost" not in corruptions or folder is None or frost_dir is not None:
        return None
    return (
        f"warning: trained on the frost of {folder}; without --frost_dir it is measured on the "
        f"frost that lies here, drawn if there is none"
    )


def lists_of_checkpoint(dataset: str, checkpoint: Path) -> Path | None:
    """Where the list of test images lies: with the checkpoint's run, or in the project's folder."""
    if dataset in OWN or not DATASETS[dataset].has_lists:
        return None
    run = checkpoint.resolve().parent
    kept = [folder / FILELIST_DIR.name for folder in (run, run.parent)]
    return next(filter(find_lists, kept), FILELIST_DIR)


def check_same_test_list(dataset: str, checkpoints: list[Path], remedy: str) -> None:
    """Refuse checkpoints whose runs have lists of other test images, and say what helps.

    Raises:
        RunError: two have.
    """
    first = None
    for checkpoint in checkpoints:
        folder = lists_of_checkpoint(dataset, checkpoint)
        path = find_lists(folder).get(TEST) if folder else None
        listed = frozenset(path.read_text(encoding="utf-8").split()) if path else None
        first = first or (checkpoint, listed)
        if listed != first[1]:
            raise RunError(
                f"the runs of {first[0]} and {checkpoint} have lists of other test images: {remedy}"
            )


def recorded(settings) -> dict:
    """The settings as JSON can hold them; of a training without those of other methods."""
    values = {k: str(v) if isinstance(v, Path) else v for k, v in sorted(vars(settings).items())}
    if settings.dataset in OWN:
        values["class_names"] = [*settings.class_names]
    for name in [name for name in FOUND if values[name] is None]:
        del values[name]
    if isinstance(settings, EvaluationSettings):
        return values | {"corruption": [*settings.corruption]}
    (values["corruption"],) = settings.corruption
    others = METHOD_SETTINGS - method_spec(method_name(settings)).flag_names
    return {name: value for name, value in values.items() if name not in others}
