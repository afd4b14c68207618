"""Imports point downward, and what must not know MindSpore does not."""

import ast
import inspect
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dataset.poisson import severity_counts
from dataset.sampling import SAMPLERS
from dataset.specs import DATASETS
from models import MODELS
from sharpdro import command_line, group_weights, methods, train_step, worst_case
from sharpdro.first_stage import FIRST_STAGES
from sharpdro.summary import BEST_METRICS

ROOT = Path(__file__).resolve().parents[1]


def imports_of(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
    return found


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("corruptions", {"mindspore", "models", "sharpdro", "main"}),
        ("dataset", {"mindspore", "models", "sharpdro", "main"}),
        ("models", {"corruptions", "dataset", "sharpdro", "main"}),
        ("sharpdro", {"main"}),
    ],
)
def test_imports_point_downward(package, forbidden):
    assert sources(package)
    for path in sources(package):
        tops = {name.split(".")[0] for name in imports_of(path)}
        assert not tops & forbidden, f"{path} imports {tops & forbidden}"


def test_only_the_programs_of_corruptions_know_datasets():
    programs = {"command_line", "program", "generate", "contact_sheet"}
    for path in sources("corruptions"):
        names = imports_of(path)
        if path.stem not in programs:
            assert not {name.split(".")[0] for name in names} & {"dataset"}, path
            assert not names & {f"corruptions.{program}" for program in programs}, path
    for path in sources("dataset"):
        assert not imports_of(path) & {f"corruptions.{program}" for program in programs}, path


@pytest.mark.parametrize(
    "module",
    [
        *("perturbation", "group_weights", "worst_case", "batch_norm", "state", "schedule"),
        *("losses", "methods", "flatness/geometry"),
    ],
)
def test_formulas_import_none_of_their_siblings(module):
    for name in imports_of(ROOT / "sharpdro" / f"{module}.py"):
        assert not name.startswith("sharpdro")


def test_lists_of_names_agree():
    """The command line repeats names and defaults, so as not to import MindSpore."""
    assert command_line.MODELS == MODELS
    assert methods.SAMPLERS == SAMPLERS
    assert methods.OOD_SCORES == worst_case.OOD_SCORES
    assert methods.ABSENT_GROUPS == group_weights.ABSENT_GROUPS
    assert tuple(methods.METHODS) == train_step.METHODS
    shared = {"group_sizes", "loss_scaler", "exchange"}
    flags = {a.dest: a for a in command_line.create_parser()._actions}
    assert flags["best_metric"].choices == BEST_METRICS
    for name, method in methods.METHODS.items():
        step = inspect.signature(train_step._STEPS[name].__init__).parameters
        own = {k: p.default for k, p in step.items() if p.default is not p.empty}
        own = {k: v for k, v in own.items() if k not in shared}
        # jtt and eiil show the settings of the step of their last stage.
        assert method.step_settings == own, name
        if method.stage_settings:
            stage = set(inspect.signature(FIRST_STAGES[name]).parameters)
            assert method.stage_settings.keys() == stage - {"seed", "show_progress"}, name
        for setting, default in method.settings.items():
            assert flags[setting].default == default, (name, setting)
    assert {n for n, m in methods.METHODS.items() if m.stage_settings} == FIRST_STAGES.keys()


def table_of_readme(head):
    """The rows of the README's table whose first column has this head, by their first cells."""
    lines = iter((ROOT / "README.md").read_text(encoding="utf-8").splitlines())
    next(line for line in lines if line.startswith(f"| `{head}` |")), next(lines)
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in itertools.takewhile(lambda line: line.startswith("|"), lines)
    ]
    return {row[0].strip("`"): row for row in rows}


def test_table_of_datasets_is_that_of_the_code():
    rows = table_of_readme("-d")
    assert rows.keys() == DATASETS.keys()
    for name, spec in DATASETS.items():
        _, train, evaluated, images, network = rows[name]
        counts = severity_counts(spec.num_per_class, 5) * spec.num_classes
        assert train == f"{' '.join(map(str, counts))} ({spec.num_per_class})"
        assert images == f"{spec.side}×{spec.side}, {spec.num_classes} classes"
        shape = f"-{spec.depth}-{spec.widen_factor}" if spec.model == "wideresnet" else ""
        assert network.lower().replace("resnet-50", "resnet50") == spec.model + shape
        validation = int(evaluated.split(", ")[0].replace(",", ""))
        assert validation + counts.sum() == spec.num_train


def test_table_of_methods_is_that_of_the_code():
    by_name = table_of_readme("--method")
    by_name["sharpdro_agnostic"] = by_name.pop("sharpdro --distribution_agnostic")
    assert by_name.keys() == methods.METHODS.keys()
    for name, method in methods.METHODS.items():
        _, labels, passes, flags, _ = by_name[name]
        assert labels == ("needed" if method.reads_severities else "not read"), name
        assert passes.split(",")[0] == str(method.passes), name
        named = set(re.findall(r"--(\w+)", flags))
        inherited = set(methods.METHODS["groupdro"].settings) if "`groupdro`" in flags else set()
        assert named | inherited == method.settings.keys(), name
        for flag, default in re.findall(r"`--(\w+)` \(([^ )]+)", flags):
            expected = method.settings[flag]
            shown = expected if isinstance(expected, str) else f"{expected:,g}"
            assert default == shown, (name, flag)


@pytest.mark.parametrize(("folder", "name"), [("", "main"), ("scripts", "report")])
def test_programs_import_no_mindspore_before_they_have_read_their_flags(folder, name):
    """So that bad usage is answered at once, and the environment is set in time."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / folder)!r}); import {name}"
    code += "; sys.exit('mindspore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
