"""What several processes compute, compared in this one, which uses no device."""

from collections.abc import Iterator
from dataclasses import replace

from device_checks.results import Check, Options, distance, failed, judged, load, same_bits
from device_checks.workers import Worker
from sharpdro.errors import RunError
from sharpdro.methods.specs import METHODS

# A CPU's AVX2 and SSE4.1 kernels differ by 5e-2 at most, and by 5e-6 in the median over arrays.
NEAR = 0.2


def from_worker(function: str, what: str, options: Options) -> Iterator[Check]:
    """The checks that a process makes; if it ends before its time, that is one that has failed."""
    try:
        with Worker(function, options) as worker:
            yield from worker
    except RunError as error:
        yield failed(f"{what}: the rest", error)


def check_cpu(options: Options) -> Iterator[Check]:
    """The device's steps against the CPU's, method by method, while both compute."""
    groups = same_steps(options.methods)
    options = replace(options, methods=tuple(groups))
    function, left = "device_checks.network:all_methods", list(groups)
    with Worker(function, options, "cpu") as cpu, Worker(function, options, "device") as device:
        try:
            for *problems, method in zip(cpu, device, groups):
                left.remove(method)
                yield _near(options, method, groups[method], [*filter(None, problems)])
        except RunError as error:
            for method in left:
                yield failed(groups[method], error)


def same_steps(methods: tuple[str, ...]) -> dict[str, str]:
    """The first method of each step, and what to call the check of all that have this step."""
    groups = {}
    for method in methods:
        spec = METHODS[method]
        groups.setdefault((spec.step, spec.step_flags), []).append(method)
    return {names[0]: f"cpu: {', '.join(names)}" for names in groups.values()}


def _near(options: Options, method: str, name: str, problems: list[str]) -> Check:
    if problems:
        return failed(name, problems[0])
    found, expected = (load(options, role, method) for role in ("device", "cpu"))
    return judged(name, distance(found, expected), NEAR)


def check_resumed(options: Options, methods: tuple[str, ...]) -> Iterator[Check]:
    """Two processes that do the same, and one that goes on from a checkpoint of the other."""
    problems = dict.fromkeys(methods)
    for function in ("whole", "again"):
        for method, problem in _problems(f"device_checks.network:{function}", options, methods):
            problems[method] = problems[method] or problem
    for method, problem in problems.items():
        names = {"again": f"resume: {method}, run again", "resumed": f"resume: {method}, resumed"}
        for role, name in names.items():
            if problem:
                yield failed(name, problem)
                continue
            expected, found = load(options, "whole", method), load(options, role, method)
            expected = {key: expected[key] for key in expected if key in found or role == "again"}
            yield same_bits(name, found, expected)


def _problems(function, options, methods):
    """Each method, and why a process could not compute it, or None."""
    left = list(methods)
    try:
        with Worker(function, options, methods) as worker:
            for problem, method in zip(worker, methods):
                left.remove(method)
                yield method, problem
    except RunError as error:
        for method in left:
            yield method, str(error)
