"""The flags of the methods, one help group each, and what does not go together."""

from sharpdro.flag_types import COUNT, POSITIVE, number
from sharpdro.methods.specs import ABSENT_GROUPS, METHOD_SETTINGS, METHODS, OOD_SCORES, variant


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


def add_penalty_flags(add, default):
    """The penalty of irm or vrex."""
    (weight, value), (warmup, steps) = default.items()
    text = "weight of the penalty after the warm-up"
    kind = number(float, 0, 1e30)
    add(f"--{weight}", type=kind, default=value, metavar="WEIGHT", help=text)
    text = "steps in which the penalty has weight 1; momentum starts anew after them"
    add(f"--{warmup}", type=COUNT, default=steps, metavar="N", help=text)


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
    "irm": add_penalty_flags,
    "vrex": add_penalty_flags,
    "jtt": add_jtt_flags,
    "eiil": add_eiil_flags,
}
_ALSO = {
    "sharpdro": "; also has the settings of sam and, with severity labels, of groupdro",
    "eiil": "; also has the settings of groupdro",
}


def resolve_method(parser, args, given):
    """Refuse the settings of other methods, and drop them."""
    if args.distribution_agnostic and args.method != "sharpdro":
        parser.error(
            f"--distribution_agnostic does not apply to --method {args.method}: leave it out"
        )
    method = METHODS[variant(args.method, args.distribution_agnostic)]
    called = f"--method {args.method}" + (" --distribution_agnostic" * args.distribution_agnostic)
    for name in sorted(METHOD_SETTINGS - method.settings.keys()):
        if name in given:
            needs = ", or add --distribution_agnostic" if name == "ood_score" else ""
            parser.error(f"--{name} does not apply to {called}: leave it out{needs}")
        delattr(args, name)
    for name in method.stage_settings:
        if name.endswith("_epochs") and getattr(args, name) > args.total_epoch:
            default = "" if name in given else " (default)"
            parser.error(
                f"--{name} {getattr(args, name)}{default} is more than --total_epoch "
                f"{args.total_epoch}: lower it, the first stage is the beginning of a run as "
                f"long as the second"
            )
    if args.sampler == "balanced" and not method.balances:
        parser.error(
            f"--sampler balanced needs severity labels, which {called} does without: "
            f"choose another sampler"
        )
