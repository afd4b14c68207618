"""How a training run is prepared: what is refused, what is read, who takes part."""

import contextlib
import json
from functools import partial

from corruptions.interrupts import interruptible
from dataset.batches import steps_per_epoch
from dataset.own_data import describe_own_data
from dataset.poisson import severity_counts
from dataset.prepare_dataset import prepare_dataset
from sharpdro.command_line.checks import check_shares
from sharpdro.command_line.flags import FREE_ON_RESUME
from sharpdro.command_line.settings import dataset_spec, find_filelists, recorded
from sharpdro.device import find_device, fix_threads
from sharpdro.distributed.process_group import checksum
from sharpdro.errors import RunError
from sharpdro.jobs.shared import check_free, check_kernels, check_same, making
from sharpdro.run_folder.environment import describe_environment
from sharpdro.run_folder.folder import IMAGES, PRETRAINED, SilentRunFolder
from sharpdro.run_folder.tensorboard import require_tensorboardx
from sharpdro.run_folder.tracker import load_function


def checks_of_folder(args, run):
    """What must hold for the run's directory to be used, as functions that refuse it."""
    if args.tensorboard:
        yield require_tensorboardx
    if args.on_rows is not None:
        yield partial(load_function, args.on_rows)
    yield partial(check_free, args, run)
    lists = find_filelists(args)
    if lists is not None and lists.parent != run.path:
        yield partial(check_shares, args, lists)
    if args.resume and run.exists():
        yield partial(check_same, run, recorded(args))


def checks_without_data(args, run):
    """What must hold unless the run is finished; every process can check it independently."""
    if args.resume and run.exists():
        yield partial(_check_resumable, args, run)
    if args.num_per_class is not None:  # else lists say which images there are
        per_class = int(severity_counts(args.num_per_class, args.num_severity).sum())
        yield partial(count_steps, args, dataset_spec(args).num_classes * per_class)
    yield partial(check_device, args)


def _check_resumable(args, run):
    if not args.save_last:
        raise RunError(
            f"{run.path} was run with --no-save_last and cannot be resumed: choose another --desc"
        )


def count_steps(args, num_images):
    """Full batches in the training set; refuses one that does not fill any."""
    steps = steps_per_epoch(num_images, args.batch_size)
    if steps == 0:
        raise RunError(
            f"-b {args.batch_size} is more than the {num_images} training images: lower -b"
            + (" or raise -n" if args.num_per_class else "")
        )
    return steps


def check_device(args):
    """Refuse a device that is not there, or flags that it does not know; returns the device."""
    device = find_device(args.device_target)
    check_kernels(args, device)
    return device


def fix_run_threads(args, run, device):
    """Let the CPU compute with the run's threads.

    Returns:
        A line for the log where a run that is resumed cannot have them; None otherwise.
    """
    if device != "CPU":
        return None
    num_threads = fix_threads(args.threads)
    if num_threads == args.threads:
        return None
    if not run.exists():
        raise RunError(
            f"--threads {args.threads}: this machine has {num_threads} cores: give at most as many"
        )
    return (
        f"{args.threads} threads of the CPU's kernels until now, {num_threads} from now on, as "
        f"there are no more here: results may differ in the last bits from an uninterrupted run"
    )


def read_data(args, run, lists, may_write=True):
    """The data that the settings ask for; see `prepare_dataset`."""
    before = run.read_settings() if args.resume and run.exists() else {}
    with interruptible():
        return prepare_dataset(
            dataset_spec(args),
            args.data_dir,
            *args.corruption,
            None if lists else args.num_per_class,
            args.num_severity,
            args.seed,
            num_val=args.num_val,
            num_test=args.num_test,
            filelist_dir=lists,
            severity_law=args.severity_law,
            fingerprint=before.get("fingerprint"),
            may_write=may_write,
            **making(args),
        )


def describe_own(args):
    """What is to be said of the user's own data; of other datasets nothing."""
    return describe_own_data(dataset_spec(args), args.data_dir)


def prepare_data(args, run, lists):
    """The data and the number of steps per epoch."""
    data = read_data(args, run, lists)
    return data, count_steps(args, len(data.train.labels))


def check_same_images(args, run, checksums):
    """Refuse to go on with a run of other images.

    Args:
        args: the settings.
        run: the run's directory.
        checksums: what `PreparedData.checksums` returns.
    """
    before = run.read_images()
    for part, values in checksums.items():
        for severity, (earlier, now) in enumerate(zip(before.get(part, []), values)):
            if now != earlier:
                raise RunError(
                    f"the {part} images of {_place(args, part, severity)} differ from those "
                    f"that {run.path} was started with: restore them, name the --data_dir that "
                    f"holds them, or choose another --desc"
                )


def _place(args, part, severity):
    spec = dataset_spec(args)
    if severity == 0:
        return f"severity 0 ({spec.name} in {args.data_dir})"
    split = "test" if part == "test" else "train"
    (corruption,) = args.corruption
    return args.data_dir / spec.corrupted_folder / split / str(severity) / f"{corruption}.npy"


def check_same_weights(args, run, crc32):
    """Refuse to go on with a run of other --pretrained weights.

    Args:
        args: the settings.
        run: the run's directory.
        crc32: of their file; None: they are not needed any more.
    """
    before = run.read_pretrained()
    if None not in (before, crc32) and crc32 != before:
        raise RunError(
            f"--pretrained {args.pretrained} is no longer the file that {run.path} was started "
            f"with: restore it, or choose another --desc"
        )


def check_equal(args, processes, checksums):
    """Check that all processes have the same settings and images."""
    if processes.size == 1:
        return
    of_run = {k: v for k, v in recorded(args).items() if k not in FREE_ON_RESUME}
    processes.check_equal("the flags", checksum(json.dumps(of_run).encode()), "give all the same")
    advice = "let all have the same --data_dir, or equal ones"
    processes.check_equal("the data", checksum(json.dumps(checksums).encode()), advice)


def _open(args, run, environment, data):
    """Take the run's directory; another process may have worked in it since it was looked at."""
    with contextlib.ExitStack() as when_refused:
        run.lock()
        when_refused.callback(run.close)
        check_free(args, run)
        if run.exists():
            check_same(run, recorded(args))
            check_same_images(args, run, data[IMAGES])
            check_same_weights(args, run, data.get(PRETRAINED))
        run.open(recorded(args), environment, data)
        when_refused.pop_all()


def open_run(args, run, processes, device, data, initial):
    """Open the run's directory; returns what this process writes to."""
    checksums = data.checksums()
    check_equal(args, processes, checksums)
    environment = {**describe_environment(device), "processes": processes.size}
    before = run.last_processes() if run.exists() else processes.size
    is_unrecorded = run.exists() and not run.read_images()
    facts = {
        "training_images": data.train.counts(args.num_severity + 1),
        "foreign_arrays": data.num_foreign,
        IMAGES: checksums,
    }
    if initial.crc32:
        facts[PRETRAINED] = initial.crc32
    if remarks := describe_own(args):
        facts["remarks"] = remarks
    processes.run_on_first(partial(_open, args, run, environment, facts))
    if not processes.is_first:
        return SilentRunFolder(run.path)
    if before != processes.size:
        run.say(
            f"{before} processes until now, {processes.size} from now on: "
            f"batch norm takes the statistics of other parts of a batch"
        )
    if is_unrecorded:
        run.say(
            "the version that began this run did not record its images: not compared; those that "
            "are there now are recorded"
        )
    return run
