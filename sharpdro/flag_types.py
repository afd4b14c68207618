"""What argparse takes for a value: numbers within bounds, names of directories."""

import argparse
import struct

from corruptions.command_line import invalid_choice
from sharpdro.own_code import is_place

_LEAST, _LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127  # of float32's normal numbers


def as_float32(value: float) -> float:
    """The number as training computes with it; 0 and inf where float32 ends."""
    if not abs(value) <= _LARGEST:  # NaN, too
        return value * float("inf")
    return struct.unpack("f", struct.pack("f", value))[0] if abs(value) >= _LEAST else 0.0


def number(kind, low, high=None, *, above=False, below=False):
    """An argparse type: a number of a kind within bounds, which `above`, `below` leave out.

    One that is a float is within them as a float32, too, and not taken for 0 there.
    """

    def parse(text):
        bounds = f"{'>' if above else '>='} {low}"
        if high is not None:
            bounds += f" and {'<' if below else '<='} {high}"
        word = "a whole number" if kind is int else "a number"
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {word} {bounds}") from None

        def fits(value):
            is_above = (value > low if above else value >= low) and value < float("inf")
            return is_above and (high is None or (value < high if below else value <= high))

        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text} is not {word} {bounds}")
        rounded = as_float32(value) if kind is float else value
        if not fits(rounded) or bool(rounded) != bool(value):
            raise argparse.ArgumentTypeError(f"{text} is not {word} {bounds} in float32")
        return value

    return parse


def wideresnet_depth(text):
    """An argparse type: 10, 16, 22, 28, …"""
    if not text.isdigit() or int(text) < 10 or (int(text) - 4) % 6:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of 10, 16, 22, 28, … (6k + 4)")
    return int(text)


def one_of_or_own(known):
    """An argparse type: one of these names, or "package.module:Name" of the user's own code."""

    def parse(text):
        if text not in known and not is_place(text):
            own = ", or name your own as my_module:MyName"
            raise argparse.ArgumentTypeError(invalid_choice(text, known, own))
        return text

    return parse


def place(text):
    """An argparse type: "package.module:name" of the user's own code."""
    if not is_place(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form my_module:name")
    return text


def description(text):
    """An argparse type: part of a directory's name."""
    if not text.isprintable() or not text or text.startswith(".") or set(text) & set("/\\"):
        raise argparse.ArgumentTypeError(f"{text!r} must be usable as a directory's name")
    return text


POSITIVE, COUNT = number(int, 1, 10**9), number(int, 0, 10**9)
