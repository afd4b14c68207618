"""Every method's step on a small network against the formulas in NumPy and float64.

Formulas and network are those of the tests, tests/oracle.py and tests/small_network.py, which are
imported by their paths: nothing is written twice, and whoever checks a device runs what the tests
run. A clone has them; `--oracle FILE` takes other formulas.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import mindspore as ms
import numpy as np
from mindspore import nn

from device_checks.results import Check, Options, distance, failed, judged
from sharpdro.command_line.flags import FLAGS
from sharpdro.device import compute_in_float32, select_device
from sharpdro.methods.create import create_train_step
from sharpdro.training.nan_guard import NanGuard, create_loss_scaler
from sharpdro.training.optimizer import create_sgd

TESTS = Path(__file__).resolve().parents[2] / "tests"
NUM_GROUPS, LR, MOMENTUM, WEIGHT_DECAY = 4, 0.2, 0.9, 0.02
STEPS = 3
_PERTURBATION = {"rho": 0.4, "is_adaptive": False}
_SIZES = (60, 30, 9, 0)
_ADJUSTED = {"step_size": 0.5, "group_adjustment": 2.0, "group_sizes": _SIZES}
# Settings with which every part of a method's formula changes the result.
SETTINGS = {
    "sharpdro": {**_PERTURBATION, **_ADJUSTED, "absent_groups": "ema"},
    "sharpdro_agnostic": {**_PERTURBATION, "ood_score": "kurtosis"},
    "erm": {},
    "sam": {**_PERTURBATION, "is_adaptive": True},
    "groupdro": {**_ADJUSTED, "absent_groups": "zero"},
    "irm": {"irm_lambda": 20.0, "irm_warmup": 1},
    "vrex": {"vrex_beta": 20.0, "vrex_warmup": 2},
    "jtt": {},
    "eiil": {**_ADJUSTED, "absent_groups": "keep"},
}
# The oracle's step of a method that has none of its own, and its words for the settings.
_ORACLE_STEP = {"jtt": "erm", "eiil": "groupdro"}
_ORACLE_SETTING = {"is_adaptive": "adaptive", "group_adjustment": "adjustment"}

AMP_LEVELS = tuple(FLAGS["amp_level"].options["choices"])
# What float32 may differ by from float64 over three steps (on a CPU: 5e-5), and what products of 10
# bits may, as float16, HF32 and TF32 have them (with float16 on a CPU: 6e-3).
EXACT, ROUGH = 5e-4, 0.05


def load_module(path: Path) -> ModuleType:
    """A module by its file's path, under the file's name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _small_network() -> ModuleType:
    """That of the tests; imported under its name, by which MindSpore looks for its source."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    return importlib.import_module("small_network")


class Pair:
    """A method's step on the small network, and the oracle that follows it.

    Args:
        method: key into SETTINGS.
        oracle: the module with the formulas.
        level: one of AMP_LEVELS; None: plain float32, without guard and loss scale.
    """

    def __init__(self, method: str, oracle: ModuleType, level: str | None = None):
        self.method, self.settings = method, SETTINGS[method]
        self.tools = _small_network()
        self.rng = np.random.default_rng(1)
        start = self.tools.random_parameters(self.rng)
        self.network = self.tools.SmallNetwork()
        self.tools.load(self.network, start)
        self.step = self._make_step(level)
        self.expected = oracle.Oracle(start, NUM_GROUPS, LR, MOMENTUM, WEIGHT_DECAY)
        if "group_sizes" in self.settings:  # an empty group has no weight
            self.expected.q = (np.array(_SIZES) > 0) / np.count_nonzero(_SIZES)
        self.start = {name: np.array(value) for name, value in self.expected.p.items()}

    def _make_step(self, level: str | None) -> nn.Cell:
        network = self.network
        if level is not None:
            network = ms.amp.auto_mixed_precision(network, level)
        optimizer = create_sgd(network.trainable_params(), LR, MOMENTUM, WEIGHT_DECAY)
        scaler = None if level is None else create_loss_scaler()
        settings = {**self.settings, "loss_scaler": scaler}
        step = create_train_step(self.method, network, optimizer, NUM_GROUPS, **settings)
        return step if level is None else NanGuard(step)

    def follow(self) -> tuple[dict, dict]:
        """What the step and the oracle return and have moved, after each of three steps."""
        found, expected = {}, {}
        name = _ORACLE_STEP.get(self.method, self.method)
        oracle_step = getattr(self.expected, f"{name}_step")
        settings = {_ORACLE_SETTING.get(k, k): v for k, v in self.settings.items()}
        for number, batch in enumerate(self.tools.make_batches(self.rng, STEPS)):
            result = self.tools.run(self.step, *batch)
            losses, norm, *scores = oracle_step(*batch, **settings)
            values = {"loss": result.per_sample_loss, "norm": result.gradient_norm}
            wanted = {"loss": losses, "norm": norm}
            if scores:
                values["scores"], wanted["scores"] = result.ood_scores, scores[0]
            values |= self._moved()
            wanted |= self._expected_moved()
            found |= {f"{key} {number}": value for key, value in values.items()}
            expected |= {f"{key} {number}": value for key, value in wanted.items()}
        return found, expected

    def _moved(self) -> dict:
        """How far parameters and running statistics have come; the group weights."""
        # Copies: what asnumpy returns changes with the parameter.
        arrays = {p.name: p.asnumpy().copy() for p in self.step.get_parameters()}
        names = self.tools.ORACLE_NAMES
        moved = {short: arrays[name] - self.start[short] for short, name in names.items()}
        others = {"mean": "norm.moving_mean", "variance": "norm.moving_variance"}
        others["weights"] = "group_weights"
        return moved | {short: arrays[name] for short, name in others.items()}

    def _expected_moved(self) -> dict:
        expected = self.expected
        moved = {short: expected.p[short] - self.start[short] for short in self.start}
        others = (expected.running_mean, expected.running_var, expected.q)
        copies = [np.array(values) for values in others]
        return moved | dict(zip(("mean", "variance", "weights"), copies))

    def overflow(self) -> tuple[bool, float]:
        """A step on images too large for the numbers: whether it was applied, how much it moved."""
        before = {p.name: p.asnumpy().copy() for p in self.network.get_parameters()}
        images, labels, groups = next(self.tools.make_batches(self.rng, 1))
        result = self.tools.run(self.step, images * 1e30, labels, groups)
        now = {p.name: p.asnumpy() for p in self.network.get_parameters()}
        return bool(result.was_applied), distance(now, before)


def check_method(method: str, oracle: ModuleType) -> Check:
    """A method's step in float32."""
    name = f"formulas: {method}"
    try:
        return judged(name, distance(*Pair(method, oracle).follow()), EXACT)
    except Exception as error:  # whatever the device does, the other checks go on
        return failed(name, error)


def check_level(level: str, method: str, oracle: ModuleType) -> Iterator[Check]:
    """A method's step with the loss scale at an --amp_level, and a step there that overflows."""
    name = f"amp: {method}, {level}"
    try:
        pair = Pair(method, oracle, level)
        yield judged(name, distance(*pair.follow()), EXACT if level == "O0" else ROUGH)
        was_applied, moved = pair.overflow()
    except Exception as error:
        yield failed(name, error)
        return
    name = f"amp: overflow, {level}"
    if was_applied:
        reason = "a step with numbers that overflow was applied: they saturate, as on Ascend 910A"
        yield failed(name, reason)
    else:
        yield judged(name, moved, 0.0)


def check(options: Options) -> Iterator[Check]:
    """All methods in float32."""
    device = select_device(options.device)
    compute_in_float32(device)
    oracle = load_module(options.oracle)
    for method in options.methods:
        yield check_method(method, oracle)


def check_levels(options: Options) -> Iterator[Check]:
    """All --amp_levels, with one method."""
    device = select_device(options.device)
    compute_in_float32(device)
    oracle = load_module(options.oracle)
    for level in AMP_LEVELS:
        yield from check_level(level, options.methods[0], oracle)
