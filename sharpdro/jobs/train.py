"""The job of training: one run, from its settings to its tables."""

import contextlib
import gc
import pkgutil
from dataclasses import replace
from functools import partial

import numpy as np

from dataset.filelists import FILELIST_DIR
from sharpdro.device import select_device
from sharpdro.distributed.process_group import is_follower, is_scheduler, join, schedule
from sharpdro.jobs.prepare import begin, check_possible, find_run, fix_run_threads, get_ready
from sharpdro.jobs.shared import build_network, evaluating, recorded
from sharpdro.methods.specs import FIRST_STAGE_FOLDER, METHODS, variant
from sharpdro.run_folder.tensorboard import convert_tables, event_file


def make_plan(args, steps):
    """How long to train and what to keep."""
    from sharpdro.training.plan import Plan
    from sharpdro.training.schedule import learning_rate_at

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
        on_nan=args.on_nan,
    )


def events(args, plan, log):
    """Where the rows of a run's tables go besides, as a context."""
    if not args.tensorboard:
        return contextlib.nullcontext(lambda table, rows: None)
    return event_file(log.events, plan.steps_per_epoch)


def step_settings(args, method):
    """The settings of a method's training step."""
    return {key: getattr(args, key) for key in METHODS[method].step_settings}


def create_step(args, network, method, settings, groups, num_groups, team):
    """A method's training step, with its optimizer; `groups` are those of the training images."""
    from sharpdro.methods.create import create_train_step
    from sharpdro.training.nan_guard import create_loss_scaler
    from sharpdro.training.optimizer import create_sgd

    optimizer = create_sgd(network.trainable_params(), args.lr, args.momentum, args.weight_decay)
    if METHODS[method].weights_groups:
        settings = {**settings, "group_sizes": np.bincount(groups, minlength=num_groups)}
    if args.amp_level != "O0":
        settings = {**settings, "loss_scaler": create_loss_scaler()}
    settings = {**settings, "collectives": team.collectives(args.local_perturbation)}
    return create_train_step(method, network, optimizer, num_groups, **settings)


def train_network(args, team, plan, log, data, method, sampler, settings, num_inferred=None):
    """Train one network from scratch, or go on with what the log's folder has of it.

    Its groups are the severities, unless a number of inferred ones is given.

    Returns:
        The network's evaluator.
    """
    import mindspore as ms

    from dataset.batches import training_batches
    from sharpdro.evaluation.evaluator import Evaluator, for_each_severity
    from sharpdro.networks.pretrained import load_pretrained
    from sharpdro.run_folder.folder import LAST_CHECKPOINT
    from sharpdro.training.trainer import RunRecord, Trainer, TrainingInputs

    # If an older graph of equal inputs, such as the first stage's, is destroyed after the first
    # step, MindSpore forgets their number and compiles this one again.
    gc.collect()
    network, normalize = build_network(args)
    if args.pretrained and not (log.folder / LAST_CHECKPOINT).exists():
        log.say(load_pretrained(network, args.pretrained))
    network = ms.amp.auto_mixed_precision(network, args.amp_level)
    measure = Evaluator(network, normalize, team)
    sets = {"validation": data.validation, "test": data.test}
    num_groups = num_inferred or args.num_severity + 1
    with events(args, plan, log) as on_rows:
        Trainer(
            plan,
            create_step(args, network, method, settings, data.train.groups, num_groups, team),
            TrainingInputs(
                normalize,
                batches=lambda epoch: training_batches(
                    *(data.train, args.batch_size, args.seed, epoch, args.augment_data, sampler),
                    *(team.rank, team.size),
                ),
                evaluate=lambda split: for_each_severity(
                    measure, split, sets[split], **evaluating(args), processes=team
                ),
                num_severities=args.num_severity + 1,
                are_groups_inferred=num_inferred is not None,
            ),
            RunRecord(log, recorded(args), on_rows),
            processes=team,
        ).train()
    return measure


def first_stage_of(args):
    """What comes before the method's training; None: nothing."""
    spec = METHODS[args.method]
    if spec.first_stage is None:
        return None
    settings = {name: getattr(args, name) for name in spec.stage_settings}
    stage = pkgutil.resolve_name(spec.first_stage)
    return stage(**settings, seed=args.seed, show_progress=args.show_progress)


def run_first_stage(args, team, plan, log, data):
    """Train by ERM and learn from it what the second stage is to train on.

    Returns:
        The second stage's training set, and the number of groups if they are inferred ones.
    """
    from dataset.batches import every_row
    from sharpdro.evaluation.evaluator import for_each_severity
    from sharpdro.training.first_stage import learn_from_first_stage

    stage = first_stage_of(args)
    part = log.stage(FIRST_STAGE_FOLDER)
    only_last = {"eval_every": stage.epochs, "save_step": 0, "save_best": False}
    plan = replace(plan, total_epoch=stage.epochs, **only_last)
    sampler = "replacement" if args.sampler == "balanced" else args.sampler  # no groups yet

    def predict():
        log.say(f"stage 1 of 2: ERM until epoch {stage.epochs}, in {part.folder}")
        measure = train_network(args, team, plan, part, data, "erm", sampler, {})
        every = every_row(data.train)
        (logits,) = for_each_severity(
            measure.predict, "training", every, **evaluating(args), processes=team
        )
        return logits

    if args.tensorboard and (part.folder / stage.file).exists():  # nothing will be trained
        convert_tables(part.folder, part.events)
    train = learn_from_first_stage(stage, part.folder, data.train, predict, log.say, team)
    log.say(f"stage 2 of 2: {args.total_epoch} epochs from scratch")
    return train, stage.num_inferred


def tell_finished(args, log, name):
    """There is nothing left to train; event files are made where they are asked for."""
    if args.tensorboard:
        stages = [log.stage(FIRST_STAGE_FOLDER)] if METHODS[name].first_stage else []
        for part in (*stages, log):
            convert_tables(part.folder, part.events)
        print(f"for TensorBoard: tensorboard --logdir {log.events}")
    print(f"finished already: {log.folder}")


def train_stages(args, team, log, data, name, steps):
    """Train by a method, after its first stage if it has one."""
    plan, num_inferred = make_plan(args, steps), None
    if METHODS[name].first_stage is not None:
        chosen, num_inferred = run_first_stage(args, team, plan, log, data)
        data = replace(data, train=chosen)
    settings = step_settings(args, name)
    warmup = METHODS[name].warmup
    if warmup is not None and settings[warmup] >= steps * args.total_epoch:
        log.say(f"--{warmup} {settings[warmup]} outlasts the run: the penalty's weight stays 1")
    train_network(args, team, plan, log, data, name, args.sampler, settings, num_inferred)


def train(args):
    """Train by one method."""
    name = variant(args.method, args.distribution_agnostic)
    log, lists = find_run(args, name)
    if log.is_finished():
        if not is_follower():
            tell_finished(args, log, name)
        return
    check_possible(args, log)
    if is_scheduler():
        select_device("CPU")
        schedule()
        return
    device = select_device(args.device_target)
    warning = fix_run_threads(args, log, device)
    # Before anything that takes long or may fail, so that the others learn of a process that ends.
    team = join(args.distributed)
    data, steps = get_ready(args, log, lists)

    from sharpdro.run_folder.environment import describe_data

    log = begin(args, log, team, device, data)
    with contextlib.closing(log), log.noting_errors():
        log.keep(FILELIST_DIR.name, data.lists)
        log.say(describe_data(log.folder, device, data))
        if warning:
            log.say(warning)
        if lists:
            log.say(f"which photograph belongs where is said by the lists in {lists}")
        if args.cpu_kernels != "stock":
            log.say(f"CPU kernels: {args.cpu_kernels}")
        if args.tensorboard:
            log.say(f"for TensorBoard: tensorboard --logdir {log.events}")
        if args.distributed:
            log.say(f"{team.size} processes, {args.batch_size // team.size} images of a batch each")
        train_stages(args, team, log, data, name, steps)
