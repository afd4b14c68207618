"""How a training run begins: what is refused, what is read, who takes part."""

from dataset.filelists import FILELIST_DIR, find_lists
from dataset.specs import DATASETS
from sharpdro.device import select_device
from sharpdro.errors import RunError
from sharpdro.interrupts import interruptible
from sharpdro.jobs.shared import build_network, check_same, making, open_log, recorded
from sharpdro.run_log import SilentLog
from sharpdro.team import check_launch, join
from sharpdro.tensorboard import require_tensorboardx


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
    if args.num_per_class is not None:
        raise RunError(
            f"-n does not go with the lists in {folder}: leave it out, or move them away"
        )
    return folder


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
            **making(args),
        )


def check_pretrained(args):
    """Refuse weights that do not fit before anything long starts."""
    from sharpdro.pretrained import load_pretrained

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
    from dataset.pipeline import steps_per_epoch

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
    if log.exists():
        check_same(log, recorded(args))
    return log, lists


def get_ready(args, log, lists):
    """The device, the data and the number of steps per epoch; what cannot be is refused early."""
    if log.exists():
        check_resumable(args, log)
    expected = count_images(args)
    if expected is not None:
        count_steps(args, expected)  # refused at once where there is no step
    device = select_device(args.device_target)
    if args.data_sink and device == "CPU":
        raise RunError("--data_sink needs a GPU or Ascend device: leave it out on a CPU")
    if args.pretrained and not log.exists():
        check_pretrained(args)
    data = read_data(args, lists)
    return device, data, count_steps(args, len(data.train.labels))


def begin(args, log, device):
    """Open the run's directory; returns the processes of the run and what this one writes to."""
    from sharpdro.environment import describe_environment

    team = join(args.distributed)
    environment = {**describe_environment(device), "processes": team.size}
    team.first_does(lambda: log.open(recorded(args), environment))
    if not team.is_first:
        log, args.show_progress, args.tensorboard = SilentLog(log.folder), False, False
    return team, log
