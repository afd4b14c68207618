"""What `pip install -e .` installs is what the requirements files name."""

import re
from pathlib import Path

import pytest

import sharpdro

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 brings it")

ROOT = Path(__file__).resolve().parents[1]


def requirements(name):
    """The packages of a requirements file, without the files that it names."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and line[0] not in "#-"}


@pytest.fixture
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("extra", ["plots", "tensorboard", "export", "test"])
def test_extras_are_the_requirements_files(project, extra):
    listed = set(project["project"]["optional-dependencies"][extra])
    listed.discard("sharpdro[plots,tensorboard,export]")
    assert listed == requirements(f"requirements-{extra}.txt")


def test_packages_and_version(project):
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert {pattern.rstrip("*") for pattern in patterns} == packages
    assert re.fullmatch(r"\d+\.\d+\.\d+", sharpdro.__version__)
