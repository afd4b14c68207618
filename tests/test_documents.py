"""README.md and the folders' own: their code runs, their lines fit, their links lead somewhere."""

import re
import subprocess
import sys

import pytest
from running import ROOT

DOCUMENTS = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
]


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_fit_and_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        is_paper_command = line.startswith("python main.py --num_severity 5")
        assert len(line) <= 100 or line.startswith("|") or is_paper_command, f"{path}:{number}"
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path}: {target}"


def test_the_training_loop_of_the_readme_runs():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 18
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    weights = [float(x) for x in re.search(r"\[([^\]]*)\]$", done.stdout.strip())[1].split()]
    assert len(weights) == 6 and sum(weights) == pytest.approx(1, abs=1e-5)
