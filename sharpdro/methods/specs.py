"""The methods: what they are, which settings they have, what they need. Knows no MindSpore."""

from dataclasses import dataclass, field

SAMPLERS = ("replacement", "shuffle", "balanced")
OOD_SCORES = ("confidence_drop", "softmax", "energy", "entropy", "loss")
ABSENT_GROUPS = ("zero", "keep", "ema")
FIRST_STAGE_FOLDER = "stage1"

_PERTURBATION = {"rho": 0.05, "is_adaptive": False}
_GROUP_WEIGHTS = {"step_size": 0.01, "absent_groups": "zero", "group_adjustment": 0.0}


@dataclass(frozen=True)
class Method:
    """One method.

    Args:
        summary: what it does, in a line.
        source: where it was published.
        step_settings: keyword arguments of its training step and their defaults.
        stage_settings: those of its first stage, if it has one.
        reads_severities: whether it needs the training images' severities.
        passes: forward and backward passes per step.
        balances: whether `--sampler balanced` makes sense: there are groups to balance, and
            severities may be read for it.
    """

    summary: str
    source: str
    step_settings: dict = field(default_factory=dict)
    stage_settings: dict = field(default_factory=dict)
    reads_severities: bool = False
    passes: int = 1
    balances: bool = True

    @property
    def settings(self) -> dict:
        """All settings with their defaults."""
        return {**self.step_settings, **self.stage_settings}


METHODS = {
    "sharpdro": Method(
        "worst-case sharpness minimisation: ascend the weights of the severities by their losses, "
        "descend the mean loss and the weighted loss at the perturbed parameters",
        "Huang et al., CVPR 2023",
        {**_PERTURBATION, **_GROUP_WEIGHTS},
        reads_severities=True,
        passes=2,
    ),
    "sharpdro_agnostic": Method(
        "the same without severities: samples are weighted by an out-of-distribution score",
        "Huang et al., CVPR 2023",
        {**_PERTURBATION, "ood_score": "confidence_drop"},
        passes=2,
        balances=False,
    ),
    "erm": Method("empirical risk minimisation: descend the mean loss", "Vapnik, 1998"),
    "sam": Method(
        "sharpness-aware minimisation: descend the mean loss at the perturbed parameters",
        "Foret et al., ICLR 2021",
        _PERTURBATION,
        passes=2,
    ),
    "groupdro": Method(
        "group DRO: ascend the weights of the severities by their losses, descend the weighted "
        "loss",
        "Sagawa et al., ICLR 2020",
        _GROUP_WEIGHTS,
        reads_severities=True,
    ),
    "irm": Method(
        "invariant risk minimisation (IRMv1): penalise the squared derivative of each severity's "
        "loss by the scale of the logits",
        "Arjovsky et al., 2019",
        {"irm_lambda": 100.0, "irm_warmup": 500},
        reads_severities=True,
    ),
    "vrex": Method(
        "risk extrapolation (V-REx): penalise the variance of the severities' losses",
        "Krueger et al., ICML 2021",
        {"vrex_beta": 10.0, "vrex_warmup": 500},
        reads_severities=True,
    ),
    "jtt": Method(
        "just train twice: ERM for a few epochs, then ERM from scratch with the training errors "
        "of the first stage repeated",
        "Liu et al., ICML 2021",
        stage_settings={"jtt_epochs": 2, "jtt_upweight": 6},
        balances=False,
    ),
    "eiil": Method(
        "environment inference: ERM for a few epochs, then two groups that its logits tell apart, "
        "then group DRO from scratch on those",
        "Creager et al., ICML 2021",
        _GROUP_WEIGHTS,
        {"eiil_epochs": 1, "eiil_steps": 10_000, "eiil_lr": 0.001},
    ),
}


# Names of the settings that not all methods have.
METHOD_SETTINGS = frozenset().union(*(method.settings for method in METHODS.values()))


def variant(method: str, distribution_agnostic: bool) -> str:
    """The key into METHODS of `--method` with or without `--distribution_agnostic`."""
    return f"{method}_agnostic" if distribution_agnostic else method
