"""The methods: what they are, which settings they have, what they need. Knows no MindSpore.

A method's step and first stage are named as "module:Class", and imported once they are used
(`pkgutil.resolve_name`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from sharpdro.flag_types import COUNT, POSITIVE, number

OOD_SCORES = ("confidence_drop", "softmax", "energy", "entropy", "loss", "kurtosis")
ABSENT_GROUPS = ("zero", "keep", "ema")
FIRST_STAGE_FOLDER = "stage1"
OWN_SETTINGS = "method_settings"


@dataclass(frozen=True)
class Setting:
    """A setting of a method: a keyword argument of its step or first stage, and a flag.

    Args:
        name: of both.
        default: its value unless given.
        help: the flag's help.
        parse: makes the value of the flag's text; None: the flag is a switch.
        metavar: what --help calls the value.
        choices: the values that there are; any that `parse` takes unless given.
    """

    name: str
    default: object
    help: str
    parse: Callable[[str], object] | None = None
    metavar: str | None = None
    choices: tuple = ()


RHO = Setting("rho", 0.05, "radius of the perturbation", number(float, 0), "RADIUS")
IS_ADAPTIVE = Setting("is_adaptive", False, "scale the perturbation by the weights' magnitudes")
STEP_SIZE = Setting(
    *("step_size", 0.01, "step size of the group weights' ascent"), number(float, 0), "ETA"
)
ABSENT = Setting(
    "absent_groups",
    "zero",
    "a group without an image in the batch: zero counts it with loss 0, which makes rare groups "
    "lose weight; keep leaves its weight as it is; ema takes its last losses' mean",
    str,
    choices=ABSENT_GROUPS,
)
GROUP_ADJUSTMENT = Setting(
    "group_adjustment",
    0.0,
    "add C / sqrt(training images of the group) to its loss when weights are raised",
    *(number(float, 0), "C"),
)
OOD_SCORE = Setting(
    "ood_score",
    "confidence_drop",
    "with --distribution_agnostic: the score, larger for what looks more corrupted; "
    "confidence_drop: by how much the perturbation lowers the largest softmax probability; "
    "softmax: minus that probability; energy; entropy; loss; kurtosis: of the image alone, how "
    "little its pixels' differences look like a natural image's",
    str,
    choices=OOD_SCORES,
)
_PERTURBATION = (RHO, IS_ADAPTIVE)
_GROUP_WEIGHTS = (STEP_SIZE, ABSENT, GROUP_ADJUSTMENT)
_STAGE_EPOCHS = "epochs of the first stage, which come on top of --total_epoch"


def _penalty_settings(weight: str, warmup: str) -> tuple[Setting, Setting]:
    text = "weight of the penalty after the warm-up"
    about_warmup = "steps in which the penalty has weight 1; momentum starts anew after them"
    return (
        Setting(weight, 0.1, text, number(float, 0, 1e30), "WEIGHT"),
        Setting(warmup, 0, about_warmup, COUNT, "N"),
    )


@dataclass(frozen=True)
class MethodSpec:
    """One method.

    Args:
        summary: what it does, in a line.
        source: where it was published.
        step: its training step, "module:Class"; of two stages that of the second.
        step_flags: settings of the step.
        first_stage: what it learns from a network trained before, "module:Class"; None: nothing.
        stage_flags: settings of the first stage.
        stage_epochs: the setting that is the first stage's number of epochs.
        warmup: the setting that is the number of steps before the method begins.
        reads_groups: whether its step reads the groups: the severities, or what the first stage
            has inferred.
        passes: forward and backward passes per step.
        balances: whether `--sampler balanced` makes sense: there are groups to balance, and
            severities may be read for it.
        perturbs: whether it takes a gradient at perturbed parameters.
        weights_groups: whether its step raises the weights of groups, by their sizes too.
        is_own: whether it is the user's own, not one of METHODS.
    """

    summary: str
    source: str
    step: str
    step_flags: tuple[Setting, ...] = ()
    first_stage: str | None = None
    stage_flags: tuple[Setting, ...] = ()
    stage_epochs: str | None = None
    warmup: str | None = None
    reads_groups: bool = False
    passes: int = 1
    balances: bool = True
    perturbs: bool = False
    weights_groups: bool = False
    is_own: bool = False

    @property
    def flag_names(self) -> frozenset[str]:
        """The names of its flags; the settings of the user's own methods share one."""
        return frozenset({OWN_SETTINGS} if self.is_own else self.settings)

    @property
    def flags(self) -> tuple[Setting, ...]:
        """All settings."""
        return (*self.step_flags, *self.stage_flags)

    @property
    def step_settings(self) -> dict:
        """The step's settings with their defaults."""
        return {setting.name: setting.default for setting in self.step_flags}

    @property
    def stage_settings(self) -> dict:
        """The first stage's settings with their defaults."""
        return {setting.name: setting.default for setting in self.stage_flags}

    @property
    def settings(self) -> dict:
        """All settings with their defaults."""
        return {**self.step_settings, **self.stage_settings}


METHODS = {
    "sharpdro": MethodSpec(
        "worst-case sharpness minimisation: ascend the weights of the severities by their losses, "
        "descend the mean loss and the weighted loss at the perturbed parameters",
        "Huang et al., CVPR 2023",
        "sharpdro.methods.sharpdro:SharpDROStep",
        (*_PERTURBATION, *_GROUP_WEIGHTS),
        reads_groups=True,
        passes=2,
        perturbs=True,
        weights_groups=True,
    ),
    "sharpdro_agnostic": MethodSpec(
        "the same without severities: samples are weighted by an out-of-distribution score",
        "Huang et al., CVPR 2023",
        "sharpdro.methods.sharpdro:AgnosticSharpDROStep",
        (*_PERTURBATION, OOD_SCORE),
        passes=2,
        balances=False,
        perturbs=True,
    ),
    "erm": MethodSpec(
        "empirical risk minimisation: descend the mean loss",
        "Vapnik, 1998",
        "sharpdro.methods.erm:ERMStep",
    ),
    "sam": MethodSpec(
        "sharpness-aware minimisation: descend the mean loss at the perturbed parameters",
        "Foret et al., ICLR 2021",
        "sharpdro.methods.sam:SAMStep",
        _PERTURBATION,
        passes=2,
        perturbs=True,
    ),
    "groupdro": MethodSpec(
        "group DRO: ascend the weights of the severities by their losses, descend the weighted "
        "loss",
        "Sagawa et al., ICLR 2020",
        "sharpdro.methods.group_dro:GroupDROStep",
        _GROUP_WEIGHTS,
        reads_groups=True,
        weights_groups=True,
    ),
    "irm": MethodSpec(
        "invariant risk minimisation (IRMv1): penalise the squared derivative of each severity's "
        "loss by the scale of the logits",
        "Arjovsky et al., 2019",
        "sharpdro.methods.irm_vrex:IRMStep",
        _penalty_settings("irm_lambda", "irm_warmup"),
        warmup="irm_warmup",
        reads_groups=True,
    ),
    "vrex": MethodSpec(
        "risk extrapolation (V-REx): penalise the variance of the severities' losses",
        "Krueger et al., ICML 2021",
        "sharpdro.methods.irm_vrex:VRExStep",
        _penalty_settings("vrex_beta", "vrex_warmup"),
        warmup="vrex_warmup",
        reads_groups=True,
    ),
    "jtt": MethodSpec(
        "just train twice: ERM for a few epochs, then ERM anew with the training errors "
        "of the first stage repeated",
        "Liu et al., ICML 2021",
        "sharpdro.methods.erm:ERMStep",
        first_stage="sharpdro.training.first_stage:JTT",
        stage_flags=(
            Setting("jtt_epochs", 2, _STAGE_EPOCHS, POSITIVE, "N"),
            Setting(
                "jtt_upweight",
                6,
                "how often an image that the first stage gets wrong counts in the second",
                *(POSITIVE, "N"),
            ),
        ),
        stage_epochs="jtt_epochs",
        balances=False,
    ),
    "eiil": MethodSpec(
        "environment inference: ERM for a few epochs, then two groups inferred from its logits, "
        "then group DRO anew on those",
        "Creager et al., ICML 2021",
        "sharpdro.methods.group_dro:GroupDROStep",
        _GROUP_WEIGHTS,
        first_stage="sharpdro.training.first_stage:EIIL",
        stage_flags=(
            Setting("eiil_epochs", 1, _STAGE_EPOCHS, POSITIVE, "N"),
            Setting(
                *("eiil_steps", 10_000, "steps of Adam in which the groups are inferred"),
                *(POSITIVE, "N"),
            ),
            Setting("eiil_lr", 0.001, "Adam's learning rate", number(float, 0, above=True), "RATE"),
        ),
        stage_epochs="eiil_epochs",
        reads_groups=True,
        weights_groups=True,
    ),
}


@dataclass(frozen=True)
class LogRange:
    """low … high, drawn evenly in its logarithm; whole numbers where both are."""

    low: float
    high: float


# Where scripts/search.py draws from: a range, or values that are equally likely. Warm-ups, the step
# size and the weight decay have the ranges of DomainBed (Gulrajani & Lopez-Paz, ICLR 2021). Its
# range of both penalties' weights, 0.1 to 1e5, is for Adam: with SGD at --lr 0.1 a weight of 100
# diverges (README.md here), so the range ends at 10. Those of rho and group_adjustment hold what
# SAM (Foret et al., ICLR 2021) and group DRO (Sagawa et al., ICLR 2020) try; the others span a
# factor of ten or so on each side of the default.
SEARCHED = {
    "lr": LogRange(0.003, 0.3),
    "weight_decay": LogRange(1e-6, 1e-2),
    "rho": LogRange(0.01, 0.5),
    "step_size": LogRange(1e-3, 0.1),
    "absent_groups": ABSENT_GROUPS,
    "group_adjustment": (0.0, 1.0, 2.0, 3.0, 4.0, 5.0),
    "ood_score": OOD_SCORES,
    "irm_lambda": LogRange(0.01, 10),
    "irm_warmup": LogRange(1, 10_000),
    "vrex_beta": LogRange(0.01, 10),
    "vrex_warmup": LogRange(1, 10_000),
    "jtt_epochs": (1, 2, 4, 8),
    "jtt_upweight": LogRange(2, 100),
    "eiil_epochs": (1, 2, 4),
    "eiil_lr": LogRange(1e-4, 1e-2),
}


# Names of the settings that not all methods have.
METHOD_SETTINGS = frozenset({OWN_SETTINGS}).union(*(spec.settings for spec in METHODS.values()))


def variant(method: str, distribution_agnostic: bool) -> str:
    """The key into METHODS of `--method` with or without `--distribution_agnostic`."""
    return f"{method}_agnostic" if distribution_agnostic else method
