"""How main.py and the scripts end, and what they then say."""

from functools import partial

from corruptions import program
from corruptions.errors import DataError
from sharpdro.errors import RunError

run_program = partial(program.run_program, refusals=(DataError, RunError, OSError))
