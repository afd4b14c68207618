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


def test_files_that_are_no_modules_are_installed_too(project):
    """All that lies in a package, except its README."""
    patterns = project["tool"]["setuptools"]["package-data"]
    listed = {
        path
        for package, globs in patterns.items()
        for pattern in globs
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    packages = [path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"]
    found = {path for package in packages for path in package.rglob("*.*") if path.is_file()}
    assert listed == {p for p in found if p.suffix not in (".py", ".pyc") and p.name != "README.md"}


def test_packages_and_version(project):
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert {pattern.rstrip("*") for pattern in patterns} == packages
    assert re.fullmatch(r"\d+\.\d+\.\d+", sharpdro.__version__)
