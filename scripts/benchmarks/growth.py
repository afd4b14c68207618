"""How time grows with the batch, and an epoch's with the number of images."""

from collections.abc import Iterator

from benchmarks.measuring import Options, Row, in_turns, ratio
from benchmarks.steps import step_timer

BATCH_SIZES = (25, 50, 100, 200, 400)
STEPS = (2, 4, 8)


def measure(options: Options) -> Iterator[Row]:
    """SharpDRO's steps."""
    shape = options.depth, options.widen_factor
    timers = {size: step_timer("sharpdro", *shape, size) for size in BATCH_SIZES}
    times = in_turns(timers, options.rounds)
    per_image = {size: [1e3 * t / size for t in times[size]] for size in BATCH_SIZES}
    for size, values in per_image.items():
        against = ratio(values, per_image[100])
        yield Row(f"batch of {size}", "ms/image", tuple(values), "batch of 100", against)
    step = timers[100]
    functions = {n: lambda n=n: sum(step() for _ in range(n)) for n in STEPS}
    times = in_turns(functions, options.rounds)
    for number in STEPS:
        values = [t / number for t in times[number]]
        against = ratio(values, [t / STEPS[0] for t in times[STEPS[0]]])
        what = f"epoch of {100 * number} images"
        yield Row(what, "s/step", tuple(values), f"{100 * STEPS[0]} images", against)
