"""Imports point downward, and what must not know MindSpore does not."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("corruptions", "dataset", "models", "sharpdro")


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
        ("corruptions", {"mindspore", "dataset", "models", "sharpdro", "main"}),
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


@pytest.mark.parametrize("module", ["perturbation", "group_weights", "state", "schedule"])
def test_formulas_import_none_of_their_siblings(module):
    for name in imports_of(ROOT / "sharpdro" / f"{module}.py"):
        assert not name.startswith("sharpdro")


def test_program_imports_no_mindspore_before_it_has_read_its_flags():
    """So that bad usage is answered at once, and the environment is set in time."""
    tree = ast.parse((ROOT / "main.py").read_text(encoding="utf-8"))
    top = [n for n in tree.body if isinstance(n, ast.ImportFrom)]
    for node in top:
        if node.module.split(".")[0] in PACKAGES:
            path = ROOT / f"{node.module.replace('.', '/')}.py"
            assert "mindspore" not in {name.split(".")[0] for name in top_level_imports(path)}


def top_level_imports(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
