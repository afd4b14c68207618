"""Reference data that lies beside the project in some workplaces, never in it."""

from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_file(name: str) -> Path:
    """Path of a reference file; skips the test where it is not there."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"reference data {path} is not here")
    return path


def statistics(clean, corrupted):
    """Mean absolute difference, gradient ratio, mean level and share of extreme values."""
    difference = corrupted.astype(np.float64) - clean
    return {
        "mad": np.abs(difference).mean(),
        "grad_ratio": _gradient(corrupted) / _gradient(clean),
        "mean_level": corrupted.mean(),
        "sat_frac": ((corrupted == 0) | (corrupted == 255)).mean(),
    }


def _gradient(images):
    grey = images.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    across, down = np.diff(grey, axis=2)[:, :-1], np.diff(grey, axis=1)[:, :, :-1]
    return np.sqrt(across**2 + down**2).mean()
