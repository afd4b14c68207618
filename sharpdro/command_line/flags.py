"""The command line: flags, their bounds and defaults, and what does not go together."""

import argparse
import functools
import os
from pathlib import Path

from corruptions import CORRUPTIONS, MAX_SEVERITY
from corruptions.command_line import FROST_DIR_HELP, SETS, Parser, check_frost_dir, expand
from dataset.filelists import FILELIST_DIR, find_lists
from dataset.poisson import SEVERITY_LAWS
from dataset.readers.published import SIDE, check_files
from dataset.sampling import SAMPLERS
from dataset.specs import DATASETS
from models import MODELS
from sharpdro.command_line.method_flags import add_method_flags, resolve_method
from sharpdro.device import DEVICE_TARGETS
from sharpdro.evaluation.summary import BEST_METRICS
from sharpdro.flag_types import COUNT, POSITIVE, description, number, wideresnet_depth
from sharpdro.methods.specs import FIRST_STAGE_FOLDER, METHODS, variant

# Settings in which a resumed run may differ from its beginning: where it runs and how it looks.
FREE_ON_RESUME = {
    *(
        "resume",
        "data_dir",
        "log_dir",
        "num_workers",
        "show_progress",
        "device_target",
        "save_step",
    ),
    *("tensorboard", "dry_run"),
    "on_nan",  # so that a run that stopped at a NaN can go on past it
    "filelist_dir",  # what the lists say is compared with what they said
}
# What matters to --eval_only: the first are taken over from the checkpoint's run, the second not.
FROM_CHECKPOINT = {
    *("dataset", "corruption", "num_severity", "num_test", "eval_batch_size", "seed"),
}
OWN_IN_EVALUATION = {
    *("eval_only", "checkpoint", "desc", "log_dir", "data_dir", "num_workers", "show_progress"),
    *("device_target", "cpu_kernels", "frost_dir", "filelist_dir", "published", "resume"),
}


class HelpFormatter(argparse.HelpFormatter):
    """Adds each flag's default to its help."""

    def _get_help_string(self, action):
        text = action.help.removesuffix(" (default: %(default)s)")
        if action.default is None or action.default is argparse.SUPPRESS:
            return text
        if isinstance(action.default, bool):
            return f"{text} (default: {'on' if action.default else 'off'})"
        return f"{text} (default: %(default)s)"


def per_dataset(field):
    """The datasets' defaults of a setting, for its help."""
    values = (f"{getattr(spec, field)} for {name}" for name, spec in DATASETS.items())
    return f"(default: {', '.join(values)})"


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
    add_run_flags(parser.add_argument_group("run").add_argument)
    add_data_flags(parser.add_argument_group("data").add_argument)
    add_model_flags(parser.add_argument_group("model").add_argument)
    add_method_flags(parser)
    add_training_flags(parser.add_argument_group("training").add_argument)
    add_evaluation_flags(parser.add_argument_group("evaluation and what is kept").add_argument)
    return parser


def add_run_flags(add):
    """What to run, where it writes, how it can be repeated."""
    add(
        "-d", "--dataset", choices=DATASETS, default="synthetic", help="what to train or measure on"
    )
    text = (
        "first part of the run directory's name; for --eval_only the default names the checkpoint"
    )
    add("--desc", type=description, default="run", help=text)
    add("--log_dir", type=Path, default=Path("logs"), help="where run directories are made")
    text = "continue the run of this name after what is saved of it; start it if there is none"
    add("--resume", action="store_true", help=text)
    text = (
        "fixes split, initial weights, batches, augmentation; corrupted images are always the same"
    )
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, help=text)
    text = "where to compute; auto takes Ascend or GPU where there is one"
    add("--device_target", choices=DEVICE_TARGETS, default="auto", help=text)
    text = (
        "what computes convolutions and batch norms on a CPU: MindSpore's own kernels, or faster "
        "ones with oneDNN's direct convolutions, which round differently and need a C++ compiler"
    )
    add("--cpu_kernels", choices=("stock", "onednn"), default="stock", help=text)
    text = (
        "threads of the CPU's kernels, on which the last bits depend (default: as many as there "
        "are cores; a resumed run keeps its own)"
    )
    add("--threads", type=POSITIVE, metavar="N", help=text)
    text = (
        "measure --checkpoint on the test set instead of training; data and model settings "
        "default to those of the run that wrote it"
    )
    add("--eval_only", action="store_true", help=text)
    add("--checkpoint", type=Path, metavar="FILE", help="the .ckpt file for --eval_only")
    text = (
        "instead of training tell what there is, what would be made and how long it would take, "
        "and name all that is wrong; nothing is written"
    )
    add("--dry_run", action="store_true", help=text)


def add_data_flags(add):
    """The images."""
    add("--data_dir", type=Path, default=Path("data"), help="where datasets lie")
    text = (
        f"one of {', '.join(CORRUPTIONS)}; with --eval_only any number of them, or "
        f"{', '.join(SETS)}; images that are missing are made"
    )
    names = {"choices": [*CORRUPTIONS, *SETS], "nargs": "+", "metavar": "NAME"}
    add("-c", "--corruption", default="gaussian_noise", help=text, **names)
    text = (
        f"training images per class, shared out by --severity_law; not with the lists of "
        f"--filelist_dir {per_dataset('num_per_class')}"
    )
    add("-n", "--num_per_class", type=POSITIVE, metavar="N", help=text)
    text = (
        "how the training images are shared out among the severities: poisson, as the paper does; "
        "the same images for reference: uniform, as many at each; worst, all at --num_severity; "
        "clean, all at 0"
    )
    add("--severity_law", choices=SEVERITY_LAWS, default="poisson", help=text)
    text = f"highest severity, 1 to {MAX_SEVERITY}; groups are severities 0 (clean) to this one"
    add("--num_severity", type=number(int, 1, MAX_SEVERITY), default=5, metavar="S", help=text)
    text = "images per severity; 0: all"
    add("--num_val", type=COUNT, default=0, metavar="N", help=f"validation {text}")
    add("--num_test", type=COUNT, default=0, metavar="N", help=f"test {text}")
    text = "also crop training images at random, after padding them by side/8 pixels"
    add("--augment_data", action="store_true", help=text)
    text = (
        f"for -d imagenet30: folder with lists that say which photograph belongs where, as "
        f"imagenet30_filelist/split_imagenet30.py writes them; without lists the photographs are "
        f"shared out anew (default: {FILELIST_DIR.name}/ of this program)"
    )
    add("--filelist_dir", type=Path, metavar="DIR", help=text)
    add("--frost_dir", type=Path, metavar="DIR", help=f"for -c frost: {FROST_DIR_HELP}")
    text = (
        "with --eval_only: folder with {corruption}.npy and labels.npy of the published CIFAR-10-C "
        "or CIFAR-100-C, to be measured instead of images of this program's making"
    )
    add("--published", type=Path, metavar="DIR", help=text)
    text = "processes that make missing corrupted images; 0 or 1: this one alone"
    cores = len(os.sched_getaffinity(0))
    add("--num_workers", type=COUNT, default=cores, metavar="N", help=text)


def add_model_flags(add):
    """The network."""
    add("-m", "--model", choices=MODELS, help=f"the network {per_dataset('model')}")
    text = f"layers of the wideresnet: 10, 16, 22, 28, … {per_dataset('depth')}"
    add("--depth", type=wideresnet_depth, metavar="D", help=text)
    text = f"width of the wideresnet {per_dataset('widen_factor')}"
    add("--widen_factor", type=POSITIVE, metavar="K", help=text)
    text = (
        "weights to start from: a MindSpore checkpoint of the same network, such as a run's "
        "best.ckpt, or a .safetensors file with torchvision's names; the classifier starts anew "
        "where the number of classes differs (default: none, random weights)"
    )
    add("--pretrained", type=Path, metavar="FILE", help=text)


def add_training_flags(add):
    """Length of the training, batches, SGD."""
    add("--total_epoch", type=POSITIVE, default=200, metavar="N", help="number of epochs")
    add("-b", "--batch_size", type=POSITIVE, default=100, metavar="B", help="images per step")
    text = "initial learning rate"
    add("--lr", type=number(float, 0, above=True), default=0.1, metavar="RATE", help=text)
    text = "divide the learning rate by 5 after 30 %%, 60 %% and 80 %% of the epochs"
    add("--scheduler", action=argparse.BooleanOptionalAction, default=True, help=text)
    text = (
        "how batches are drawn: replacement, from all images; shuffle, from all that were not "
        "drawn yet in the epoch; balanced, every severity as likely, which needs severity labels "
        "for erm and sam, too (for eiil every inferred group, in the second stage)"
    )
    add("--sampler", choices=SAMPLERS, default="replacement", help=text)
    add("--momentum", type=number(float, 0, 1, below=True), default=0.9, help="of SGD")
    text = (
        "a loss or gradient that is not finite: stop at it, or skip each such step as a whole, up "
        "to 100 in a row; train.csv counts them"
    )
    add("--on_nan", choices=("stop", "skip"), default="stop", help=text)
    text = (
        "mixed precision in float16 with a dynamic loss scale, for GPU and Ascend (a CPU is slower "
        "with it): O0, none; auto, convolutions and matrices; O2, all but batch norm; O3, all"
    )
    add("--amp_level", choices=("O0", "auto", "O2", "O3"), default="O0", help=text)
    text = (
        "train in several processes that MindSpore's msrun has started, each with a part of every "
        "batch; the same as one process, but that batch norm takes each part's own statistics"
    )
    add("--distributed", action="store_true", help=text)
    text = (
        "with --distributed: each process perturbs along the gradient of its own images, not the "
        "whole batch's; one sum of gradients per step for two, and another method (m-sharpness, "
        "Foret et al.); train.csv then has the norm of the first process's share of the gradient"
    )
    add("--local_perturbation", action="store_true", help=text)
    text = "of SGD, on every parameter"
    add("--weight_decay", type=number(float, 0), default=5e-4, metavar="W", help=text)


def add_evaluation_flags(add):
    """How often to look, and what to keep."""
    switch = {"action": argparse.BooleanOptionalAction, "default": True}
    text = "images per evaluation step"
    add("--eval_batch_size", type=POSITIVE, default=128, metavar="B", help=text)
    text = "epochs per evaluation; the last epoch is always evaluated"
    add("--eval_every", type=POSITIVE, default=1, metavar="N", help=text)
    text = "validation accuracy that picks the best epoch: worst severity, mean, or severity 0"
    add("--best_metric", choices=BEST_METRICS, default="worst", help=text)
    add("--log_train", type=POSITIVE, default=100, metavar="N", help="steps per line of train.csv")
    text = (
        "also write the tables as event files for TensorBoard, into the run's tensorboard/ "
        "(pip install -r requirements-tensorboard.txt)"
    )
    add("--tensorboard", action="store_true", help=text)
    text = "epochs per numbered checkpoint; 0: none"
    add("--save_step", type=COUNT, default=0, metavar="N", help=text)
    add("--save_last", help="keep last.ckpt, without which a run cannot be resumed", **switch)
    add("--save_best", help="keep best.ckpt, of the best epoch", **switch)
    add("--show_progress", help="draw progress bars on a terminal", **switch)


def parse(argv, prog="main.py"):
    """The command line as settings; ends the program on bad usage."""
    parser = create_parser(prog)
    args, given = parser.parse_args(argv), given_flags(argv)
    if args.eval_only:
        check_evaluation(parser, args, given)
        parser.set_defaults(**checkpoint_settings(args, given))
        args = parser.parse_args(argv)
    elif args.checkpoint is not None:
        parser.error("--checkpoint needs --eval_only; to continue a run use --resume")
    check_folders(parser, args)
    check_local_perturbation(parser, args)
    check_amp_level(parser, args)
    resolve_method(parser, args, given)
    resolve_corruption(parser, args)
    resolve_dataset(parser, args)
    check_published(parser, args)
    return args


def given_flags(argv):
    """Names of the settings that the command line names itself."""
    parser, not_given = create_parser(), object()
    parser.set_defaults(**dict.fromkeys(vars(parser.parse_args([])), not_given))
    values = vars(parser.parse_args(argv))
    return {name for name, value in values.items() if value is not not_given}


def check_folders(parser, args):
    """Refuse files where folders are meant."""
    for name in ("data_dir", "log_dir"):
        path = getattr(args, name)
        if path.exists() and not path.is_dir():
            parser.error(f"--{name} {path} is not a folder: name one")


def check_local_perturbation(parser, args):
    """Refuse it where there is no perturbation, or but one process."""
    if args.local_perturbation and not args.distributed:
        parser.error("--local_perturbation needs --distributed: leave it out")
    name = variant(args.method, args.distribution_agnostic)
    if args.local_perturbation and not METHODS[name].perturbs:
        parser.error(f"--local_perturbation does not apply to --method {args.method}: leave it out")


def check_amp_level(parser, args):
    """Refuse float16 where the kernels have float32 alone."""
    if args.cpu_kernels != "stock" and args.amp_level != "O0":
        parser.error(
            f"--amp_level {args.amp_level} does not go with --cpu_kernels {args.cpu_kernels}: "
            f"leave one of them out"
        )


def check_evaluation(parser, args, given):
    """Refuse --eval_only without a checkpoint, or with flags that would do nothing."""
    if args.checkpoint is None:
        parser.error("--eval_only needs --checkpoint FILE")
    for name in sorted(given - FROM_CHECKPOINT - OWN_IN_EVALUATION):
        parser.error(f"--{name} does not go with --eval_only: leave it out")


def checkpoint_settings(args, given):
    """The data and model settings of the run that wrote the checkpoint."""
    from sharpdro.run_folder import checkpoint

    path = args.checkpoint
    trained = checkpoint.load(path).settings
    measured = {"dataset": args.dataset, "corruption": "+".join(args.corruption)}
    # Evaluations of several runs, or of several checkpoints of one, get directories of their own.
    method = variant(str(trained.get("method")), trained.get("distribution_agnostic", False))
    stage = f"_{FIRST_STAGE_FOLDER}" if path.resolve().parent.name == FIRST_STAGE_FOLDER else ""
    others = (key for key in measured if key in given and measured[key] != trained.get(key))
    trained_on = "".join(f"_{trained.get(key)}" for key in others)
    images = "_published" if args.published else ""
    desc = f"{trained.get('desc')}{trained_on}_{method}{stage}_{path.stem}{images}"
    return {"desc": desc, **{k: v for k, v in trained.items() if k in FROM_CHECKPOINT}}


def resolve_corruption(parser, args):
    """One corruption to train with, any number to measure."""
    chosen = [args.corruption] if isinstance(args.corruption, str) else args.corruption
    check_frost_dir(parser, args.frost_dir, chosen)
    chosen = list(expand(chosen))
    if args.eval_only:
        args.corruption = chosen
    elif len(chosen) > 1:
        parser.error(
            f"-c {' '.join(chosen)}: a network is trained with one corruption; several go with "
            f"--eval_only"
        )
    else:
        (args.corruption,) = chosen


def resolve_dataset(parser, args):
    """Fill in the dataset's defaults."""
    spec = DATASETS[args.dataset]
    check_filelist_dir(parser, args, spec)
    if not spec.class_names:  # or else lists may say which images there are
        args.num_per_class = args.num_per_class or spec.num_per_class
    args.model = args.model or spec.model
    if args.model == "wideresnet":
        args.depth = args.depth or spec.depth
        args.widen_factor = args.widen_factor or spec.widen_factor
    elif args.depth or args.widen_factor:
        flag = "--depth" if args.depth else "--widen_factor"
        parser.error(f"{flag} applies to -m wideresnet only, not to -m {args.model}")


def check_filelist_dir(parser, args, spec):
    """Refuse a folder without lists, and lists that would not be read."""
    if args.filelist_dir is None:
        return
    if not spec.class_names:
        parser.error(f"--filelist_dir does not apply to -d {spec.name}: leave it out")
    if not args.filelist_dir.is_dir():
        parser.error(f"--filelist_dir {args.filelist_dir} is not a folder")
    if not find_lists(args.filelist_dir):
        parser.error(f"--filelist_dir {args.filelist_dir} holds no lists, see --help")


def check_published(parser, args):
    """Refuse published images where they would not be used, do not fit or are not there."""
    if args.published is None:
        return
    if not args.eval_only:
        parser.error("--published needs --eval_only: a network is trained on images made here")
    if args.frost_dir is not None:
        parser.error("--frost_dir does not go with --published: leave one of them out")
    side = DATASETS[args.dataset].side
    if side != SIDE:
        parser.error(
            f"--published images are {SIDE}×{SIDE}, those of -d {args.dataset} {side}×{side}: "
            f"leave it out"
        )
    check_files(args.published, args.corruption)


@functools.cache
def default_of(name):
    """A setting's default, for runs from before there was such a setting."""
    return create_parser().get_default(name)
