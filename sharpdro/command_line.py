"""The command line: flags, their bounds and defaults, and what does not go together."""

import argparse
import os
from pathlib import Path

from corruptions import CORRUPTIONS, MAX_SEVERITY
from corruptions.command_line import FROST_DIR_HELP, Parser
from dataset.specs import DATASETS
from sharpdro.device import DEVICE_TARGETS
from sharpdro.methods import ABSENT_GROUPS, METHODS, OOD_SCORES, SAMPLERS, variant

# Settings in which a resumed run may differ from its beginning: where it runs and how it looks.
FREE_ON_RESUME = {
    *("resume", "data_dir", "log_dir", "num_workers", "show_progress", "device_target", "save_step")
}
# What matters to --eval_only: the first are taken over from the checkpoint's run, the second not.
FROM_CHECKPOINT = {
    *("dataset", "corruption", "num_severity", "num_test", "eval_batch_size", "seed"),
    *("model", "depth", "widen_factor"),
}
OWN_IN_EVALUATION = {
    *("eval_only", "checkpoint", "desc", "log_dir", "data_dir", "num_workers", "show_progress"),
    *("device_target", "frost_dir"),
}
MODELS = ("wideresnet", "resnet18", "resnet50")


class HelpFormatter(argparse.HelpFormatter):
    """Adds each flag's default to its help."""

    def _get_help_string(self, action):
        text = action.help.removesuffix(" (default: %(default)s)")
        if action.default is None or action.default is argparse.SUPPRESS:
            return text
        if isinstance(action.default, bool):
            return f"{text} (default: {'on' if action.default else 'off'})"
        return f"{text} (default: %(default)s)"


def number(kind, low, high=None, *, above=False, below=False):
    """An argparse type: a number of a kind within bounds, which `above`, `below` leave out."""

    def parse(text):
        bounds = f"{'>' if above else '>='} {low}"
        if high is not None:
            bounds += f" and {'<' if below else '<='} {high}"
        word = "a whole number" if kind is int else "a number"
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {word} {bounds}") from None
        fits = (value > low if above else value >= low) and value < float("inf")
        if high is not None:
            fits = fits and (value < high if below else value <= high)
        if not fits:
            raise argparse.ArgumentTypeError(f"{text} is not {word} {bounds}")
        return value

    return parse


def wideresnet_depth(text):
    """An argparse type: 10, 16, 22, 28, …"""
    if not text.isdigit() or int(text) < 10 or (int(text) - 4) % 6:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of 10, 16, 22, 28, … (6k + 4)")
    return int(text)


def description(text):
    """An argparse type: part of a directory's name."""
    if not text or text.startswith(".") or any(c in text for c in "/\\\0\n"):
        raise argparse.ArgumentTypeError(f"{text!r} must be usable as a directory's name")
    return text


def per_dataset(field):
    """The datasets' defaults of a setting, for its help."""
    values = (f"{getattr(spec, field)} for {name}" for name, spec in DATASETS.items())
    return f"(default: {', '.join(values)})"


POSITIVE, COUNT = number(int, 1, 10**9), number(int, 0, 10**9)


def create_parser():
    """All flags, by group."""
    parser = Parser(
        prog="main.py",
        description="Train or evaluate an image classifier that holds up on photon-limited "
        "corruptions (SharpDRO, Huang et al., CVPR 2023).",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
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
    add("-d", "--dataset", choices=DATASETS, default="synthetic", help="what to train on")
    text = (
        "first part of the run directory's name; for --eval_only the default names the checkpoint"
    )
    add("--desc", type=description, default="run", help=text)
    add("--log_dir", type=Path, default=Path("logs"), help="where run directories are made")
    text = "continue the run of this name after its last finished epoch; start it if there is none"
    add("--resume", action="store_true", help=text)
    text = (
        "fixes split, initial weights, batches, augmentation; corrupted images are always the same"
    )
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, help=text)
    text = "where to compute; auto takes Ascend or GPU where there is one"
    add("--device_target", choices=DEVICE_TARGETS, default="auto", help=text)
    text = (
        "measure --checkpoint on the test set instead of training; data and model settings "
        "default to those of the run that wrote it"
    )
    add("--eval_only", action="store_true", help=text)
    add("--checkpoint", type=Path, metavar="FILE", help="the .ckpt file for --eval_only")


def add_data_flags(add):
    """The images."""
    add("--data_dir", type=Path, default=Path("data"), help="where datasets lie")
    text = f"one of {', '.join(CORRUPTIONS)}; images that are missing are made"
    names = {"choices": CORRUPTIONS, "metavar": "NAME"}
    add("-c", "--corruption", default="gaussian_noise", help=text, **names)
    text = f"training images per class, shared out by Poisson's law {per_dataset('num_per_class')}"
    add("-n", "--num_per_class", type=POSITIVE, metavar="N", help=text)
    text = f"highest severity, 1 to {MAX_SEVERITY}; groups are severities 0 (clean) to this one"
    add("--num_severity", type=number(int, 1, MAX_SEVERITY), default=5, metavar="S", help=text)
    text = "images per severity; 0: all"
    add("--num_val", type=COUNT, default=0, metavar="N", help=f"validation {text}")
    add("--num_test", type=COUNT, default=0, metavar="N", help=f"test {text}")
    text = "also crop training images at random, after padding them by side/8 pixels"
    add("--augment_data", action="store_true", help=text)
    add("--frost_dir", type=Path, metavar="DIR", help=f"for -c frost: {FROST_DIR_HELP}")
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


def add_method_flags(parser):
    """The method, and the settings of single methods, which others refuse."""
    names = [name for name in METHODS if not name.endswith("_agnostic")]
    add = parser.add_argument_group("method").add_argument
    text = "one of those below; a method refuses the settings of others"
    add("--method", choices=names, default="sharpdro", help=text)
    for name in names:
        method = METHODS[name]
        group = parser.add_argument_group(
            f"--method {name}", f"{method.source}: {method.summary}{_ALSO.get(name, '')}"
        )
        if name in _METHOD_FLAGS:
            _METHOD_FLAGS[name](group.add_argument, METHODS[name].settings)


def add_sharpdro_flags(add, default):
    """What only SharpDRO has."""
    text = "without severity labels: samples are weighted by an out-of-distribution score"
    add("--distribution_agnostic", action="store_true", help=text)
    text = (
        "with --distribution_agnostic: the score, larger for what looks more corrupted; "
        "confidence_drop: by how much the perturbation lowers the largest softmax probability; "
        "softmax: minus that probability; energy; entropy; loss"
    )
    score = METHODS["sharpdro_agnostic"].settings["ood_score"]
    add("--ood_score", choices=OOD_SCORES, default=score, help=text)


def add_sam_flags(add, default):
    """The perturbation."""
    text = "radius of the perturbation"
    add("--rho", type=number(float, 0), default=default["rho"], metavar="RADIUS", help=text)
    text = "scale the perturbation by the weights' magnitudes"
    add("--is_adaptive", action="store_true", default=default["is_adaptive"], help=text)


def add_groupdro_flags(add, default):
    """The group weights."""
    step = {"type": number(float, 0), "default": default["step_size"], "metavar": "ETA"}
    add("--step_size", help="step size of the group weights' ascent", **step)
    text = (
        "a group without an image in the batch: zero counts it with loss 0, which makes rare "
        "groups lose weight; keep leaves its weight as it is; ema takes its last losses' mean"
    )
    absent = default["absent_groups"]
    add("--absent_groups", choices=ABSENT_GROUPS, default=absent, help=text)
    text = "add C / sqrt(training images of the group) to its loss when weights are raised"
    adjustment = {"type": number(float, 0), "default": default["group_adjustment"], "metavar": "C"}
    add("--group_adjustment", help=text, **adjustment)


def add_irm_flags(add, default):
    """The penalty."""
    weight = {"type": number(float, 0), "default": default["irm_lambda"], "metavar": "LAMBDA"}
    text = "weight of the penalty after the warm-up; the sum is divided by it where it is above 1"
    add("--irm_lambda", help=text, **weight)
    warmup = {"type": COUNT, "default": default["irm_warmup"], "metavar": "N"}
    add("--irm_warmup", help="steps in which the penalty has weight 1", **warmup)


def add_vrex_flags(add, default):
    """The penalty."""
    weight = {"type": number(float, 0), "default": default["vrex_beta"], "metavar": "BETA"}
    text = "weight of the penalty after the warm-up; the sum is divided by it where it is above 1"
    add("--vrex_beta", help=text, **weight)
    warmup = {"type": COUNT, "default": default["vrex_warmup"], "metavar": "N"}
    add("--vrex_warmup", help="steps in which the penalty has weight 1", **warmup)


def add_jtt_flags(add, default):
    """The first stage."""
    text = "epochs of the first stage, which come on top of --total_epoch"
    add("--jtt_epochs", type=POSITIVE, default=default["jtt_epochs"], metavar="N", help=text)
    text = "how often an image that the first stage gets wrong counts in the second"
    add("--jtt_upweight", type=POSITIVE, default=default["jtt_upweight"], metavar="N", help=text)


def add_eiil_flags(add, default):
    """The first stage."""
    text = "epochs of the first stage, which come on top of --total_epoch"
    add("--eiil_epochs", type=POSITIVE, default=default["eiil_epochs"], metavar="N", help=text)
    text = "steps of Adam in which the groups are inferred"
    add("--eiil_steps", type=POSITIVE, default=default["eiil_steps"], metavar="N", help=text)
    rate = {"type": number(float, 0, above=True), "default": default["eiil_lr"]}
    add("--eiil_lr", metavar="RATE", help="Adam's learning rate", **rate)


# The flags of each method's help group; settings that several methods have are in one of them.
_METHOD_FLAGS = {
    "sharpdro": add_sharpdro_flags,
    "sam": add_sam_flags,
    "groupdro": add_groupdro_flags,
    "irm": add_irm_flags,
    "vrex": add_vrex_flags,
    "jtt": add_jtt_flags,
    "eiil": add_eiil_flags,
}
_ALSO = {
    "sharpdro": "; also has the settings of sam and, with severity labels, of groupdro",
    "eiil": "; also has the settings of groupdro",
}


def add_training_flags(add):
    """Length of the training, batches, SGD."""
    add("--total_epoch", type=POSITIVE, default=200, metavar="N", help="number of epochs")
    add("-b", "--batch_size", type=POSITIVE, default=100, metavar="B", help="images per step")
    text = "initial learning rate"
    add("--lr", type=number(float, 0, above=True), default=0.1, metavar="RATE", help=text)
    text = "divide the learning rate by 5 after 30 %%, 60 %% and 80 %% of the epochs"
    add("--scheduler", action=argparse.BooleanOptionalAction, default=True, help=text)
    text = (
        "how batches are drawn: replacement, from all images; shuffle, each image once an epoch; "
        "balanced, every group as likely, which needs severity labels even for erm and sam"
    )
    add("--sampler", choices=SAMPLERS, default="replacement", help=text)
    add("--momentum", type=number(float, 0, 1, below=True), default=0.9, help="of SGD")
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
    add("--best_metric", choices=("worst", "mean", "clean"), default="worst", help=text)
    add("--log_train", type=POSITIVE, default=100, metavar="N", help="steps per line of train.csv")
    text = "epochs per numbered checkpoint; 0: none"
    add("--save_step", type=COUNT, default=0, metavar="N", help=text)
    add("--save_last", help="keep last.ckpt, without which a run cannot be resumed", **switch)
    add("--save_best", help="keep best.ckpt, of the best epoch", **switch)
    add("--show_progress", help="draw progress bars on a terminal", **switch)


def parse(argv):
    """The command line as settings; ends the program on bad usage."""
    parser = create_parser()
    args, given = parser.parse_args(argv), given_flags(argv)
    if args.eval_only:
        check_evaluation(parser, args, given)
        parser.set_defaults(**checkpoint_settings(args.checkpoint, given))
        args = parser.parse_args(argv)
    elif args.checkpoint is not None:
        parser.error("--checkpoint needs --eval_only; to continue a run use --resume")
    resolve_method(parser, args, given)
    resolve_dataset(parser, args)
    return args


def given_flags(argv):
    """Names of the settings that the command line names itself."""
    parser, not_given = create_parser(), object()
    parser.set_defaults(**dict.fromkeys(vars(parser.parse_args([])), not_given))
    values = vars(parser.parse_args(argv))
    return {name for name, value in values.items() if value is not not_given}


def check_evaluation(parser, args, given):
    """Refuse --eval_only without a checkpoint, or with flags that would do nothing."""
    if args.checkpoint is None:
        parser.error("--eval_only needs --checkpoint FILE")
    for name in sorted(given - FROM_CHECKPOINT - OWN_IN_EVALUATION):
        parser.error(f"--{name} does not go with --eval_only: leave it out")


def checkpoint_settings(path, given):
    """The data and model settings of the run that wrote the checkpoint."""
    from sharpdro import checkpoint

    names = FROM_CHECKPOINT - ({"depth", "widen_factor"} if "model" in given else set())
    trained = checkpoint.load(path).settings
    # Evaluations of several runs, or of several checkpoints of one, get directories of their own.
    method = variant(str(trained.get("method")), trained.get("distribution_agnostic", False))
    desc = f"{trained.get('desc')}_{method}_{path.stem}"
    return {"desc": desc, **{k: v for k, v in trained.items() if k in names}}


def resolve_method(parser, args, given):
    """Refuse the settings of other methods, and drop them."""
    if args.distribution_agnostic and args.method != "sharpdro":
        parser.error(
            f"--distribution_agnostic does not apply to --method {args.method}: leave it out"
        )
    method = METHODS[variant(args.method, args.distribution_agnostic)]
    called = f"--method {args.method}" + (" --distribution_agnostic" * args.distribution_agnostic)
    every = set().union(*(other.settings for other in METHODS.values()))
    for name in sorted(every - method.settings.keys()):
        if name in given:
            needs = ", or add --distribution_agnostic" if name == "ood_score" else ""
            parser.error(f"--{name} does not apply to {called}: leave it out{needs}")
        delattr(args, name)
    if args.sampler == "balanced" and not method.balances:
        parser.error(
            f"--sampler balanced needs severity labels, which {called} does without: "
            f"choose another sampler"
        )


def resolve_dataset(parser, args):
    """Fill in the dataset's defaults."""
    if args.frost_dir is not None and args.corruption != "frost":
        parser.error(f"--frost_dir does not apply to -c {args.corruption}: leave it out")
    spec = DATASETS[args.dataset]
    args.num_per_class = args.num_per_class or spec.num_per_class
    args.model = args.model or spec.model
    if args.model == "wideresnet":
        args.depth = args.depth or spec.depth
        args.widen_factor = args.widen_factor or spec.widen_factor
    elif args.depth or args.widen_factor:
        flag = "--depth" if args.depth else "--widen_factor"
        parser.error(f"{flag} applies to -m wideresnet only, not to -m {args.model}")


def default_of(name):
    """A setting's default, for runs from before there was such a setting."""
    return create_parser().get_default(name)
