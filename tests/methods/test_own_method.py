"""--method my_module:MyStep: the example of sharpdro/methods/README.md as written, and bad ones."""

import json
import re
import shutil

import numpy as np
import oracle
import pytest
from running import ROOT, assert_refused, rows, same_weights, weights
from small_network import SmallNetwork, load, make_batches, random_parameters, run
from test_train_step import LR, MOMENTUM, NUM_GROUPS, WEIGHT_DECAY, assert_same

import main
from sharpdro import create_sgd, create_train_step
from sharpdro.command_line.settings import parse, recorded
from sharpdro.methods.own import read_settings

README = (ROOT / "sharpdro" / "methods" / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n([^`]*class TiltedStep.*?)```", README, re.DOTALL)[1]
FLAGS = (
    *("-d", "synthetic", "-n", "20", "--num_severity", "2", "-b", "40", "--total_epoch", "2"),
    *("--num_val", "6", "--num_test", "5", "--eval_every", "2"),
    *("--depth", "10", "--widen_factor", "1"),
)
TILTED = ("--method", "tilted:TiltedStep", "--method_settings", "tilt=2")
BAD = """
from sharpdro.methods.base import TrainStep
from sharpdro.methods.specs import RHO, MethodSpec, Setting

class Fails(TrainStep):
    def __init__(self, *inputs, **settings):
        raise OverflowError("too\\nmuch")

class NoSpec(TrainStep):
    spec = "a text"

class Staged(TrainStep):
    spec = MethodSpec("", "", "", stage_flags=(RHO,))

class Switched(TrainStep):
    spec = MethodSpec("", "", "", (
        Setting("is_soft", False, ""), Setting("kind", "a", "", str, choices=("a", "b")),
    ))

class Listing(TrainStep):
    spec = MethodSpec("", "", "", (
        Setting("shares", (0.5,), "", lambda text: tuple(map(float, text.split("+")))),
        Setting("name", "a", "", str.lower),
    ))

    def __init__(self, *inputs, shares, name, **shared):
        super().__init__(*inputs, **shared)
        self.shares, self.name_of_own = shares, name

def function(*inputs):
    pass
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The current folder, where the module of the README lies, and bad ones."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "tilted.py").write_text(EXAMPLE)
    (folder / "bad_steps.py").write_text(BAD)
    return folder


@pytest.fixture(autouse=True)
def current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_the_readme_has_its_command_and_a_short_example():
    assert "--method tilted:TiltedStep --method_settings tilt=2\n" in README
    assert len(EXAMPLE.splitlines()) <= 30


def test_step_follows_oracle():
    """Gradient of the log of a mean of exponentials, by its weights, of three steps."""
    rng, tilt, clip_grad = np.random.default_rng(1), 2.0, 0.8
    parameters, network = random_parameters(rng), SmallNetwork()
    load(network, parameters)
    optimizer = create_sgd(network.trainable_params(), LR, MOMENTUM, WEIGHT_DECAY)
    settings = {"tilt": tilt, "clip_grad": clip_grad}
    step = create_train_step("tilted:TiltedStep", network, optimizer, NUM_GROUPS, **settings)
    expected = oracle.Oracle(parameters, NUM_GROUPS, LR, MOMENTUM, WEIGHT_DECAY)
    expected.clip_grad = clip_grad
    for images, labels, groups in make_batches(rng, 3):
        losses = oracle.losses(expected.observe(images), labels)
        exponentials = np.exp(tilt * losses)
        shares = exponentials / exponentials.sum()
        gradients = oracle.gradient(expected.p, images, labels, shares)
        assert_slope_of_tilted_risk(expected.p, gradients, images, labels, tilt)
        expected.descend(gradients)
        found = run(step, images, labels, groups)
        np.testing.assert_allclose(found.per_sample_loss, losses, rtol=2e-4, atol=1e-6)
        assert found.gradient_norm == pytest.approx(oracle.norm(gradients), rel=2e-4)
        assert_same(network, step, expected)


def assert_slope_of_tilted_risk(p, gradients, images, labels, tilt):
    """By a central difference of the risk as it is written in the docstring."""

    def risk(weight):
        losses = oracle.losses(oracle.forward({**p, "weight": weight}, images)[0], labels)
        return np.log(np.exp(tilt * losses).mean()) / tilt

    direction = np.random.default_rng(2).normal(0, 1, p["weight"].shape)
    ahead, behind = (risk(p["weight"] + sign * 1e-6 * direction) for sign in (1, -1))
    slope = (ahead - behind) / 2e-6
    assert slope == pytest.approx((gradients["weight"] * direction).sum(), rel=1e-4)


@pytest.mark.slow
def test_run_records_and_resumes(folder, tmp_path, capsys):
    assert main.main([*FLAGS, *TILTED, "--save_step", "1"]) == 0
    (finished,) = (folder / "logs").iterdir()
    assert finished.name == "run_dsetsynthetic_corrgaussian_noise_tilted.TiltedStep_seed0"
    settings = json.loads((finished / "settings.json").read_text())["settings"]
    assert (settings["method"], settings["method_settings"]) == ("tilted:TiltedStep", "tilt=2")
    assert "rho" not in settings and "tilt" not in settings
    assert [row["epoch"] for row in rows(finished / "train.csv")] == ["1", "2"]
    begun = tmp_path / finished.name
    shutil.copytree(finished, begun)
    shutil.copy(begun / "epoch_1.ckpt", begun / "last.ckpt")
    (begun / "summary.json").unlink()
    own = [*FLAGS, "--log_dir", str(tmp_path), "--resume", *TILTED]
    assert_refused(capsys, [*own[:-1], "tilt=3"], "--method_settings is tilt=3, but")
    assert main.main(own) == 0
    assert same_weights(weights(begun), weights(finished))
    flags = ["--eval_only", "--checkpoint", str(finished / "best.ckpt"), "--log_dir", str(tmp_path)]
    assert main.main(flags) == 0
    assert (
        tmp_path / "run_tilted.TiltedStep_best_dsetsynthetic_corrgaussian_noise_eval_seed0"
    ).exists()


def test_settings_come_from_the_spec():
    from sharpdro.command_line.settings import step_settings

    def found(*flags):
        args = parse([*flags])
        return step_settings(args, args.method)

    assert found("--method", "tilted:TiltedStep") == {"tilt": 1.0}
    assert found(*TILTED) == {"tilt": 2.0}
    switched = ("--method", "bad_steps:Switched", "--method_settings")
    assert found(*switched, "is_soft=true kind=b") == {"is_soft": True, "kind": "b"}
    assert "method_settings" not in recorded(parse(["--method", "erm"]))


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("--method missing_steps:Step", "there is no module missing_steps in"),
        ("--method tilted:Step", "tilted.py) has no Step"),
        ("--method bad_steps:function", "is no subclass of sharpdro.methods.base.TrainStep"),
        ("--method bad_steps:NoSpec", "its spec is no sharpdro.methods.specs.MethodSpec"),
        ("--method bad_steps:Staged", "stages and warm-ups are for methods in"),
        ("--method bad_steps:Fails", "making it raises OverflowError: too"),
        ("--method tilted", "invalid choice: 'tilted' (choose from sharpdro, erm"),
        ("--method tilted:TiltedStep --rho 1", "--rho does not apply to --method tilted:Tilted"),
        ("--method tilted:TiltedStep --distribution_agnostic", "--distribution_agnostic does not"),
        ("--method tilted:TiltedStep --method_settings tlt=1", "'tlt': did you mean tilt?"),
        ("--method tilted:TiltedStep --method_settings x=1", "no setting 'x': it has tilt"),
        ("--method tilted:TiltedStep --method_settings tilt=-1", "tilt=-1: -1 is not a number"),
        ("--method tilted:TiltedStep --method_settings tilt", "tilt has no value: give tilt=VALUE"),
        ("--method tilted:TiltedStep --method_settings '", "cannot be read: No closing quotation"),
        ("--method bad_steps:Switched --method_settings kind=c", "kind=c: choose from a, b"),
        ("--method bad_steps:Switched --method_settings is_soft=1", "give true or false"),
        ("--method erm --method_settings tilt=1", "--method_settings does not apply to --method"),
    ],
)
def test_what_is_no_method_is_refused(flags, text, tmp_path, capsys):
    assert_refused(capsys, [*FLAGS, *flags.split(" "), "--log_dir", tmp_path / "logs"], text)


def test_settings_may_be_neither_text_nor_number(folder):
    """They are what the setting's `parse` makes of the text, and are not read twice."""
    place = "bad_steps:Listing"
    settings = read_settings(place, "shares=0.25+0.75 name=B")
    assert settings == {"shares": (0.25, 0.75), "name": "b"}
    network = SmallNetwork()
    optimizer = create_sgd(network.trainable_params(), LR, MOMENTUM, WEIGHT_DECAY)
    step = create_train_step(place, network, optimizer, NUM_GROUPS, **settings)
    assert (step.shares, step.name_of_own) == ((0.25, 0.75), "b")
