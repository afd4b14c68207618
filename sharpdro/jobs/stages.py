"""The networks that a run trains: that of its first stage, if its method has one, and its own."""

import contextlib
import gc
import pkgutil
from dataclasses import dataclass, replace
from functools import partial

import mindspore as ms
import numpy as np

from dataset.batches import every_row, training_batches
from dataset.sets import PreparedData
from sharpdro.command_line.settings import method_name, recorded, run_folder, step_settings
from sharpdro.evaluation.evaluator import Evaluator, for_each_severity
from sharpdro.evaluation.logits import save_logits
from sharpdro.jobs.shared import InitialNetwork, initial_network
from sharpdro.methods.create import create_train_step
from sharpdro.methods.own import method_spec
from sharpdro.methods.specs import FIRST_STAGE_FOLDER
from sharpdro.run_folder.folder import RunFolder
from sharpdro.run_folder.tensorboard import convert_tables, event_file
from sharpdro.run_folder.tracker import Tracker
from sharpdro.training.first_stage import learn_from_first_stage
from sharpdro.training.nan_guard import create_loss_scaler
from sharpdro.training.optimizer import create_sgd
from sharpdro.training.plan import Plan
from sharpdro.training.schedule import learning_rate_at
from sharpdro.training.trainer import RunRecord, Trainer, TrainingInputs


@dataclass(frozen=True)
class Stage:
    """A network that is trained from its initial weights.

    Args:
        method: as `settings.method_name` gives it.
        plan: how long to train and what to keep.
        run: its directory.
        data: what it is trained and measured on.
        initial: the network.
        sampler: see --sampler.
        num_inferred: groups, if others than the severities.
    """

    method: str
    plan: Plan
    run: RunFolder
    data: PreparedData
    initial: InitialNetwork
    sampler: str
    num_inferred: int | None = None


def make_plan(args, steps, show_progress):
    """How long to train and what to keep."""
    learning_rate = partial(
        learning_rate_at,
        total_epoch=args.total_epoch,
        base=args.lr,
        scheduler=args.scheduler,
        warmup_epochs=args.warmup_epochs,
    )
    return Plan(
        total_epoch=args.total_epoch,
        steps_per_epoch=steps,
        learning_rate=learning_rate,
        log_train=args.log_train,
        eval_every=args.eval_every,
        best_metric=args.best_metric,
        save_step=args.save_step,
        save_last=args.save_last,
        save_best=args.save_best,
        show_progress=show_progress,
        on_nan=args.on_nan,
        save_logits=args.save_logits,
    )


def create_step(args, network, method, groups, num_groups, collectives=None):
    """A method's training step, with its optimizer.

    Args:
        args: the settings.
        network: float32 (N, 3, H, W) to logits.
        method: as `settings.method_name` gives it.
        groups: of the training images, ints (N,).
        num_groups: their number.
        collectives: of the run's processes; None: there is one.
    """
    settings = step_settings(args, method)
    if method_spec(method).weights_groups:
        settings["group_sizes"] = np.bincount(groups, minlength=num_groups)
    if args.amp_level != "O0":
        settings["loss_scaler"] = create_loss_scaler()
    optimizer = create_sgd(network.trainable_params(), args.lr, args.momentum, args.weight_decay)
    settings |= {"collectives": collectives, "clip_grad": args.clip_grad}
    return create_train_step(method, network, optimizer, num_groups, **settings)


@contextlib.contextmanager
def _listeners(args, processes, stage):
    """Where the rows of a stage's tables go besides: a function of a table's name and rows."""
    run, listeners = stage.run, []
    with contextlib.ExitStack() as opened:
        if args.tensorboard and processes.is_first:
            events = event_file(run.events, stage.plan.steps_per_epoch)
            listeners.append(opened.enter_context(events))
        if args.on_rows is not None and processes.is_first:
            name = str(run.path.relative_to(args.log_dir))
            listeners.append(Tracker(args.on_rows, name, recorded(args), run.say))

        def on_rows(table, rows):
            for listener in listeners:
                listener(table, rows)

        yield on_rows


def _batches(args, processes, stage, epoch):
    """The batches of an epoch, this process's share of each."""
    return training_batches(
        stage.data.train,
        args.batch_size,
        args.seed,
        epoch,
        augment_data=args.augment_data,
        sampler=stage.sampler,
        rank=processes.rank,
        size=processes.size,
    )


def _evaluate(args, processes, stage, evaluator, split, on_logits):
    """The scores per severity of "validation" or "test"; see `TrainingInputs`."""
    sets = {"validation": stage.data.validation, "test": stage.data.test}
    return for_each_severity(
        partial(evaluator, on_logits=on_logits),
        split,
        sets[split],
        args.eval_batch_size,
        show_progress=stage.plan.show_progress,
        processes=processes,
    )


def _facts(args, stage):
    """What summary.json says of the training besides its results."""
    counts = stage.data.train.counts(args.num_severity + 1)
    return {"training_images": counts, "cpus": RunFolder(run_folder(args)).read_cpus()}


def train_network(args, processes, stage):
    """Train a network, or go on with what the stage's folder has of it.

    Returns:
        The network's evaluator.
    """
    # If an older graph of equal inputs, such as the first stage's, is destroyed after the first
    # step, MindSpore forgets their number and compiles this one again.
    gc.collect()
    if stage.initial.about:
        stage.run.say(stage.initial.about)
    network = ms.amp.auto_mixed_precision(stage.initial.network, args.amp_level)
    normalize = stage.initial.normalize
    evaluator = Evaluator(network, normalize, processes)
    num_groups = stage.num_inferred or args.num_severity + 1
    collectives = processes.collectives(args.local_perturbation)
    step = create_step(
        args, network, stage.method, stage.data.train.groups, num_groups, collectives
    )

    def keep(folder, logits):
        save_logits(folder, *args.corruption, stage.data.test, logits)

    with _listeners(args, processes, stage) as on_rows:
        Trainer(
            stage.plan,
            step,
            TrainingInputs(
                normalize,
                batches=partial(_batches, args, processes, stage),
                evaluate=partial(_evaluate, args, processes, stage, evaluator),
                num_severities=args.num_severity + 1,
                are_groups_inferred=stage.num_inferred is not None,
            ),
            RunRecord(stage.run, recorded(args), on_rows, keep, _facts(args, stage)),
            processes=processes,
        ).train()
    return evaluator


def create_first_stage(args, show_progress):
    """What comes before the method's training; None: nothing."""
    spec = method_spec(method_name(args))
    if spec.first_stage is None:
        return None
    settings = {name: getattr(args, name) for name in spec.stage_settings}
    stage = pkgutil.resolve_name(spec.first_stage)
    return stage(**settings, seed=args.seed, show_progress=show_progress)


def run_first_stage(args, processes, second):
    """Train by ERM and learn from it what the second stage is to train on.

    Returns:
        The second stage with its training set and, if they are inferred ones, its groups.
    """
    run, plan = second.run, second.plan
    first_stage = create_first_stage(args, plan.show_progress)
    epochs, part = first_stage.epochs, run.stage(FIRST_STAGE_FOLDER)
    kept = {"save_step": 0, "save_best": False, "save_logits": False}
    plan = replace(plan, total_epoch=epochs, eval_every=epochs, **kept)
    sampler = "replacement" if args.sampler == "balanced" else args.sampler  # no groups yet
    train = second.data.train

    def predict():
        run.say(f"stage 1 of 2: ERM until epoch {epochs}, in {part.path}")
        initial = initial_network(args, part.path)
        first = Stage("erm", plan, part, second.data, initial, sampler)
        evaluator = train_network(args, processes, first)
        (logits,) = for_each_severity(
            evaluator.predict,
            "training",
            every_row(train),
            args.eval_batch_size,
            plan.show_progress,
            processes,
        )
        return logits

    # An event file would not be made by training, if there is nothing left to train.
    if args.tensorboard and processes.is_first and (part.path / first_stage.file).exists():
        convert_tables(part.path, part.events)
    train = learn_from_first_stage(first_stage, part.path, train, predict, run.say, processes)
    run.say(f"stage 2 of 2: until epoch {args.total_epoch}, from the initial weights")
    data = replace(second.data, train=train)
    return replace(second, data=data, num_inferred=first_stage.num_inferred)
