"""Files that Hypothesis damages: cut off, added to, thinned out, written over.

Some dozens of each kind, always the same; with FUZZ_EXAMPLES=20000 in the environment as many.
"""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import binary, integers, lists, one_of, sampled_from, tuples

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
_DEEP = b"[" * 100_000
_TELLING = [b"\0", b"\xff" * 8, b"-1", b"1e999", b"NaN", b"null", b"\n", b",", b"\t", b" ", _DEEP]
_PIECES = one_of(binary(min_size=1, max_size=12), sampled_from(_TELLING))
_KINDS = sampled_from(["cut", "put", "drop", "over"])
_DAMAGES = lists(tuples(_KINDS, integers(0, 2**31), _PIECES), min_size=1, max_size=4)


def _damaged(content, damage):
    for kind, place, piece in damage:
        place %= len(content) + 1
        head, tail = content[:place], content[place:]
        if kind == "cut":
            content = head
        elif kind == "put":
            content = head + piece + tail
        elif kind == "drop":
            content = head + tail[len(piece) :]
        else:
            content = head + piece + tail[len(piece) :]
    return content


def for_damaged(content, check):
    """Call `check` with many damaged versions of the bytes."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(damage=_DAMAGES)
    def fuzz(damage):
        check(_damaged(content, damage))

    fuzz()
