"""Data sets whose images have a severity: `load` gives one as NumPy arrays."""

__all__ = ["load"]


def __getattr__(name):
    """Import what `load` needs only for whoever asks for it."""
    if name == "load":
        from dataset.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
