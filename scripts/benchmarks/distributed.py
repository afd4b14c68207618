"""Training in several processes, one core each: what it saves, and what its messages cost."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

if __name__ == "__main__":  # run by msrun: this folder's modules are not the project's
    sys.path.pop(0)
    from sharpdro.distributed.process_group import end_with_launcher

    end_with_launcher()

from benchmarks.measuring import Options, Row, Workload, in_turns, ratio
from benchmarks.steps import METHODS, step_timer

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ("erm", "sharpdro")


def message_timer(network, num_rows, processes):
    """A function that returns the seconds of what one pass of a step sends: gradients, logits."""
    import numpy as np
    from mindspore import Tensor, nn

    class Messages(nn.Cell):
        def __init__(self):
            super().__init__()
            self.collectives = processes.collectives(False)

        def construct(self, logits, gradients):
            return self.collectives.gather(logits), self.collectives.sum(gradients)

    messages = Messages()
    gradients = tuple(Tensor(p.asnumpy()) for p in network.trainable_params())
    logits = Tensor(np.ones((num_rows, 10), np.float32))

    def run():
        start = time.perf_counter()
        rows, sums = messages(logits, gradients)
        rows.asnumpy(), sums[-1].asnumpy()
        return time.perf_counter() - start

    run(), run()
    return run


def timed_steps(workload, rounds):
    """Run by msrun: the first process prints the seconds of everything, round by round."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ.get("RANK_ID", "0")) % len(cores)]})

    from sharpdro.device import select_device
    from sharpdro.distributed.process_group import SINGLE_PROCESS, is_scheduler, join, schedule

    select_device("CPU")
    if is_scheduler():
        return schedule()
    processes = join(True)
    network, _ = workload.create_network()
    part = replace(workload, batch_size=workload.batch_size // processes.size)
    functions = {"messages": message_timer(network, part.batch_size, processes)}
    for method in MEASURED:
        functions[f"{method} alone"] = step_timer(method, workload, SINGLE_PROCESS)
        functions[f"{method} part"] = step_timer(method, part, SINGLE_PROCESS)
        functions[f"{method} together"] = step_timer(method, workload, processes)
    times = in_turns(functions, rounds)
    if processes.is_first:
        print("TIMES", json.dumps(times), flush=True)


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_once(size: int, options: Options) -> dict[str, list[float]]:
    """Times in `size` processes."""
    arguments = json.dumps(asdict(options.workload)), str(options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        command = ["msrun", f"--worker_num={size}", f"--local_worker_num={size}", "--join=True"]
        command += [f"--master_port={free_port()}", f"--log_dir={folder}"]
        command += [__file__, *arguments]
        where = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}
        where["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(command, cwd=ROOT, env=where, capture_output=True, check=False)
        said = (Path(folder) / "worker_0.log").read_text()
    for line in said.splitlines():
        if line.startswith("TIMES "):
            return json.loads(line.removeprefix("TIMES "))
    raise RuntimeError(f"{size} processes did not finish:\n{said}")


def measure(options: Options) -> Iterator[Row]:
    """Two processes, four, … as far as there are cores; one of them alone in the same rounds."""
    cores, size = len(os.sched_getaffinity(0)), 2
    while size <= cores and options.workload.batch_size % size == 0:
        times = run_once(size, options)
        for method in MEASURED:
            alone, part, together = (
                times[f"{method} {how}"] for how in ("alone", "part", "together")
            )
            messages = tuple(METHODS[method] * seconds for seconds in times["messages"])
            yield Row(f"{method}, 1 process", "s", tuple(alone))
            of_alone = ratio(together, alone)
            yield Row(f"{method}, {size} processes", "s", tuple(together), "1 process", of_alone)
            of_together = ratio(part, together)
            yield Row("  without messages", "s", tuple(part), f"{size} processes", of_together)
            share = ratio(messages, together)
            yield Row("  messages", "s", messages, f"{size} processes", share)
        size *= 2


if __name__ == "__main__":
    timed_steps(Workload(**json.loads(sys.argv[1])), int(sys.argv[2]))
