"""For runs under pytest: trial's ``mktemp`` makes folders where the run stands, so that is elsewhere."""

import pytest


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
