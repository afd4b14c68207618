"""The flags of main.py, each once: its meaning, its default, and what other modes do with it.

On --resume a flag must have the value that the run was started with, except for START flags: where
and how a run is started. With --eval_only a flag is refused, except for those that are TAKEN, and
those that have the value of the CHECKPOINT's run unless given. --dry_run takes all flags of a
training.
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
from dataset.readers.published import DOWNLOAD
from dataset.sampling import SAMPLERS
from dataset.specs import CIFAR10, DATASETS, DEFAULT_SIDE, IMAGENET30, MAX_SIDE, MIN_SIDE, OWN
from models import MODELS
from sharpdro.device import CPU_KERNELS, DEVICE_TARGETS, MODES
from sharpdro.evaluation.summary import BEST_METRICS
from sharpdro.flag_types import (
    COUNT,
    POSITIVE,
    description,
    number,
    one_of_or_own,
    place,
    wideresnet_depth,
)
from sharpdro.methods.specs import METHODS, OWN_SETTINGS, variant


class Use(enum.Flag):
    """What becomes of a flag on --resume, and with --eval_only."""

    START, CHECKPOINT, TAKEN = (enum.auto() for _ in range(3))


START, CHECKPOINT, TAKEN = Use
NONE = Use(0)


# Kinds of flags besides types and choices: --x turns something on; --x and --no-x.
SWITCH, ON_OFF = "switch", "on or off"


@dataclass(frozen=True)
class Flag:
    """A flag: its name, and the arguments of `argparse`'s add_argument."""

    name: str
    spellings: list[str]
    options: dict
    use: Use

    @property
    def default(self):
        return self.options["default"]

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off, without a value."""
        return type(self.default) is bool

    def add_to(self, group, **changes) -> None:
        """Let a parser, or a group of one, know the flag."""
        group.add_argument(*self.spellings, **{**self.options, **changes})


def _flag(usage: str, help: str, kind, default=None, use=NONE, **options) -> Flag:
    """A flag.

    Args:
        usage: its spellings, the long one last, and in capitals what its value is.
        help: for --help.
        kind: what makes the value of the text, the values that there are, SWITCH or ON_OFF.
        default: unless given; None where that depends on others.
        use: what other modes do with it, see above.
        options: further arguments of `argparse`'s add_argument.
    """
    *spellings, last = usage.split()
    if last.isupper():
        options["metavar"] = last
    else:
        spellings.append(last)
    if kind in (SWITCH, ON_OFF):
        default = default or False
        options["action"] = "store_true" if kind == SWITCH else argparse.BooleanOptionalAction
    else:
        options["type" if callable(kind) else "choices"] = kind
    name = spellings[-1].removeprefix("--")
    return Flag(name, spellings, {"help": help, "default": default, **options}, use)


class _ChoiceOrNone(argparse.Action):
    """--x VALUE; --x alone is its default, and --no-x its value "none"."""

    def __init__(self, option_strings, dest, **options):
        negations = [name.replace("--", "--no-") for name in option_strings]
        options |= {"nargs": "?", "const": options["default"]}
        super().__init__([*option_strings, *negations], dest, **options)

    def __call__(self, parser, namespace, value, option_string=None):
        if option_string.startswith("--no-"):
            if value != self.const:
                parser.error(f"argument {option_string}: takes no value, not {value!r}")
            value = "none"
        setattr(namespace, self.dest, value)


def _folder_or_download(text):
    """The value of --published."""
    return text if text == DOWNLOAD else Path(text)


def _per_dataset(field, of_own=None):
    """The datasets' defaults of a setting, for its help; of the user's own data CIFAR-10's."""
    of_own = of_own or getattr(CIFAR10, field)
    values = [f"{getattr(spec, field)} for {name}" for name, spec in DATASETS.items()]
    return f"(default: {', '.join([*values, f'{of_own} for your own'])})"


_RUN_FLAGS = (
    _flag(
        "-d --dataset",
        "what to train or measure on; your own data lie in --data_dir: with folder photographs, "
        "{train,test}/CLASS/*, with arrays {train,test}.npz with images and labels",
        (*DATASETS, *OWN),
        "synthetic",
        use=CHECKPOINT,
    ),
    _flag(
        "--desc",
        "first part of the run directory's name; for --eval_only the default names the checkpoint",
        description,
        "run",
        use=TAKEN,
    ),
    _flag("--log_dir", "where run directories are made", Path, Path("logs"), use=START | TAKEN),
    _flag(
        "--resume",
        "continue the run of this name from where it was saved; start it if there is none",
        SWITCH,
        use=START | TAKEN,
    ),
    _flag(
        "--seed",
        "fixes split, initial weights, batches, augmentation; corrupted images do not depend on it",
        number(int, 0, 2**32 - 1),
        0,
        use=CHECKPOINT,
    ),
    _flag(
        "--device_target",
        "where to compute; auto takes Ascend or GPU where there is one",
        DEVICE_TARGETS,
        "auto",
        use=START | TAKEN,
    ),
    _flag(
        "--cpu_kernels",
        "what computes convolutions and batch norms on a CPU: MindSpore's own kernels, or "
        "faster ones with oneDNN's direct convolutions, which round differently and need a C++ "
        "compiler; onednn_avx512 is the fastest where the processor has AVX-512",
        CPU_KERNELS,
        "stock",
        use=TAKEN,
    ),
    _flag(
        "--threads N",
        "threads of the CPU's kernels, on which the last bits depend (default: as many as "
        "there are cores; a resumed run keeps its own)",
        POSITIVE,
    ),
    # The last bits may differ between the modes, so a run keeps its own.
    _flag(
        "--mode",
        "graph compiles the training; pynative computes it operator by operator, so that print and "
        "pdb work in a method of your own: for debugging, as a step takes several times as long",
        MODES,
        "graph",
    ),
    _flag(
        "--eval_only",
        "measure --checkpoint on the test set instead of training; the network is that of its run, "
        "and so are -d, -c, --num_severity and --num_test unless given",
        SWITCH,
        use=TAKEN,
    ),
    _flag("--checkpoint FILE", "the .ckpt file for --eval_only", Path, use=TAKEN),
    _flag(
        "--dry_run",
        "do not train: report what data there are, what would be made, how long training would "
        "take and all problems; nothing is written",
        SWITCH,
        use=START,
    ),
)

_DATA_FLAGS = (
    _flag("--data_dir", "where datasets lie", Path, Path("data"), use=START | TAKEN),
    _flag(
        "--side PIXELS",
        f"for -d folder: the side to which photographs are scaled, {MIN_SIDE} to {MAX_SIDE} "
        f"(default: {DEFAULT_SIDE})",
        number(int, MIN_SIDE, MAX_SIDE),
        use=CHECKPOINT,
    ),
    _flag(
        "-c --corruption NAME",
        f"one of {', '.join(CORRUPTIONS)}; with --eval_only any number of them, or "
        f"{', '.join(SETS)}; images that are missing are made",
        (*CORRUPTIONS, *SETS),
        ("gaussian_noise",),
        use=CHECKPOINT,
        nargs="+",
    ),
    _flag(
        "-n --num_per_class N",
        f"training images per class, shared out by --severity_law; not with the lists of "
        f"--filelist_dir {_per_dataset('num_per_class', 'three quarters of the smallest class')}",
        POSITIVE,
    ),
    _flag(
        "--severity_law",
        "how the training images are shared out among the severities: poisson, as the paper "
        "does; the same images for reference: uniform, as many at each; worst, all at "
        "--num_severity; clean, all at 0",
        SEVERITY_LAWS,
        "poisson",
    ),
    _flag(
        "--num_severity S",
        f"highest severity, 1 to {MAX_SEVERITY}; groups are severities 0 (clean) to this one",
        number(int, 1, MAX_SEVERITY),
        5,
        use=CHECKPOINT,
    ),
    _flag("--num_val N", "validation images per severity; 0: all", COUNT, 0),
    _flag("--num_test N", "test images per severity; 0: all", COUNT, 0, use=CHECKPOINT),
    _flag(
        "--augment_data",
        "also crop training images at random, after padding them by side/8 pixels",
        SWITCH,
    ),
    _flag(
        "--filelist_dir DIR",
        f"for -d imagenet30: folder with lists that say which photograph belongs where, as "
        f"imagenet30_filelist/split_imagenet30.py writes them; without lists the photographs are "
        f"shared out anew, and a run that is resumed goes by those that it keeps (default: "
        f"{FILELIST_DIR.name}/ of this program)",
        Path,
        use=START | TAKEN,
    ),
    _flag("--frost_dir DIR", f"for -c frost: {FROST_DIR_HELP}", Path, use=TAKEN),
    _flag(
        "--published DIR",
        "with --eval_only: folder with {corruption}.npy and labels.npy of the published "
        "CIFAR-10-C or CIFAR-100-C, to be measured instead of images of this program's making; "
        f"{DOWNLOAD}: fetch that of -d into published/ in --data_dir, 2.9 GB, and as much unpacked",
        _folder_or_download,
        use=TAKEN,
    ),
    _flag(
        "--num_workers N",
        "processes that make missing corrupted images; 0 or 1: only this one",
        COUNT,
        len(os.sched_getaffinity(0)),
        use=START | TAKEN,
    ),
)

_OWN_MODEL = f"{CIFAR10.model} up to {CIFAR10.side} pixels, else {IMAGENET30.model},"
_MODEL_FLAGS = (
    _flag(
        "-m --model NAME",
        f"the network: one of {', '.join(MODELS)}, or my_module:MyNet, a class or function of "
        f"your own, called with num_classes=… {_per_dataset('model', _OWN_MODEL)}",
        one_of_or_own(MODELS),
    ),
    _flag(
        "--depth D",
        f"layers of the wideresnet: 10, 16, 22, 28, … {_per_dataset('depth')}",
        wideresnet_depth,
    ),
    _flag("--widen_factor K", f"width of the wideresnet {_per_dataset('widen_factor')}", POSITIVE),
    _flag(
        "--pretrained FILE",
        "weights to start from: a MindSpore checkpoint of the same network, such as a run's "
        "best.ckpt, or a .safetensors file with torchvision's names; the classifier starts anew "
        "where the number of classes differs (default: none, random weights)",
        Path,
    ),
)

_TRAINING_FLAGS = (
    _flag("--total_epoch N", "number of epochs", POSITIVE, 200),
    _flag("-b --batch_size B", "images per step", POSITIVE, 100),
    _flag("--lr RATE", "initial learning rate", number(float, 0, above=True), 0.1),
    _flag(
        "--scheduler",
        "step divides the learning rate by 5 after 30 %%, 60 %% and 80 %% of the epochs, cosine "
        "lowers it in every epoch, none or --no-scheduler keeps it",
        ("step", "cosine", "none"),
        "step",
        action=_ChoiceOrNone,
    ),
    _flag(
        "--warmup_epochs N",
        "epochs in which the learning rate rises linearly to what --scheduler says: of the first "
        "N, epoch e has e / (N + 1) of it",
        COUNT,
        0,
    ),
    _flag(
        "--clip_grad NORM",
        "shorten the gradient that is descended (for sharpdro the sum of both, for sam the second "
        "alone), taken over all parameters together and before weight decay, to this length "
        "where it is longer (default: leave it)",
        number(float, 0, above=True),
    ),
    _flag(
        "--sampler",
        "how batches are drawn: replacement, from all images; shuffle, from all that were not "
        "drawn yet in the epoch; balanced, every severity with equal probability, which needs "
        "severity labels for erm and sam, too (for eiil every inferred group, in the second stage)",
        SAMPLERS,
        "replacement",
    ),
    _flag("--momentum", "momentum of SGD", number(float, 0, 1, below=True), 0.9),
    _flag(
        "--on_nan",
        "a loss or gradient that is not finite: stop at it, or skip each such step as a "
        "whole, up to 100 in a row; train.csv counts them",
        ("stop", "skip"),
        "stop",
        use=START,
    ),
    _flag(
        "--amp_level",
        "mixed precision in float16 with a dynamic loss scale, for GPU and Ascend (a CPU is "
        "slower with it): O0, none; auto, convolutions and matrices; O2, all but batch norm; O3, "
        "all",
        ("O0", "auto", "O2", "O3"),
        "O0",
    ),
    _flag(
        "--distributed",
        "train in several processes that MindSpore's msrun has started, each with a part of "
        "every batch; the same as one process, except that batch norm takes each part's own "
        "statistics",
        SWITCH,
    ),
    _flag(
        "--local_perturbation",
        "with --distributed: each process perturbs along the gradient of its own images, not "
        "the whole batch's; one sum of gradients per step instead of two, but another method "
        "(m-sharpness, Foret et al.); train.csv then has the norm of the first process's share of "
        "the gradient",
        SWITCH,
    ),
    _flag("--weight_decay W", "weight decay of SGD, on every parameter", number(float, 0), 5e-4),
)

_EVALUATION_FLAGS = (
    _flag("--eval_batch_size B", "images per evaluation step", POSITIVE, 128, use=CHECKPOINT),
    _flag(
        "--eval_every N", "epochs per evaluation; the last epoch is always evaluated", POSITIVE, 1
    ),
    _flag(
        "--best_metric",
        "validation accuracy that picks the best epoch: worst severity, mean, or severity 0",
        BEST_METRICS,
        "worst",
    ),
    _flag("--log_train N", "steps per line of train.csv", POSITIVE, 100),
    _flag(
        "--tensorboard",
        "also write the tables as event files for TensorBoard, into the run's tensorboard/ "
        "(pip install -r requirements-tensorboard.txt)",
        SWITCH,
        use=START,
    ),
    _flag(
        "--on_rows PLACE",
        "my_module:function of your own, called as function(run's name, settings, table, rows) "
        "with the rows of train.csv, val.csv and test.csv, for an experiment tracker",
        place,
        use=START,
    ),
    _flag("--save_step N", "epochs per numbered checkpoint; 0: none", COUNT, 0, use=START),
    _flag("--save_last", "keep last.ckpt, without which a run cannot be resumed", ON_OFF, True),
    _flag("--save_best", "keep best.ckpt, of the best epoch", ON_OFF, True),
    _flag(
        "--save_logits",
        "keep the logits on the test images as logits/*.npy, float32 (images, classes), with "
        "labels.npy; of a training those of the best epoch; on --resume as it was begun",
        SWITCH,
        use=TAKEN,
    ),
    _flag("--show_progress", "draw progress bars on a terminal", ON_OFF, True, use=START | TAKEN),
)

# The method that --distribution_agnostic makes of another, by its own name.
_AGNOSTIC = {variant(name, True): name for name in METHODS}
_METHOD_FLAGS = (
    _flag(
        "--method NAME",
        f"one of {', '.join(name for name in METHODS if name not in _AGNOSTIC)}, or "
        f"my_module:MyStep, a training step of your own; a method refuses the settings of others",
        one_of_or_own([name for name in METHODS if name not in _AGNOSTIC]),
        "sharpdro",
    ),
    _flag(
        f"--{OWN_SETTINGS} TEXT",
        "settings of a training step of your own, as 'name=value name=value'",
        str,
    ),
    _flag(
        "--distribution_agnostic",
        "for sharpdro: without severity labels, samples weighted by an out-of-distribution score",
        SWITCH,
    ),
)


def _setting_flag(setting, users=()) -> Flag:
    """The flag of a method's setting; `users` are the methods that share it."""
    text = f"{setting.help}; {', '.join(users)}" if users else setting.help
    usage = f"--{setting.name} {setting.metavar or ''}"
    kind = setting.choices or setting.parse or SWITCH
    return _flag(usage, text, kind, setting.default)


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
# Settings that are no flags: what is found of the user's own data, besides their side.
FOUND = ("class_names", "fingerprint")
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


# What other programs call a flag of this one: for those who try that.
_CALLED_ELSEWHERE = {
    "--epochs": "--total_epoch",
    "--num_epochs": "--total_epoch",
    "--learning_rate": "--lr",
    "--wd": "--weight_decay",
    "--arch": "--model",
}
_CONFIG = {
    "type": Path,
    "metavar": "FILE",
    "default": argparse.SUPPRESS,
    "help": "take the flags that a run's settings.json has, or a JSON object of flags {name: "
    "value}; those of the command line win",
}


def create_parser(prog="main.py"):
    """All flags, by group."""
    parser = new_parser(
        prog,
        "Train or evaluate an image classifier that holds up on photon-limited corruptions "
        "(SharpDRO, Huang et al., CVPR 2023).",
    )
    parser.other_flags = dict(_CALLED_ELSEWHERE)
    for title, text, flags in GROUPS:
        group = parser.add_argument_group(title, text)
        for flag in flags:
            flag.add_to(group)
        if flags is _RUN_FLAGS:  # no setting: what it says is as if on the command line
            group.add_argument("--config", **_CONFIG)
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
