"""What the jobs share: directories of runs, the network, how images are gone through."""

from functools import partial
from pathlib import Path

import mindspore as ms

from dataset.specs import DATASETS
from sharpdro.command_line.flags import FREE_ON_RESUME, default_of
from sharpdro.cpu_kernels.build import build_library
from sharpdro.errors import RunError
from sharpdro.networks.build import create_network
from sharpdro.run_folder.folder import RunLog, run_name

# More corruptions than this are counted in the name of an evaluation's directory.
MAX_NAMED = 3


def recorded(args):
    """All settings as JSON can hold them."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in sorted(vars(args).items())}


def making(args):
    """How images that are missing are made."""
    return {
        "frost_dir": args.frost_dir,
        "num_workers": args.num_workers,
        "show_progress": args.show_progress,
        "report": partial(print, flush=True),
    }


def evaluating(args):
    """How sets of images are gone through."""
    return {"batch_size": args.eval_batch_size, "show_progress": args.show_progress}


def build_network(args):
    """The network with seeded initial weights, and the normalisation in front of it."""
    ms.set_seed(args.seed)
    spec = DATASETS[args.dataset]
    return create_network(args.model, spec, args.depth, args.widen_factor, args.cpu_kernels)


def check_kernels(args, device):
    """Refuse --cpu_kernels that this device, or this machine, cannot have; compiles them."""
    if args.cpu_kernels == "stock":
        return
    if device != "CPU":
        raise RunError(
            f"--cpu_kernels {args.cpu_kernels} is not for {device}: leave it out, or choose "
            f"--device_target CPU"
        )
    build_library()


def log_of(args, last_part):
    """The run's directory."""
    names = args.corruption if args.eval_only else [args.corruption]
    called = "+".join(names) if len(names) <= MAX_NAMED else f"{len(names)}corruptions"
    name = run_name(args.desc, args.dataset, called, last_part, args.seed)
    return RunLog(args.log_dir / name)


def check_free(args, log):
    """Refuse to touch what another run left there."""
    log.check_writable()
    if log.exists() and not args.resume:
        raise RunError(
            f"{log.folder} exists already: add --resume to continue it, or choose another --desc"
        )


def open_log(args, last_part):
    """The run's directory, if it may be written."""
    log = log_of(args, last_part)
    check_free(args, log)
    return log


def check_same(log, now):
    """Refuse to go on with a run of other settings."""
    before = log.read_settings()
    if "threads" in now:
        before["threads"] = log.read_threads()
    for key in sorted(now.keys() - FREE_ON_RESUME):
        earlier = before.get(key, default_of(key))
        if now[key] != earlier:
            raise RunError(
                f"--{key} is {now[key]}, but {log.folder} was started with {earlier}: "
                f"give the same, or choose another --desc"
            )


def check_same_images(args, log, sums):
    """Refuse to go on with a run of other images.

    Args:
        args: the settings.
        log: the run's directory.
        sums: what `PreparedData.checksums` returns.
    """
    before = log.read_images()
    for part, values in sums.items():
        for severity, (earlier, now) in enumerate(zip(before.get(part, []), values)):
            if now != earlier:
                raise RunError(
                    f"the {part} images of {_place(args, part, severity)} are others than those "
                    f"that {log.folder} was begun with: restore them, name the --data_dir that "
                    f"holds them, or choose another --desc"
                )


def _place(args, part, severity):
    spec = DATASETS[args.dataset]
    if severity == 0:
        return f"severity 0 ({spec.name} in {args.data_dir})"
    split = "test" if part == "test" else "train"
    folder = args.data_dir / spec.corrupted_folder / split / str(severity)
    return folder / f"{args.corruption}.npy"
