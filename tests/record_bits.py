#!/usr/bin/env python3
"""Checksums of what every method and corruption comes to, to see that a change changes no bit.

    python tests/record_bits.py before.json    # on the commit before
    python tests/record_bits.py after.json     # on the one after, same machine, same cores
    diff before.json after.json

Methods may be named behind the file; all are tried unless some are.

Every method trains two epochs on the drawn dataset, is killed after the first and resumed; the
checksums are those of the weights and of train.csv, val.csv and test.csv, without times and the
columns that came later.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
METHODS = ["erm", "sam", "groupdro", "irm", "vrex", "jtt", "eiil", "sharpdro", "sharpdro_agnostic"]
FLAGS = ["-d", "synthetic", "-n", "100", "--depth", "10", "--widen_factor", "1"]
FLAGS += ["--total_epoch", "2", "--num_val", "40", "--num_test", "40", "--log_train", "3"]
FLAGS += ["--no-show_progress"]
LEFT_OUT = {"images_per_second", "seconds", "global_step", "ece", "worst_class_accuracy"}
OF_METHOD = {
    "irm": ["--irm_lambda", "2", "--irm_warmup", "11"],
    "vrex": ["--vrex_beta", "2", "--vrex_warmup", "11"],
    "jtt": ["--jtt_epochs", "1"],
    "eiil": ["--eiil_steps", "50"],
}


def crc(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"


def run(command, folder, text):
    """Run main.py; kill it once its log has the text, unless that is None."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None and text is not None:
        logs = [path.read_text(errors="replace") for path in folder.glob("*/log.txt")]
        if any(text in log for log in logs):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.05)
    return process.wait()


def record_run(method, folder, data_dir):
    flags = [*FLAGS, "--method", method.removesuffix("_agnostic"), *OF_METHOD.get(method, [])]
    flags += ["--distribution_agnostic"] * method.endswith("_agnostic")
    command = [sys.executable, "main.py", *flags, "--data_dir", str(data_dir)]
    command += ["--log_dir", str(folder), "--resume"]
    run(command, folder, "epoch 1/2: trained")
    if run(command, folder, None) != 0:
        raise SystemExit(f"{method}: the resumed run failed")
    (run_folder,) = folder.iterdir()
    sums = {name: table_crc(run_folder / name) for name in ("train.csv", "val.csv", "test.csv")}
    return sums | {"weights": weights_crc(run_folder / "last.ckpt")}


def table_crc(path):
    """Of the columns that every version has and that are not times."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [{name: cell for name, cell in row.items() if name not in LEFT_OUT} for row in rows]
    return crc(json.dumps(kept).encode())


def weights_crc(path):
    import mindspore as ms

    content = ms.load_checkpoint(str(path))
    arrays = {name: value.asnumpy() for name, value in content.items() if hasattr(value, "asnumpy")}
    return crc(b"".join(k.encode() + arrays[k].tobytes() for k in sorted(arrays)))


def record_corruptions():
    from corruptions import CORRUPTIONS, corrupt

    rng = np.random.default_rng(0)
    sums = {}
    for variant, side in (("cifar", 32), ("imagenet64", 64)):
        images = rng.integers(0, 256, (8, side, side, 3), dtype=np.uint8)
        for name in CORRUPTIONS:
            parts = [corrupt(images, name, s, variant=variant).tobytes() for s in range(1, 6)]
            sums[f"{variant} {name}"] = crc(b"".join(parts))
    return sums


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    os.environ.setdefault("GLOG_v", "4")
    result = {"corruptions": record_corruptions()}
    with tempfile.TemporaryDirectory() as folder:
        for method in sys.argv[2:] or METHODS:
            logs = Path(folder) / method
            logs.mkdir()
            result[method] = record_run(method, logs, Path(folder) / "data")
            print(method, result[method], flush=True)
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
