"""Corrupted images on disk: arrays, their manifest, locks, worker processes."""
