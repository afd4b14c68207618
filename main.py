#!/usr/bin/env python3
"""Train or evaluate an image classifier that holds up on photon-limited corruptions."""

import contextlib
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from sharpdro.device import select_device
from sharpdro.errors import RunError
from sharpdro.interrupts import hold_interrupts, interruptible
from sharpdro.program import run_program

with hold_interrupts():  # NumPy and SciPy start threads
    import numpy as np

    from dataset.filelists import FILELIST_DIR, find_lists
    from dataset.specs import DATASETS
    from sharpdro.command_line import (
        FREE_ON_RESUME,
        FROM_CHECKPOINT,
        OWN_IN_EVALUATION,
        default_of,
        parse,
    )
    from sharpdro.methods import FIRST_STAGE_FOLDER, METHODS, variant
    from sharpdro.tensorboard import convert_tables, event_file, require_tensorboardx

# More corruptions than this are counted in the name of an evaluation's directory.
MAX_NAMED = 3
CONTINUE = "a training run goes on after its last finished epoch with the same command and --resume"


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
            args.num_per_class = log.read_settings()["num_per_class"]
        return kept
    if not find_lists(folder):
        args.num_per_class = args.num_per_class or spec.num_per_class
        return None
    if args.num_per_class is not None:
        raise RunError(
            f"-n does not go with the lists in {folder}: leave it out, or move them away"
        )
    return folder


def lists_for_evaluation(args):
    """Where the list of test images lies: with the checkpoint's run, unless another is named."""
    if not DATASETS[args.dataset].class_names:
        return None
    run = args.checkpoint.resolve().parent
    kept = [folder / FILELIST_DIR.name for folder in (run, run.parent)]
    return args.filelist_dir or next(filter(find_lists, kept), FILELIST_DIR)


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


def build_network(args):
    """The network with seeded initial weights, and the normalisation in front of it."""
    import mindspore as ms

    from sharpdro.networks import create_network

    ms.set_seed(args.seed)
    return create_network(args.model, DATASETS[args.dataset], args.depth, args.widen_factor)


def evaluating(args):
    """How sets of images are gone through."""
    return {"batch_size": args.eval_batch_size, "show_progress": args.show_progress}


def check_pretrained(args):
    """Refuse weights that do not fit before anything long starts."""
    from sharpdro.pretrained import load_pretrained

    load_pretrained(build_network(args)[0], args.pretrained)


def log_of(args, last_part):
    """The run's directory."""
    from sharpdro.run_log import RunLog, run_name

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
    for key in sorted(now.keys() - FREE_ON_RESUME):
        earlier = before.get(key, default_of(key))
        if now[key] != earlier:
            raise RunError(
                f"--{key} is {now[key]}, but {log.folder} was started with {earlier}: "
                f"give the same, or choose another --desc"
            )


def check_resumable(args, log):
    """Refuse to go on with a run that is another one."""
    check_same(log, recorded(args))
    if not args.save_last:
        raise RunError(f"{log.folder} was run with --no-save_last and cannot be resumed")


def make_plan(args, steps):
    """How long to train and what to keep."""
    from sharpdro.schedule import learning_rate_at
    from sharpdro.trainer import Plan

    return Plan(
        total_epoch=args.total_epoch,
        steps_per_epoch=steps,
        learning_rate=partial(
            learning_rate_at,
            total_epoch=args.total_epoch,
            base=args.lr,
            use_schedule=args.scheduler,
        ),
        log_train=args.log_train,
        eval_every=args.eval_every,
        best_metric=args.best_metric,
        save_step=args.save_step,
        save_last=args.save_last,
        save_best=args.save_best,
        show_progress=args.show_progress,
    )


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


def events(args, plan, log):
    """Where the rows of a run's tables go besides, as a context."""
    if not args.tensorboard:
        return contextlib.nullcontext(lambda table, rows: None)
    return event_file(log.events, plan.steps_per_epoch)


def step_settings(args, method):
    """The settings of a method's training step."""
    return {key: getattr(args, key) for key in METHODS[method].step_settings}


def create_step(args, network, method, settings, groups, num_groups):
    """A method's training step, with its optimizer; `groups` are those of the training images."""
    from sharpdro.optimizer import create_sgd
    from sharpdro.train_step import create_train_step

    optimizer = create_sgd(network.trainable_params(), args.lr, args.momentum, args.weight_decay)
    if "group_adjustment" in settings:
        settings = {**settings, "group_sizes": np.bincount(groups, minlength=num_groups)}
    return create_train_step(method, network, optimizer, num_groups, **settings)


def train_network(args, plan, log, data, method, sampler, settings, num_inferred=None):
    """Train one network from scratch, or go on with what the log's folder has of it.

    Its groups are the severities, unless a number of inferred ones is given.

    Returns:
        The network's evaluator.
    """
    from dataset.pipeline import training_batches
    from sharpdro.evaluate import Evaluator, for_each_severity
    from sharpdro.pretrained import load_pretrained
    from sharpdro.run_log import LAST_CHECKPOINT
    from sharpdro.trainer import Trainer

    network, normalize = build_network(args)
    if args.pretrained and not (log.folder / LAST_CHECKPOINT).exists():
        log.say(load_pretrained(network, args.pretrained))
    measure = Evaluator(network, normalize)
    sets = {"validation": data.validation, "test": data.test}
    num_groups = num_inferred or args.num_severity + 1
    with events(args, plan, log) as on_rows:
        Trainer(
            plan,
            create_step(args, network, method, settings, data.train.groups, num_groups),
            normalize,
            batches=lambda epoch: training_batches(
                data.train, args.batch_size, args.seed, epoch, args.augment_data, sampler
            ),
            evaluate=lambda split: for_each_severity(
                measure, split, sets[split], **evaluating(args)
            ),
            log=log,
            settings=recorded(args),
            num_severities=args.num_severity + 1,
            are_groups_inferred=num_inferred is not None,
            on_rows=on_rows,
        ).train()
    return measure


def first_stage_of(args):
    """What comes before the method's training; None: nothing."""
    from sharpdro.first_stage import FIRST_STAGES

    if args.method not in FIRST_STAGES:
        return None
    settings = {name: getattr(args, name) for name in METHODS[args.method].stage_settings}
    return FIRST_STAGES[args.method](**settings, seed=args.seed, show_progress=args.show_progress)


def run_first_stage(args, plan, log, data):
    """Train by ERM and learn from it what the second stage is to train on.

    Returns:
        The second stage's training set, and the number of groups if they are inferred ones.
    """
    from dataset.pipeline import every_row
    from sharpdro.evaluate import for_each_severity
    from sharpdro.first_stage import learn_from_first_stage

    stage = first_stage_of(args)
    part = log.stage(FIRST_STAGE_FOLDER)
    only_last = {"eval_every": stage.epochs, "save_step": 0, "save_best": False}
    plan = replace(plan, total_epoch=stage.epochs, **only_last)
    sampler = "replacement" if args.sampler == "balanced" else args.sampler  # no groups yet

    def predict():
        log.say(f"stage 1 of 2: ERM until epoch {stage.epochs}, in {part.folder}")
        measure = train_network(args, plan, part, data, "erm", sampler, {})
        every = every_row(data.train)
        (logits,) = for_each_severity(measure.predict, "training", every, **evaluating(args))
        return logits

    if args.tensorboard and (part.folder / stage.file).exists():  # nothing will be trained
        convert_tables(part.folder, part.events)
    train = learn_from_first_stage(stage, part.folder, data.train, predict, log.say)
    log.say(f"stage 2 of 2: {args.total_epoch} epochs from scratch")
    return train, stage.num_inferred


def train(args):
    """Train by one method."""
    name = variant(args.method, args.distribution_agnostic)
    if args.tensorboard:
        require_tensorboardx()
    log = open_log(args, name)
    lists = settle_lists(args, log)
    if log.exists():
        check_resumable(args, log)
    if log.is_finished():
        if args.tensorboard:
            stages = [log.stage(FIRST_STAGE_FOLDER)] if METHODS[name].stage_settings else []
            for part in (*stages, log):
                convert_tables(part.folder, part.events)
        print(f"finished already: {log.folder}")
        return
    expected = count_images(args)
    if expected is not None:
        count_steps(args, expected)  # refused at once where there is no step
    device = select_device(args.device_target)
    if args.pretrained and not log.exists():
        check_pretrained(args)
    data = read_data(args, lists)
    steps = count_steps(args, len(data.train.labels))

    from sharpdro.environment import describe_data, describe_environment

    log.open(recorded(args), describe_environment(device))
    with contextlib.closing(log):
        log.keep(FILELIST_DIR.name, data.lists)
        log.say(describe_data(log.folder, device, data))
        if lists:
            log.say(f"which photograph belongs where is said by the lists in {lists}")
        if args.tensorboard:
            log.say(f"for TensorBoard: tensorboard --logdir {log.events}")
        plan, num_inferred = make_plan(args, steps), None
        if METHODS[name].stage_settings:
            chosen, num_inferred = run_first_stage(args, plan, log, data)
            data = replace(data, train=chosen)
        settings = step_settings(args, name)
        for key, value in settings.items():
            if key.endswith("_warmup") and value >= steps * args.total_epoch:
                log.say(f"--{key} {value} outlasts the run: the penalty's weight stays 1")
        train_network(args, plan, log, data, name, args.sampler, settings, num_inferred)


def dry_run(args):
    """Tell what training would do and what stands in its way; write nothing."""
    from sharpdro.dry_run import Report, describe_progress

    report = Report(partial(print, flush=True))
    log = log_of(args, variant(args.method, args.distribution_agnostic))
    if args.tensorboard:
        report.attempt(require_tensorboardx)
    report.attempt(check_free, args, log)
    report.attempt(log.check_unlocked)
    lists = report.attempt(settle_lists, args, log)
    is_resumed = args.resume and log.exists()
    if is_resumed:
        report.attempt(check_resumable, args, log)
        if report.attempt(log.is_finished):
            report.say("run", f"{log.folder}: finished already, nothing would be done")
            report.close()
            return
    device = report.attempt(select_device, args.device_target)
    if device is None:
        select_device("auto")
    if args.pretrained and not is_resumed:
        report.attempt(check_pretrained, args)
    stage = first_stage_of(args)
    done = describe_progress(report, log, is_resumed, stage and stage.file)
    report.say("device", device or f"no {args.device_target} here")
    sizes = describe_images(args, report, lists)
    steps = sizes and report.attempt(count_steps, args, sum(sizes.per_severity))
    describe_network(args, report)
    if steps:
        describe_length(args, report, device, steps, sizes, stage, *done)
    report.close()


def describe_images(args, report, lists):
    """Tell what there is of the data and how they would be shared out; returns their sizes."""
    from sharpdro.dry_run import describe_data, describe_split

    spec = DATASETS[args.dataset]
    if spec.class_names:
        report.say("lists", f"those in {lists}" if lists else "none: shared out by -n and --seed")
    with interruptible():
        clean = describe_data(
            report, spec, args.data_dir, args.corruption, args.num_severity, args.frost_dir
        )
        return describe_split(
            report,
            clean,
            spec=spec,
            data_dir=args.data_dir,
            filelist_dir=lists,
            num_per_class=None if lists else args.num_per_class or spec.num_per_class,
            num_severity=args.num_severity,
            seed=args.seed,
            num_val=args.num_val,
            num_test=args.num_test,
        )


def describe_network(args, report):
    """Tell what would be trained, and how."""
    shape = f"-{args.depth}-{args.widen_factor}" if args.model == "wideresnet" else ""
    number = sum(p.size for p in build_network(args)[0].trainable_params())
    report.say("model", f"{args.model}{shape}: {number:,} parameters")
    name = variant(args.method, args.distribution_agnostic)
    passes = METHODS[name].passes
    report.say("method", f"{name}: {passes} pass{'es' if passes > 1 else ''} per step")


def describe_length(args, report, device, steps, sizes, stage, last, first):
    """Tell what is left to train, and on a device try it out to tell how long it would take."""
    from sharpdro.dry_run import describe_steps, describe_time
    from sharpdro.time_estimate import stages_left

    def create(method, num_groups):
        network, normalize = build_network(args)
        settings, groups = step_settings(args, method), np.arange(num_groups)
        step = create_step(args, network, method, settings, groups, num_groups)
        return network, normalize, step

    name = variant(args.method, args.distribution_agnostic)
    eval_batch = min(args.eval_batch_size, max(sizes.validation, sizes.test))
    plan = make_plan(args, steps)
    stages = stages_left(plan, sizes, eval_batch, last, first, name, stage, create)
    describe_steps(report, stages, steps)
    if device:
        spec, augmented = DATASETS[args.dataset], args.augment_data
        describe_time(report, stages, steps, spec, args.batch_size, eval_batch, augmented)


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

    from sharpdro.networks import load_trained

    trained = load_trained(args.checkpoint)
    check_classes(args, trained)
    own = {k: v for k, v in recorded(args).items() if k in FROM_CHECKPOINT | OWN_IN_EVALUATION}
    settings = {**own, "epoch": trained.epoch, "trained_with": trained.settings}
    if log.exists():
        check_same(log, settings)
    return log, settings, trained


def evaluate(args):
    """Measure one checkpoint on the test set; returns the directory of the tables."""
    device = select_device(args.device_target)
    log, settings, trained = begin_evaluation(args)

    from dataset.prepare_dataset import prepare_test_sets
    from sharpdro.environment import describe_environment

    with interruptible():
        sets = prepare_test_sets(
            DATASETS[args.dataset],
            args.data_dir,
            args.corruption,
            args.num_severity,
            num_test=args.num_test,
            filelist_dir=lists_for_evaluation(args),
            published_dir=args.published,
            **making(args),
        )
    log.open(settings, describe_environment(device))
    with contextlib.closing(log):
        measure_all(args, log, trained, sets)
    return log.folder


def measure_all(args, log, trained, sets):
    """Measure a network on several corruptions, but for those that were measured already."""
    from sharpdro.evaluate import Evaluator, for_each_severity
    from sharpdro.measurements import measure_corruptions
    from sharpdro.summary import accuracy_table

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
        clean.extend(scores[: 1 - len(clean)])
        return [*clean, *scores[-args.num_severity :]]

    rows = measure_corruptions(log.folder / "test.csv", trained.epoch, args.corruption, measure)
    log.say(
        f"test accuracy in percent per severity of {args.checkpoint} (epoch {trained.epoch})\n"
        f"{accuracy_table(rows)}\nwritten to {log.folder}"
    )


def main(argv=None):
    """Run the program; returns its exit code."""

    def work():
        args = parse(argv)
        what = evaluate if args.eval_only else dry_run if args.dry_run else train
        what(args)

    return run_program("main.py", work, CONTINUE)


if __name__ == "__main__":
    sys.exit(main())
