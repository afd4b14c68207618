"""The flags of the methods, as their specs describe them, and what does not go together."""

from sharpdro.methods.specs import METHOD_SETTINGS, METHODS, variant


def add_method_flags(parser):
    """The method, and the settings of single methods, which others refuse."""
    agnostic = {variant(name, True): name for name in METHODS}
    names = [name for name in METHODS if name not in agnostic]
    add = parser.add_argument_group("method").add_argument
    text = "one of those below; a method refuses the settings of others"
    add("--method", choices=names, default="sharpdro", help=text)
    text = "for sharpdro: without severity labels, samples weighted by an out-of-distribution score"
    add("--distribution_agnostic", action="store_true", help=text)
    owners = {}
    for name, method in METHODS.items():
        for setting in method.flags:
            owners.setdefault(setting, []).append(name)
    shared = [setting for setting, users in owners.items() if len(users) > 1]
    group = parser.add_argument_group("settings of several methods")
    for setting in shared:
        _add(group, setting, f"; {', '.join(owners[setting])}")
    for name, method in METHODS.items():
        called = f"{agnostic[name]} --distribution_agnostic" if name in agnostic else name
        about = f"{method.source}: {method.summary}"
        group = parser.add_argument_group(f"--method {called}", about)
        for setting in method.flags:
            if setting not in shared:
                _add(group, setting)


def _add(group, setting, users=""):
    how = {"default": setting.default, "help": setting.help + users}
    if setting.parse is None:
        how["action"] = "store_true"
    else:
        how |= {"type": setting.parse, "metavar": setting.metavar}
    if setting.choices:
        how["choices"] = setting.choices
    group.add_argument(f"--{setting.name}", **how)


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
    epochs = method.stage_epochs
    if epochs is not None and getattr(args, epochs) > args.total_epoch:
        default = "" if epochs in given else " (default)"
        parser.error(
            f"--{epochs} {getattr(args, epochs)}{default} is more than --total_epoch "
            f"{args.total_epoch}: lower it, the first stage is the beginning of a run as "
            f"long as the second"
        )
    if args.sampler == "balanced" and not method.balances:
        parser.error(
            f"--sampler balanced needs severity labels, which {called} does without: "
            f"choose another sampler"
        )
