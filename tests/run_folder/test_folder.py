"""What settings.json records of a start and of those that take the run up."""

import json

from sharpdro.run_folder.folder import RunFolder


def test_what_changes_on_resume_is_recorded_beside_the_settings(tmp_path):
    begun = {"lr": 0.1, "on_nan": "stop", "resume": False, "of_an_earlier_version": 1}
    for settings, commit in (
        (begun, "a"),
        ({"lr": 0.1, "on_nan": "skip", "resume": True, "of_a_later_version": 2}, "b"),
        ({"lr": 0.1, "on_nan": "stop", "resume": True}, "c"),
    ):
        RunFolder(tmp_path).open(settings, {"git_commit": commit})
    content = json.loads((tmp_path / "settings.json").read_text())
    assert content["settings"] == begun and content["environment"] == {"git_commit": "a"}
    assert content["resumed"] == [
        {"git_commit": "b", "changed": {"on_nan": "skip"}},
        {"git_commit": "c"},
    ]
