"""Imports point downward, and what must not know MindSpore does not."""

import ast
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dataset.poisson import severity_counts
from dataset.specs import DATASETS
from sharpdro.methods import specs

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
        # Inside the functions that make MindSpore's data sets: see test_loading.py.
        allowed = {"mindspore"} if path == ROOT / "dataset" / "loading.py" else set()
        tops = {name.split(".")[0] for name in imports_of(path)} - allowed
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


# From the bottom up: each package of sharpdro imports itself and what stands before it.
LAYERS = (
    *("errors", "own_code", "flag_types", "text_tables", "machine", "startup", "device"),
    *("finiteness", "cpu_kernels", "doctor", "program", "drawing", "distributed", "methods"),
    *("run_folder", "evaluation", "command_line", "networks", "training", "report", "flatness"),
    "jobs",
)


def test_packages_of_sharpdro_import_downward():
    aliases = {"optimizer", "train_step"}  # import paths that others use
    for path in sources("sharpdro"):
        own = path.relative_to(ROOT / "sharpdro").parts[0].removesuffix(".py")
        if own in aliases | {"__init__"}:
            continue
        allowed = set(LAYERS[: LAYERS.index(own) + 1])
        for name in imports_of(path):
            package, *rest = name.split(".")
            if package == "sharpdro" and rest:
                assert rest[0] in allowed, f"{path} imports {name}"


@pytest.mark.parametrize(
    "module",
    [
        *(f"methods/{name}" for name in ("perturbation", "group_weights", "ood_scores")),
        *(f"methods/{name}" for name in ("batch_norm", "parameters", "losses", "specs")),
        *("training/schedule", "flatness/geometry"),
    ],
)
def test_formulas_import_none_of_their_siblings(module):
    known = {"sharpdro.methods.specs", "sharpdro.flag_types"}
    for name in imports_of(ROOT / "sharpdro" / f"{module}.py") - known:
        assert not name.startswith("sharpdro")


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
    assert by_name.keys() == specs.METHODS.keys()
    for name, method in specs.METHODS.items():
        _, labels, passes, flags, _ = by_name[name]
        needs_labels = method.reads_groups and method.first_stage is None
        assert labels == ("needed" if needs_labels else "not read"), name
        assert passes.split(",")[0] == str(method.passes), name
        named = set(re.findall(r"--(\w+)", flags))
        inherited = set(specs.METHODS["groupdro"].settings) if "`groupdro`" in flags else set()
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


def test_every_folder_explains_itself():
    """Folders in folders, too, in sharpdro; elsewhere the upper one speaks for them."""
    upper = [*ROOT.glob("*/__init__.py"), *(ROOT / "sharpdro").glob("*/__init__.py")]
    folders = {path.parent for path in upper}
    others = "scripts scripts/benchmarks scripts/results tests imagenet30_filelist"
    folders |= {ROOT / name for name in others.split()}
    assert not [folder for folder in sorted(folders) if not (folder / "README.md").exists()]
