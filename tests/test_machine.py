"""What this machine says of the program."""

import re
import subprocess

from sharpdro import machine


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True)


def test_commit_is_its_digits_whatever_tags_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_PACKAGE", tmp_path)
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "tag", "-a", "v1.0.0", "-m", "released")
    tagged = machine.git_commit()
    git(tmp_path, "commit", "-qm", "second", "--allow-empty")
    after = machine.git_commit()
    assert re.fullmatch("[0-9a-f]{40}", tagged) and re.fullmatch("[0-9a-f]{40}", after)
    assert tagged != after
    (tmp_path / "file").write_text("2")
    assert machine.git_commit() == f"{after}-dirty"
