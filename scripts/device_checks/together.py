"""Two processes that share batches against one, on a network without batch norm.

(Batch norm takes each part's own statistics, and so differs.)
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # run by msrun: this folder's modules are not the project's
    sys.path.pop(0)

from benchmarks.distributed import free_port
from corruptions.interrupts import interruptible
from device_checks.results import Check, Options, distance, failed, judged
from sharpdro.startup import start_program

ROOT = Path(__file__).resolve().parents[2]
PROCESSES, BATCH_SIZE, NUM_GROUPS, STEPS = 2, 12, 4, 3
SETTINGS = {"sharpdro": {"rho": 0.5, "absent_groups": "ema"}, "irm": {"irm_warmup": 1}}
LIMIT = 1e-4  # of float32 sums in another order; on a CPU: 1e-7
_SECONDS = 600


def _make_step(method, collectives):
    import mindspore as ms
    import numpy as np
    from mindspore import Tensor, nn

    from models.layers import LeakyReLU, convolution, linear
    from sharpdro.methods.create import create_train_step
    from sharpdro.training.optimizer import create_sgd

    class Network(nn.Cell):
        def __init__(self):
            super().__init__()
            self.conv = convolution(3, 8, 3)
            self.activation = LeakyReLU()
            self.classifier = linear(8, 3)

        def construct(self, images):
            return self.classifier(self.activation(self.conv(images)).mean((2, 3)))

    rng, network = np.random.default_rng(1), Network()
    for parameter in network.trainable_params():
        parameter.set_data(Tensor(rng.normal(0, 0.5, parameter.shape), ms.float32))
    optimizer = create_sgd(network.trainable_params(), 0.1, 0.9, 0.02)
    settings = {**SETTINGS.get(method, {}), "collectives": collectives}
    return create_train_step(method, network, optimizer, NUM_GROUPS, **settings)


def _train(step, part):
    """The parameters after some steps on a part of each batch's images."""
    import numpy as np
    from mindspore import Tensor

    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        images = rng.normal(0, 1, (BATCH_SIZE, 3, 6, 6)).astype(np.float32)
        others = [rng.integers(0, n, BATCH_SIZE).astype(np.int32) for n in (3, NUM_GROUPS)]
        step(Tensor(images[part]), *map(Tensor, others)).asnumpy()
    return {p.name: p.asnumpy() for p in step.get_parameters()}


def work(device, folder, methods):
    """Run by msrun in every process: the first writes each method's distance."""
    import mindspore as ms

    from sharpdro.device import compute_in_float32, select_device
    from sharpdro.distributed.process_group import is_scheduler, join, schedule

    select_device(device if not is_scheduler() else "CPU")
    if is_scheduler():
        return schedule()
    compute_in_float32(device)
    ms.set_deterministic(True)  # before the processes meet, as MindSpore advises
    processes = join(True)
    size = BATCH_SIZE // processes.size
    part = slice(processes.rank * size, (processes.rank + 1) * size)
    found = {}
    for method in methods:
        alone = _train(_make_step(method, None), slice(None))
        step = _make_step(method, processes.collectives(False))
        together = _train(step, part)
        processes.check_same_parameters(step.get_parameters(), f"of {method}")
        found[method] = distance(together, alone)
    if processes.is_first:
        (Path(folder) / "found.json").write_text(json.dumps(found))


def check(options: Options, methods: tuple[str, ...]) -> Iterator[Check]:
    """Two processes by MindSpore's launcher, each with a device of its own unless it is a CPU."""
    names = {method: f"processes: {method}" for method in methods}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        size = f"--worker_num={PROCESSES}", f"--local_worker_num={PROCESSES}"
        command = [str(Path(sys.executable).with_name("msrun")), *size, "--join=True"]
        command += [f"--master_port={free_port()}", f"--log_dir={folder}", __file__]
        where = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}
        where["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        how = {"cwd": folder, "env": where, "capture_output": True, "timeout": _SECONDS}
        try:
            with interruptible():
                subprocess.run([*command, options.device, folder, *methods], check=False, **how)
            found = json.loads((Path(folder) / "found.json").read_text())
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = _last_words(Path(folder)) or str(error)
            yield from (failed(name, reason) for name in names.values())
            return
    for method, name in names.items():
        yield judged(name, found[method], LIMIT)


def _last_words(folder: Path) -> str:
    """The last line of the first process that says what it failed of."""
    for path in sorted(folder.glob("worker_*.log")):
        lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line or "error" in line]
        if errors:
            return errors[-1].strip()
    return ""


if __name__ == "__main__":
    start_program()
    work(sys.argv[1], sys.argv[2], sys.argv[3:])
