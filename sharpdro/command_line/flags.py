"""The flags of main.py, each once: its meaning, its default, and what other modes do with it.

On --resume a flag must have the value that the run was started with, but for those of START alone:
where it runs and how it looks. KEPT flags have the run's value unless given.
With --eval_only a flag is refused, but for those that are TAKEN as they are, and those that have
the value of the CHECKPOINT's run unless given. --dry_run takes all flags that a training takes.
"""

import argparse
import enum
import os
from dataclasses import dataclass
from pathlib import Path

from corruptions import CORRUPTIONS, MAX_SEVERITY
from corruptions.command_line import FROST_DIR_HELP, SETS, Parser
from dataset.filelists import FILELIST_DIR
from dataset.poisson import SEVERITY_LAWS
from dataset.sampling import SAMPLERS
from dataset.specs import DATASETS
from models import MODELS
from sharpdro.device import DEVICE_TARGETS
from sharpdro.evaluation.summary import BEST_METRICS
from sharpdro.flag_types import COUNT, POSITIVE, description, number, wideresnet_depth
from sharpdro.methods.specs import METHODS, variant

_SWITCH = argparse.BooleanOptionalAction


class Use(enum.Flag):
    """What becomes of a flag on --resume, and with --eval_only."""

    START, KEPT, CHECKPOINT, TAKEN = (enum.auto() for _ in range(4))


START, KEPT, CHECKPOINT, TAKEN = Use
NONE = Use(0)


@dataclass(frozen=True)
class Flag:
    """A flag, see `_flag`."""

    spellings: list[str]
    help: str
    use: Use
    default: object
    options: dict

    @property
    def name(self) -> str:
        return self.spellings[-1].removeprefix("--")

    def add_to(self, group, **changes) -> None:
        """Let a parser, or a group of one, know the flag."""
        settings = {"help": self.help, "default": self.default, **self.options, **changes}
        group.add_argument(*self.spellings, **settings)


def _flag(spellings: str, help: str, use=NONE, default=None, **options) -> Flag:
    """A flag.

    Args:
        spellings: as on the command line, the long one last.
        help: for --help.
        use: what other modes do with it, see above.
        default: unless given; None where that depends on others.
        options: further arguments of `argparse`'s add_argument.
    """
    if options.get("action") == "store_true":
        default = False
    return Flag(spellings.split(), help, use, default, options)


def _per_dataset(field):
    """The datasets' defaults of a setting, for its help."""
    values = (f"{getattr(spec, field)} for {name}" for name, spec in DATASETS.items())
    return f"(default: {', '.join(values)})"


_RUN_FLAGS = (
    _flag(
        "-d --dataset",
        "what to train or measure on",
        CHECKPOINT,
        choices=DATASETS,
        default="synthetic",
    ),
    _flag(
        "--desc",
        "first part of the run directory's name; for --eval_only the default names the checkpoint",
        TAKEN,
        type=description,
        default="run",
    ),
    _flag(
        "--log_dir",
        "where run directories are made",
        START | TAKEN,
        type=Path,
        default=Path("logs"),
    ),
    _flag(
        "--resume",
        "continue the run of this name after what is saved of it; start it if there is none",
        START | TAKEN,
        action="store_true",
    ),
    _flag(
        "--seed",
        "fixes split, initial weights, batches, augmentation; corrupted images are always the same",
        CHECKPOINT,
        type=number(int, 0, 2**32 - 1),
        default=0,
    ),
    _flag(
        "--device_target",
        "where to compute; auto takes Ascend or GPU where there is one",
        START | TAKEN,
        choices=DEVICE_TARGETS,
        default="auto",
    ),
    _flag(
        "--cpu_kernels",
        "what computes convolutions and batch norms on a CPU: MindSpore's own kernels, or "
        "faster ones with oneDNN's direct convolutions, which round differently and need a C++ "
        "compiler",
        TAKEN,
        choices=("stock", "onednn"),
        default="stock",
    ),
    _flag(
        "--threads",
        "threads of the CPU's kernels, on which the last bits depend (default: as many as "
        "there are cores; a resumed run keeps its own)",
        KEPT,
        type=POSITIVE,
        metavar="N",
    ),
    _flag(
        "--eval_only",
        "measure --checkpoint on the test set instead of training; data and model settings "
        "default to those of the run that wrote it",
        TAKEN,
        action="store_true",
    ),
    _flag("--checkpoint", "the .ckpt file for --eval_only", TAKEN, type=Path, metavar="FILE"),
    _flag(
        "--dry_run",
        "instead of training tell what there is, what would be made and how long it would "
        "take, and name all that is wrong; nothing is written",
        START,
        action="store_true",
    ),
)

_DATA_FLAGS = (
    _flag("--data_dir", "where datasets lie", START | TAKEN, type=Path, default=Path("data")),
    _flag(
        "-c --corruption",
        f"one of {', '.join(CORRUPTIONS)}; with --eval_only any number of them, or "
        f"{', '.join(SETS)}; images that are missing are made",
        CHECKPOINT,
        choices=(*CORRUPTIONS, *SETS),
        nargs="+",
        metavar="NAME",
        default=("gaussian_noise",),
    ),
    _flag(
        "-n --num_per_class",
        f"training images per class, shared out by --severity_law; not with the lists of "
        f"--filelist_dir {_per_dataset('num_per_class')}",
        type=POSITIVE,
        metavar="N",
    ),
    _flag(
        "--severity_law",
        "how the training images are shared out among the severities: poisson, as the paper "
        "does; the same images for reference: uniform, as many at each; worst, all at "
        "--num_severity; clean, all at 0",
        choices=SEVERITY_LAWS,
        default="poisson",
    ),
    _flag(
        "--num_severity",
        f"highest severity, 1 to {MAX_SEVERITY}; groups are severities 0 (clean) to this one",
        CHECKPOINT,
        type=number(int, 1, MAX_SEVERITY),
        default=5,
        metavar="S",
    ),
    _flag(
        "--num_val", "validation images per severity; 0: all", type=COUNT, default=0, metavar="N"
    ),
    _flag(
        "--num_test",
        "test images per severity; 0: all",
        CHECKPOINT,
        type=COUNT,
        default=0,
        metavar="N",
    ),
    _flag(
        "--augment_data",
        "also crop training images at random, after padding them by side/8 pixels",
        action="store_true",
    ),
    _flag(
        "--filelist_dir",
        f"for -d imagenet30: folder with lists that say which photograph belongs where, as "
        f"imagenet30_filelist/split_imagenet30.py writes them; without lists the photographs are "
        f"shared out anew (default: {FILELIST_DIR.name}/ of this program)",
        START | TAKEN,
        type=Path,
        metavar="DIR",
    ),
    _flag("--frost_dir", f"for -c frost: {FROST_DIR_HELP}", TAKEN, type=Path, metavar="DIR"),
    _flag(
        "--published",
        "with --eval_only: folder with {corruption}.npy and labels.npy of the published "
        "CIFAR-10-C or CIFAR-100-C, to be measured instead of images of this program's making",
        TAKEN,
        type=Path,
        metavar="DIR",
    ),
    _flag(
        "--num_workers",
        "processes that make missing corrupted images; 0 or 1: this one alone",
        START | TAKEN,
        type=COUNT,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
    ),
)

_MODEL_FLAGS = (
    _flag("-m --model", f"the network {_per_dataset('model')}", choices=MODELS),
    _flag(
        "--depth",
        f"layers of the wideresnet: 10, 16, 22, 28, … {_per_dataset('depth')}",
        type=wideresnet_depth,
        metavar="D",
    ),
    _flag(
        "--widen_factor",
        f"width of the wideresnet {_per_dataset('widen_factor')}",
        type=POSITIVE,
        metavar="K",
    ),
    _flag(
        "--pretrained",
        "weights to start from: a MindSpore checkpoint of the same network, such as a run's "
        "best.ckpt, or a .safetensors file with torchvision's names; the classifier starts anew "
        "where the number of classes differs (default: none, random weights)",
        type=Path,
        metavar="FILE",
    ),
)

_TRAINING_FLAGS = (
    _flag("--total_epoch", "number of epochs", type=POSITIVE, default=200, metavar="N"),
    _flag("-b --batch_size", "images per step", type=POSITIVE, default=100, metavar="B"),
    _flag(
        "--lr",
        "initial learning rate",
        type=number(float, 0, above=True),
        default=0.1,
        metavar="RATE",
    ),
    _flag(
        "--scheduler",
        "divide the learning rate by 5 after 30 %%, 60 %% and 80 %% of the epochs",
        action=_SWITCH,
        default=True,
    ),
    _flag(
        "--sampler",
        "how batches are drawn: replacement, from all images; shuffle, from all that were not "
        "drawn yet in the epoch; balanced, every severity as likely, which needs severity labels "
        "for erm and sam, too (for eiil every inferred group, in the second stage)",
        choices=SAMPLERS,
        default="replacement",
    ),
    _flag("--momentum", "of SGD", type=number(float, 0, 1, below=True), default=0.9),
    _flag(
        "--on_nan",
        "a loss or gradient that is not finite: stop at it, or skip each such step as a "
        "whole, up to 100 in a row; train.csv counts them",
        START,
        choices=("stop", "skip"),
        default="stop",
    ),
    _flag(
        "--amp_level",
        "mixed precision in float16 with a dynamic loss scale, for GPU and Ascend (a CPU is "
        "slower with it): O0, none; auto, convolutions and matrices; O2, all but batch norm; O3, "
        "all",
        choices=("O0", "auto", "O2", "O3"),
        default="O0",
    ),
    _flag(
        "--distributed",
        "train in several processes that MindSpore's msrun has started, each with a part of "
        "every batch; the same as one process, but that batch norm takes each part's own "
        "statistics",
        action="store_true",
    ),
    _flag(
        "--local_perturbation",
        "with --distributed: each process perturbs along the gradient of its own images, not "
        "the whole batch's; one sum of gradients per step for two, and another method "
        "(m-sharpness, Foret et al.); train.csv then has the norm of the first process's share of "
        "the gradient",
        action="store_true",
    ),
    _flag(
        "--weight_decay",
        "of SGD, on every parameter",
        type=number(float, 0),
        default=5e-4,
        metavar="W",
    ),
)

_EVALUATION_FLAGS = (
    _flag(
        "--eval_batch_size",
        "images per evaluation step",
        CHECKPOINT,
        type=POSITIVE,
        default=128,
        metavar="B",
    ),
    _flag(
        "--eval_every",
        "epochs per evaluation; the last epoch is always evaluated",
        type=POSITIVE,
        default=1,
        metavar="N",
    ),
    _flag(
        "--best_metric",
        "validation accuracy that picks the best epoch: worst severity, mean, or severity 0",
        choices=BEST_METRICS,
        default="worst",
    ),
    _flag("--log_train", "steps per line of train.csv", type=POSITIVE, default=100, metavar="N"),
    _flag(
        "--tensorboard",
        "also write the tables as event files for TensorBoard, into the run's tensorboard/ "
        "(pip install -r requirements-tensorboard.txt)",
        START,
        action="store_true",
    ),
    _flag(
        "--save_step",
        "epochs per numbered checkpoint; 0: none",
        START,
        type=COUNT,
        default=0,
        metavar="N",
    ),
    _flag(
        "--save_last",
        "keep last.ckpt, without which a run cannot be resumed",
        action=_SWITCH,
        default=True,
    ),
    _flag("--save_best", "keep best.ckpt, of the best epoch", action=_SWITCH, default=True),
    _flag(
        "--show_progress",
        "draw progress bars on a terminal",
        START | TAKEN,
        action=_SWITCH,
        default=True,
    ),
)

# The method that --distribution_agnostic makes of another, by its own name.
_AGNOSTIC = {variant(name, True): name for name in METHODS}
_METHOD_FLAGS = (
    _flag(
        "--method",
        "one of those below; a method refuses the settings of others",
        choices=[name for name in METHODS if name not in _AGNOSTIC],
        default="sharpdro",
    ),
    _flag(
        "--distribution_agnostic",
        "for sharpdro: without severity labels, samples weighted by an out-of-distribution score",
        action="store_true",
    ),
)


def _setting_flag(setting, users=()) -> Flag:
    """The flag of a method's setting; `users` are the methods that share it."""
    text = f"{setting.help}; {', '.join(users)}" if users else setting.help
    if setting.parse is None:
        return _flag(f"--{setting.name}", text, action="store_true")
    options = {"type": setting.parse, "metavar": setting.metavar}
    if setting.choices:
        options["choices"] = setting.choices
    return _flag(f"--{setting.name}", text, default=setting.default, **options)


def _method_groups() -> list[tuple[str, str | None, tuple[Flag, ...]]]:
    """The flags of methods, as their specs describe them, as in `GROUPS`."""
    users = {}
    for name, method in METHODS.items():
        for setting in method.flags:
            users.setdefault(setting, []).append(name)
    shared = {setting: names for setting, names in users.items() if len(names) > 1}
    several = tuple(_setting_flag(setting, names) for setting, names in shared.items())
    groups = [("method", None, _METHOD_FLAGS), ("settings of several methods", None, several)]
    for name, method in METHODS.items():
        flags = f"{_AGNOSTIC[name]} --distribution_agnostic" if name in _AGNOSTIC else name
        single = tuple(_setting_flag(s) for s in method.flags if s not in shared)
        groups.append((f"--method {flags}", f"{method.source}: {method.summary}", single))
    return groups


# Title, description and flags, in the order of --help.
GROUPS = [
    ("run", None, _RUN_FLAGS),
    ("data", None, _DATA_FLAGS),
    ("model", None, _MODEL_FLAGS),
    *_method_groups(),
    ("training", None, _TRAINING_FLAGS),
    ("evaluation and what is kept", None, _EVALUATION_FLAGS),
]
FLAGS = {flag.name: flag for _, _, flags in GROUPS for flag in flags}
FREE_ON_RESUME = {name for name, flag in FLAGS.items() if START in flag.use}
FROM_CHECKPOINT = {name for name, flag in FLAGS.items() if CHECKPOINT in flag.use}
OF_EVALUATION = {name for name, flag in FLAGS.items() if flag.use & (TAKEN | CHECKPOINT)}


class HelpFormatter(argparse.HelpFormatter):
    """Adds each flag's default to its help."""

    def _get_help_string(self, action):
        text = action.help.removesuffix(" (default: %(default)s)")
        if action.default is None or action.default is argparse.SUPPRESS:
            return text
        if isinstance(action.default, bool):
            return f"{text} (default: {'on' if action.default else 'off'})"
        if isinstance(action.default, tuple):
            return f"{text} (default: {' '.join(action.default)})"
        return f"{text} (default: %(default)s)"


def new_parser(prog, description):
    """A parser without flags."""
    return Parser(
        prog=prog, description=description, formatter_class=HelpFormatter, allow_abbrev=False
    )


def create_parser(prog="main.py"):
    """All flags, by group."""
    parser = new_parser(
        prog,
        "Train or evaluate an image classifier that holds up on photon-limited corruptions "
        "(SharpDRO, Huang et al., CVPR 2023).",
    )
    for title, text, flags in GROUPS:
        group = parser.add_argument_group(title, text)
        for flag in flags:
            flag.add_to(group)
    return parser


def given_settings(parser, names, argv):
    """What the command line names itself of these settings, by name; others are defaults."""
    not_given = argparse.Namespace(**dict.fromkeys(names))
    values = vars(parser.parse_args(argv, not_given))
    return {name: value for name, value in values.items() if value is not None}


def default_of(name):
    """A setting's default as settings.json has it, for runs from before there was the setting."""
    if name not in FLAGS:
        return None
    default = FLAGS[name].default
    return default[0] if name == "corruption" else default
