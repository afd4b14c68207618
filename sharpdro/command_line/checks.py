"""What does not go together on the command line: each check refuses it with what to leave out."""

from pathlib import Path

from corruptions.frost_photographs import smallest_picture
from dataset.filelists import find_lists
from dataset.readers.published import DOWNLOAD, SIDE, check_files
from dataset.specs import DATASETS, FOLDER, DatasetSpec
from sharpdro.command_line.flags import OF_EVALUATION
from sharpdro.cpu_kernels.build import check_model
from sharpdro.errors import RunError
from sharpdro.methods.own import method_spec, read_settings
from sharpdro.methods.specs import METHOD_SETTINGS, variant


def check_mode(given: dict) -> None:
    """Refuse --eval_only without a checkpoint or with flags of a training, and the reverse."""
    if not given.get("eval_only"):
        if "checkpoint" in given:
            raise RunError("--checkpoint needs --eval_only; to continue a run use --resume")
        if "published" in given:
            raise RunError(
                "--published needs --eval_only: a network is trained on images made here"
            )
        return
    if "checkpoint" not in given:
        raise RunError("--eval_only needs --checkpoint FILE")
    others = sorted(given.keys() - OF_EVALUATION)
    if others:
        raise RunError(f"--{others[0]} does not go with --eval_only: leave it out")


def check_folders(settings) -> None:
    """Refuse files where folders are meant."""
    for name in ("data_dir", "log_dir"):
        path = getattr(settings, name)
        if path.exists() and not path.is_dir():
            raise RunError(f"--{name} {path} is not a folder: name one")


def check_training(settings, given: dict) -> None:
    """Refuse what does not go together in a training.

    Args:
        settings: the flags' values.
        given: those that the command line names.
    """
    _check_method(settings, given)
    method = method_spec(variant(settings.method, settings.distribution_agnostic))
    if settings.local_perturbation and not settings.distributed:
        raise RunError("--local_perturbation needs --distributed: leave it out")
    if settings.local_perturbation and not method.perturbs:
        raise RunError(
            f"--local_perturbation does not apply to --method {settings.method}: leave it out"
        )
    if settings.warmup_epochs >= settings.total_epoch:
        raise RunError(
            f"--warmup_epochs {settings.warmup_epochs} leaves nothing of --total_epoch "
            f"{settings.total_epoch}: lower it"
        )
    if settings.cpu_kernels != "stock" and settings.amp_level != "O0":
        raise RunError(
            f"--amp_level {settings.amp_level} does not go with --cpu_kernels "
            f"{settings.cpu_kernels}: leave one of them out"
        )
    check_model(settings.cpu_kernels, settings.model)
    if settings.mode == "pynative" and settings.distributed:
        raise RunError(
            "--mode pynative is for debugging and does not go with --distributed: leave one of "
            "them out"
        )
    if len(settings.corruption) > 1:
        raise RunError(
            f"-c {' '.join(settings.corruption)}: a network is trained with one corruption; "
            f"several go with --eval_only"
        )
    for name in ("depth", "widen_factor"):
        if name in given and settings.model != "wideresnet":
            raise RunError(
                f"--{name} applies to -m wideresnet only, not to -m {settings.model}: leave it out"
            )


def _check_method(settings, given: dict) -> None:
    """Refuse the settings of other methods, and those that the method cannot have."""
    if settings.distribution_agnostic and settings.method != "sharpdro":
        raise RunError(
            f"--distribution_agnostic does not apply to --method {settings.method}: leave it out"
        )
    method = method_spec(variant(settings.method, settings.distribution_agnostic))
    flags = f"--method {settings.method}"
    flags += " --distribution_agnostic" * settings.distribution_agnostic
    others = sorted(given.keys() & METHOD_SETTINGS - method.flag_names)
    if others:
        needs = ", or add --distribution_agnostic" if others[0] == "ood_score" else ""
        raise RunError(f"--{others[0]} does not apply to {flags}: leave it out{needs}")
    if settings.method_settings is not None:
        read_settings(settings.method, settings.method_settings)
    epochs = method.stage_epochs
    if epochs is not None and getattr(settings, epochs) > settings.total_epoch:
        default = "" if epochs in given else " (default)"
        raise RunError(
            f"--{epochs} {getattr(settings, epochs)}{default} is more than --total_epoch "
            f"{settings.total_epoch}: lower it, as the first stage is the "
            f"beginning of a run as long as the second"
        )
    if settings.sampler == "balanced" and not method.balances:
        raise RunError(
            f"--sampler balanced needs severity labels, which {flags} does without: "
            f"choose another sampler"
        )


def check_side(side: int | None, dataset: str) -> None:
    """Refuse a side, as given, for images that have one."""
    if side is not None and dataset != FOLDER:
        raise RunError(f"--side does not apply to -d {dataset}: leave it out")


def check_same_kind(found: DatasetSpec, trained: DatasetSpec, data_dir: Path) -> None:
    """Refuse the user's own data of another size or of other classes than those of a training."""
    if found.side != trained.side:
        raise RunError(
            f"--data_dir {data_dir} is read as images of {found.side}×{found.side}, but the "
            f"network was trained on {trained.side}×{trained.side}: "
            + ("leave --side out" if found.name == FOLDER else "name the place of its images")
        )
    if found.class_names == trained.class_names:
        return
    other = {*found.class_names} ^ {*trained.class_names}
    raise RunError(
        f"--data_dir {data_dir} has other classes than the network was trained on, such as "
        f"{min(other)}: name the place of its images, or measure on another dataset with -d"
    )


def check_frost(settings, spec: DatasetSpec) -> None:
    """Refuse photographs of frost that would not be used, and images larger than frost."""
    if "frost" not in settings.corruption:
        if settings.frost_dir is not None:
            raise RunError("--frost_dir goes with frost alone: leave it out")
        return
    if not spec.is_own:
        return
    height, width = smallest_picture(spec.variant, settings.frost_dir)
    if spec.side > min(height, width):
        smaller = "lower --side" if spec.name == FOLDER else "make the images smaller"
        raise RunError(
            f"-c frost: images of {spec.side}×{spec.side} are larger than the pictures of frost, "
            f"of which the smallest covers {height}×{width}: {smaller}, or name larger pictures "
            f"with --frost_dir"
        )


def check_filelists(filelist_dir: Path | None, spec: DatasetSpec) -> None:
    """Refuse a folder without lists, and lists that would not be read."""
    if filelist_dir is None:
        return
    if not spec.has_lists:
        raise RunError(f"--filelist_dir does not apply to -d {spec.name}: leave it out")
    if not filelist_dir.is_dir():
        raise RunError(f"--filelist_dir {filelist_dir} is not a folder: name one")
    if not find_lists(filelist_dir):
        raise RunError(f"--filelist_dir {filelist_dir} holds no lists, see --help: name another")


def check_shares(settings, lists: Path) -> None:
    """Refuse to share out images otherwise than the lists of a new run say."""
    flags = {
        "-n": settings.num_per_class is not None,
        "--severity_law": settings.severity_law != "poisson",
    }
    given = [flag for flag, is_given in flags.items() if is_given]
    if given:
        raise RunError(
            f"{given[0]} does not go with the lists in {lists}: leave it out, or move them away"
        )


def check_published(settings, spec: DatasetSpec) -> None:
    """Refuse published images that do not fit or are not there."""
    if settings.published is None:
        return
    if settings.frost_dir is not None:
        raise RunError("--frost_dir does not go with --published: leave one of them out")
    if settings.published == DOWNLOAD:
        names = [name for name, known in DATASETS.items() if known.published is not None]
        if spec.name not in names:
            raise RunError(
                f"--published {DOWNLOAD} is for -d {' and '.join(names)}, not for -d {spec.name}: "
                f"leave it out"
            )
        return
    if spec.side != SIDE:
        raise RunError(
            f"--published images are {SIDE}×{SIDE}, those of -d {spec.name} {spec.side}×"
            f"{spec.side}: leave it out"
        )
    check_files(settings.published, settings.corruption)
