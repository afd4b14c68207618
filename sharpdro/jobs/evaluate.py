"""The job of --eval_only: one checkpoint on the test set."""

import contextlib
import zlib
from dataclasses import replace

from corruptions.interrupts import interruptible
from dataset.filelists import FILELIST_DIR, find_lists
from dataset.prepare_dataset import prepare_test_sets
from dataset.specs import DATASETS
from sharpdro.command_line.flags import FROM_CHECKPOINT, OWN_IN_EVALUATION
from sharpdro.device import select_device
from sharpdro.errors import RunError
from sharpdro.evaluation.evaluator import Evaluator, for_each_severity
from sharpdro.evaluation.measurements import measure_corruptions
from sharpdro.evaluation.summary import accuracy_table
from sharpdro.finiteness import check_loss
from sharpdro.jobs.shared import (
    check_free,
    check_kernels,
    check_same,
    evaluating,
    making,
    open_log,
    recorded,
)
from sharpdro.networks.build import load_trained
from sharpdro.run_folder.environment import describe_environment

# Of the checkpoint's file, in the settings.
CHECKSUM = "checkpoint_crc32"


def lists_of_run(dataset, checkpoint):
    """Where the list of test images lies: with the checkpoint's run, or in the project's folder."""
    if not DATASETS[dataset].class_names:
        return None
    run = checkpoint.resolve().parent
    kept = [folder / FILELIST_DIR.name for folder in (run, run.parent)]
    return next(filter(find_lists, kept), FILELIST_DIR)


def check_classes(args, trained):
    """Refuse a dataset of other classes than those that the network tells apart."""
    spec = DATASETS[args.dataset]
    if spec.num_classes != trained.spec.num_classes:
        raise RunError(
            f"-d {spec.name} has {spec.num_classes} classes, but {args.checkpoint} was trained on "
            f"the {trained.spec.num_classes} of {trained.spec.name}: name a dataset with as many"
        )


def begin_evaluation(args):
    """The evaluation's directory, its settings, and the network; refuses what cannot be measured.

    Nothing is written yet.
    """
    log = open_log(args, "eval")

    trained = load_trained(args.checkpoint, args.cpu_kernels)
    check_classes(args, trained)
    own = {k: v for k, v in recorded(args).items() if k in FROM_CHECKPOINT | OWN_IN_EVALUATION}
    settings = {**own, "epoch": trained.epoch, "trained_with": trained.settings}
    settings[CHECKSUM] = f"{zlib.crc32(args.checkpoint.read_bytes()):08x}"
    check_measurable(args, log, settings)
    return log, settings, trained


def check_measurable(args, log, settings):
    """Refuse to touch or to go on with what was measured otherwise, or of another checkpoint."""
    check_free(args, log)
    if not log.exists():
        return
    check_same(log, {name: value for name, value in settings.items() if name != CHECKSUM})
    if log.read_settings().get(CHECKSUM) != settings[CHECKSUM]:
        raise RunError(
            f"{log.folder} was measured with another file {args.checkpoint} than the one that "
            f"is there now: choose another --desc, or delete that folder"
        )


def evaluate(args):
    """Measure one checkpoint on the test set; returns the directory of the tables."""
    device = select_device(args.device_target)
    check_kernels(args, device)
    log, settings, trained = begin_evaluation(args)

    with interruptible():
        sets = prepare_test_sets(
            DATASETS[args.dataset],
            args.data_dir,
            args.corruption,
            args.num_severity,
            num_test=args.num_test,
            filelist_dir=args.filelist_dir or lists_of_run(args.dataset, args.checkpoint),
            published_dir=args.published,
            **making(args),
        )
    log.lock()
    with contextlib.closing(log):
        check_measurable(args, log, settings)  # another process may have worked there since
        log.open(settings, describe_environment(device))
        measure_all(args, log, trained, sets)
    return log.folder


def measure_all(args, log, trained, sets):
    """Measure a network on several corruptions, but for those that were measured already."""
    if trained.spec.name != args.dataset:
        log.say(
            f"{args.checkpoint} was trained on {trained.spec.name}: measured on {args.dataset} "
            f"with its normalisation, class 0 as class 0 and so on"
        )
    evaluator = Evaluator(trained.network, trained.normalize)
    clean = []  # one score, for all corruptions

    def measure(name):
        chosen = sets[name]
        corrupted = replace(chosen, arrays=chosen.arrays[len(clean) :])
        scores = for_each_severity(evaluator, f"test set, {name}", corrupted, **evaluating(args))
        for severity, score in enumerate(scores, len(clean)):
            check_loss(f"{args.checkpoint} on {name} at severity {severity}", score.loss)
        clean.extend(scores[: 1 - len(clean)])
        return [*clean, *scores[-args.num_severity :]]

    checksums = {name: sets[name].checksum() for name in args.corruption}
    rows = measure_corruptions(
        log.folder / "test.csv", trained.epoch, args.corruption, measure, checksums
    )
    log.say(
        f"test accuracy in percent per severity of {args.checkpoint} (epoch {trained.epoch})\n"
        f"{accuracy_table(rows)}\nwritten to {log.folder}"
    )
