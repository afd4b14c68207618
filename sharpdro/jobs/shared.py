"""What the jobs share: the network, how images are made, what is refused."""

import zlib
from dataclasses import dataclass
from functools import partial

import mindspore as ms
from mindspore import nn

from sharpdro.command_line.flags import FREE_ON_RESUME, default_of
from sharpdro.command_line.settings import dataset_spec
from sharpdro.cpu_kernels.build import check_machine
from sharpdro.errors import RunError
from sharpdro.networks.build import create_network
from sharpdro.networks.own import check_logits
from sharpdro.networks.pretrained import load_pretrained
from sharpdro.own_code import is_place
from sharpdro.run_folder.folder import BEST_CHECKPOINT, LAST_CHECKPOINT, PREVIOUS_CHECKPOINT


def making(args):
    """How images that are missing are made."""
    return {
        "frost_dir": args.frost_dir,
        "num_workers": args.num_workers,
        "show_progress": args.show_progress,
        "report": partial(print, flush=True),
    }


def describe_limits(args, **there):
    """What is to be said where --num_val or --num_test ask for more images than there are.

    Args:
        args: the settings.
        there: the number of images, by the name of the flag.
    """
    for flag, number in there.items():
        wanted = getattr(args, flag)
        if wanted > number:
            yield f"--{flag} {wanted}: there are {number:,} images, and all are taken"


def build_network(args):
    """The network with seeded initial weights, and the normalisation in front of it."""
    ms.set_seed(args.seed)
    spec = dataset_spec(args)
    return create_network(args.model, spec, args.depth, args.widen_factor, args.cpu_kernels)


def check_network(args):
    """Refuse a network of the user's own that cannot be trained; returns one of the settings'."""
    network, _ = build_network(args)
    if is_place(args.model):
        spec = dataset_spec(args)
        check_logits(args.model, network, spec.side, spec.num_classes)
    return network


@dataclass(frozen=True)
class InitialNetwork:
    """A network as training begins with it, unless there is a checkpoint to go on from.

    Args:
        network: float32 (N, 3, H, W) to logits.
        normalize: uint8 (N, H, W, 3) to what the network takes.
        about: a line for the log about --pretrained weights; None: there are none.
        crc32: of their file, in hex; None: there are none.
    """

    network: nn.Cell
    normalize: nn.Cell
    about: str | None
    crc32: str | None


def initial_network(args, folder):
    """The network that a run in this directory begins with or, if it has begun, goes on with.

    Raises:
        RunError: the --pretrained weights cannot be read or do not fit.
    """
    network, normalize = build_network(args)
    kept = (LAST_CHECKPOINT, PREVIOUS_CHECKPOINT)
    if not args.pretrained or any((folder / name).exists() for name in kept):
        return InitialNetwork(network, normalize, None, None)
    about = load_pretrained(network, args.pretrained)
    crc32 = f"{zlib.crc32(args.pretrained.read_bytes()):08x}"
    return InitialNetwork(network, normalize, about, crc32)


def check_kernels(args, device):
    """Refuse --cpu_kernels that this device, or this machine, cannot have; compiles them."""
    if args.cpu_kernels == "stock":
        return
    if device != "CPU":
        raise RunError(
            f"--cpu_kernels {args.cpu_kernels} is not for {device}: leave it out, or choose "
            f"--device_target CPU"
        )
    check_machine(args.cpu_kernels)


def check_free(args, run):
    """Refuse to touch what another run left there."""
    run.check_writable()
    if run.exists() and not args.resume:
        can_resume = getattr(args, "save_last", True)  # evaluations always can
        resume = "add --resume to continue it, or " if can_resume else ""
        raise RunError(f"{run.path} exists already: {resume}choose another --desc")


def check_same(run, now):
    """Refuse to go on with a run of other settings."""
    before = run.read_settings()
    if "threads" in now:
        before["threads"] = run.read_threads()
    for key in sorted(now.keys() - FREE_ON_RESUME):
        earlier = before.get(key, default_of(key))
        if now[key] != earlier and key == "class_names":
            raise RunError(
                f"the classes in --data_dir {now['data_dir']} differ from those that "
                f"{run.path} was started with, such as {_example(now[key], earlier)}: name the "
                f"place of its images, or choose another --desc"
            )
        if key == "total_epoch" and _is_more(now[key], earlier):
            raise RunError(_why_not_longer(run, now[key], earlier))
        if now[key] != earlier:
            raise RunError(
                f"--{key} is {now[key]}, but {run.path} was started with {earlier}: "
                f"give the same, or choose another --desc"
            )


def _is_more(now: int, earlier) -> bool:
    return type(earlier) is int and now > earlier


def _why_not_longer(run, now: int, earlier: int) -> str:
    """What to do instead of giving a run more epochs than it was started with."""
    kept = [name for name in (BEST_CHECKPOINT, LAST_CHECKPOINT) if (run.path / name).exists()]
    finish = "" if run.is_finished() else f"give {earlier} to finish it. "
    return (
        f"--total_epoch is {now}, but {run.path} was started with {earlier}: a run cannot be made "
        f"longer, as its learning rates and its best epoch were chosen for that length. {finish}To "
        f"train its weights further, start a new run from them with --pretrained "
        f"{run.path / (kept or [BEST_CHECKPOINT])[0]} and another --desc; --scheduler none keeps "
        f"--lr as it is"
    )


def _example(names, others) -> str:
    """A class that only one of two lists has; of an old or damaged one, whatever it is."""
    return min({*names} ^ {*map(str, others or ())}, default=str(others))
