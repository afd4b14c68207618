"""Pictures take most of the time of a report: only tests that ask for them have them drawn."""

import pytest
from made_up_runs import report


@pytest.fixture
def pictures():
    pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def no_other_pictures(request, monkeypatch):
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(report, "can_draw", lambda: False)
