"""What argparse takes for a value: numbers within bounds, names of directories."""

import argparse


def number(kind, low, high=None, *, above=False, below=False):
    """An argparse type: a number of a kind within bounds, which `above`, `below` leave out."""

    def parse(text):
        bounds = f"{'>' if above else '>='} {low}"
        if high is not None:
            bounds += f" and {'<' if below else '<='} {high}"
        word = "a whole number" if kind is int else "a number"
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {word} {bounds}") from None
        fits = (value > low if above else value >= low) and value < float("inf")
        if high is not None:
            fits = fits and (value < high if below else value <= high)
        if not fits:
            raise argparse.ArgumentTypeError(f"{text} is not {word} {bounds}")
        return value

    return parse


def wideresnet_depth(text):
    """An argparse type: 10, 16, 22, 28, …"""
    if not text.isdigit() or int(text) < 10 or (int(text) - 4) % 6:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of 10, 16, 22, 28, … (6k + 4)")
    return int(text)


def description(text):
    """An argparse type: part of a directory's name."""
    if not text.isprintable() or not text or text.startswith(".") or set(text) & set("/\\"):
        raise argparse.ArgumentTypeError(f"{text!r} must be usable as a directory's name")
    return text


POSITIVE, COUNT = number(int, 1, 10**9), number(int, 0, 10**9)
