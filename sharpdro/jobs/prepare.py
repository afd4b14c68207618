"""How a training run begins: what is refused, what is read, who takes part."""

import contextlib
import json
import os
from functools import partial

from corruptions.interrupts import interruptible
from dataset.filelists import FILELIST_DIR, find_lists
from dataset.specs import DATASETS
from sharpdro.command_line.flags import FREE_ON_RESUME
from sharpdro.device import find_device, fix_threads
from sharpdro.distributed.process_group import check_launch, checksum
from sharpdro.errors import RunError
from sharpdro.jobs.shared import (
    build_network,
    check_free,
    check_kernels,
    check_same,
    check_same_images,
    making,
    open_log,
    recorded,
)
from sharpdro.run_folder.folder import SilentLog
from sharpdro.run_folder.tensorboard import require_tensorboardx


def settle_lists(args, log):
    """Where the lists lie that say which image belongs where; None without any.

    A run that is taken up goes by the lists that it has kept, and by its own -n.
    """
    spec = DATASETS[args.dataset]
    if not spec.class_names:
        return None
    kept, folder = log.folder / FILELIST_DIR.name, args.filelist_dir or FILELIST_DIR
    if log.exists() and find_lists(kept):
        if args.num_per_class is None:
            args.num_per_class = log.read_settings().get("num_per_class")
        return kept
    if not find_lists(folder):
        args.num_per_class = args.num_per_class or spec.num_per_class
        return None
    flags = {"-n": args.num_per_class is not None, "--severity_law": args.severity_law != "poisson"}
    for flag in (flag for flag, is_given in flags.items() if is_given):
        raise RunError(
            f"{flag} does not go with the lists in {folder}: leave it out, or move them away"
        )
    return folder


def settle_threads(args, log):
    """Fill in the number of threads: a run that is taken up goes on with its own."""
    if args.threads is None:
        args.threads = log.read_threads() if log.exists() else len(os.sched_getaffinity(0))


def fix_run_threads(args, log, device):
    """Let the CPU compute with the run's threads.

    Returns:
        A line for the log where a run that is taken up cannot have them; None otherwise.
    """
    if device != "CPU":
        return None
    found = fix_threads(args.threads)
    if found == args.threads:
        return None
    if not log.exists():
        raise RunError(f"--threads {args.threads}: there are {found} here: give at most as many")
    return (
        f"{args.threads} threads of the CPU's kernels until now, {found} from now on, as there are "
        f"no more here: the last bits will be others than without this interruption"
    )


def read_data(args, lists):
    """The data that the settings ask for."""
    from dataset.prepare_dataset import prepare_dataset

    with interruptible():
        return prepare_dataset(
            DATASETS[args.dataset],
            args.data_dir,
            args.corruption,
            None if lists else args.num_per_class,
            args.num_severity,
            args.seed,
            num_val=args.num_val,
            num_test=args.num_test,
            filelist_dir=lists,
            severity_law=args.severity_law,
            **making(args),
        )


def check_pretrained(args):
    """Refuse weights that do not fit before anything long starts."""
    from sharpdro.networks.pretrained import load_pretrained

    load_pretrained(build_network(args)[0], args.pretrained)


def check_resumable(args, log):
    """Refuse to go on with a run that has kept nothing to go on from."""
    if not args.save_last:
        raise RunError(f"{log.folder} was run with --no-save_last and cannot be resumed")


def count_images(args):
    """The number of training images, before they are read; None where lists say which they are."""
    from dataset.poisson import severity_counts

    if args.num_per_class is None:
        return None
    per_class = severity_counts(args.num_per_class, args.num_severity).sum()
    return DATASETS[args.dataset].num_classes * int(per_class)


def count_steps(args, num_images):
    """Full batches in the training set."""
    from dataset.batches import steps_per_epoch

    steps = steps_per_epoch(num_images, args.batch_size)
    if steps == 0:
        raise RunError(
            f"-b {args.batch_size} is more than the {num_images} training images: lower -b"
            + (" or raise -n" if args.num_per_class else "")
        )
    return steps


def find_run(args, name):
    """The run's directory and the lists that it goes by; refuses what could not be run there."""
    check_launch(args.distributed, args.batch_size)
    if args.tensorboard:
        require_tensorboardx()
    log = open_log(args, name)
    lists = settle_lists(args, log)
    settle_threads(args, log)
    if log.exists():
        check_same(log, recorded(args))
    return log, lists


def check_possible(args, log):
    """Refuse what can be told without data, so that all processes do, the scheduler too."""
    if log.exists():
        check_resumable(args, log)
    expected = count_images(args)
    if expected is not None:
        count_steps(args, expected)
    check_device(args)


def check_device(args):
    """Refuse a device that is not there, or flags that it does not know; returns the device."""
    device = find_device(args.device_target)
    if args.data_sink and device == "CPU":
        raise RunError("--data_sink needs a GPU or Ascend device: leave it out on a CPU")
    check_kernels(args, device)
    return device


def get_ready(args, log, lists):
    """The data and the number of steps per epoch."""
    if args.pretrained and not log.exists():
        check_pretrained(args)
    data = read_data(args, lists)
    return data, count_steps(args, len(data.train.labels))


def _open(args, log, environment, data):
    """Take the run's directory; another process may have worked in it since it was looked at."""
    with contextlib.ExitStack() as when_refused:
        log.lock()
        when_refused.callback(log.close)
        check_free(args, log)
        if log.exists():
            check_same(log, recorded(args))
            check_same_images(args, log, data["images_crc32"])
        log.open(recorded(args), environment, data)
        when_refused.pop_all()


def check_equal(args, team, sums):
    """See that all processes have the same settings and images."""
    if team.size == 1:
        return
    own = {k: v for k, v in recorded(args).items() if k not in FREE_ON_RESUME}
    team.check_equal("the flags", checksum(json.dumps(own).encode()), "give all the same")
    advice = "let all have the same --data_dir, or equal ones"
    team.check_equal("the data", checksum(json.dumps(sums).encode()), advice)


def begin(args, log, team, device, data):
    """Open the run's directory; returns what this process writes to."""
    from sharpdro.run_folder.environment import describe_environment

    sums = data.checksums()
    check_equal(args, team, sums)
    environment = {**describe_environment(device), "processes": team.size}
    before = log.last_processes() if log.exists() else team.size
    is_unrecorded = log.exists() and not log.read_images()
    facts = {"foreign_arrays": data.num_foreign, "images_crc32": sums}
    team.run_on_first(partial(_open, args, log, environment, facts))
    if not team.is_first:
        log, args.show_progress, args.tensorboard = SilentLog(log.folder), False, False
    if before != team.size:
        log.say(
            f"{before} processes until now, {team.size} from now on: batch norm sees other parts"
        )
    if is_unrecorded:
        log.say(
            "begun by a version that did not record its images: not compared, those that are there "
            "now are recorded"
        )
    return log
