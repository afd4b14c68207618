"""Readers of files from elsewhere, given spoiled ones: they refuse in their own words or are right.

Some examples at once; with --slow as many as fit into FUZZ_MINUTES (default: a quarter) for
each reader, other ones every time.
"""

import faulthandler
import os
import random
import resource
import time

import pytest
from checkpoint_readers import CHECKPOINT_READERS
from data_readers import DATA_READERS, REFUSALS
from hypothesis import HealthCheck, Phase, given, seed, settings
from run_readers import RUN_READERS

READERS = {reader.__name__: reader for reader in (*DATA_READERS, *RUN_READERS, *CHECKPOINT_READERS)}
QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
# Of memory: the largest photograph that is decoded takes half of it.
MOST = 1 << 30


def try_out(files, read):
    """A test that reads spoiled files."""

    @given(files)
    def reads_or_refuses(content):
        try:
            read(content)
        except REFUSALS as error:
            assert str(error)

    return reads_or_refuses


@pytest.mark.parametrize("name", READERS)
def test_spoiled_files(tmp_path, name):
    files, read = READERS[name](tmp_path)
    how = settings(max_examples=40, derandomize=True, phases=[Phase.generate], **QUIET)
    how(try_out(files, read))()


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_spoiled_files(tmp_path, name):
    files, read = READERS[name](tmp_path)
    end = time.monotonic() + 60 * float(os.environ.get("FUZZ_MINUTES", "0.25"))
    start, rounds = random.randrange(2**32), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while time.monotonic() < end:
        faulthandler.dump_traceback_later(600, exit=True)  # it hangs
        seed(start + rounds)(settings(max_examples=500, **QUIET)(try_out(files, read)))()
        rounds += 1
    faulthandler.cancel_dump_traceback_later()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{name}: {500 * rounds} files, seeds from {start}, {grown >> 10} MiB")
    assert grown << 10 < MOST
