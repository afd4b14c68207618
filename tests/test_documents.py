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


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def commands(text):
    """The lines of code in a document, without the tree of folders and comments."""
    blocks = re.findall(r"```(?:\w*)\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks if "main.py    " not in block for line in block.splitlines()]
    return [line.split("  #")[0].rstrip() for line in lines]


def test_chinese_readme_has_the_commands_flags_files_and_numbers_of_the_english_one():
    english, chinese = read("README.md"), read("README_CN.md")
    assert commands(english) == commands(chinese)
    texts = [
        " ".join(re.sub(r"```.*?```", "", t, flags=re.DOTALL).split()) for t in (english, chinese)
    ]
    for pattern in (r"`([^`]+)`", r"\]\(([^)]+)\)", r"\d+\.\d+", r"\d+(?:,\d{3})+"):
        ours, theirs = (set(re.findall(pattern, text)) for text in texts)
        assert ours and ours ^ theirs <= {"README.md", "README_CN.md"}, pattern
