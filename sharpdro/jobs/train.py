"""The job of training: one run, from its settings to its tables."""

import contextlib
from dataclasses import replace

from dataset.filelists import FILELIST_DIR
from sharpdro.command_line.settings import find_filelists, method_name, run_folder
from sharpdro.device import select_device
from sharpdro.distributed.process_group import (
    check_launch,
    is_follower,
    is_scheduler,
    join,
    schedule,
)
from sharpdro.jobs import prepare
from sharpdro.jobs.shared import check_network, describe_limits, initial_network
from sharpdro.jobs.stages import Stage, make_plan, run_first_stage, train_network
from sharpdro.methods.own import method_spec
from sharpdro.methods.specs import FIRST_STAGE_FOLDER
from sharpdro.own_code import is_place
from sharpdro.run_folder.environment import describe_data
from sharpdro.run_folder.folder import RunFolder
from sharpdro.run_folder.tensorboard import convert_tables


def _train_stages(args, processes, run, data, initial, steps):
    """Train by a method, after its first stage if it has one."""
    method = method_name(args)
    plan = make_plan(args, steps, args.show_progress and processes.is_first)
    stage = Stage(method, plan, run, data, initial, args.sampler)
    if method_spec(method).first_stage is not None:
        stage = run_first_stage(args, processes, stage)
    warmup = method_spec(method).warmup
    if warmup is not None and getattr(args, warmup) >= steps * args.total_epoch:
        run.say(
            f"--{warmup} {getattr(args, warmup)} outlasts the run: the penalty's weight stays 1"
        )
    train_network(args, processes, stage)


def _report_finished(args, run):
    """There is nothing left to train; event files are made where they are asked for."""
    if args.tensorboard:
        has_stages = method_spec(method_name(args)).first_stage is not None
        for part in (*([run.stage(FIRST_STAGE_FOLDER)] if has_stages else []), run):
            convert_tables(part.path, part.events)
        print(f"for TensorBoard: tensorboard --logdir {run.events}")
    print(f"finished already: {run.path}")


def _log_start(args, processes, run, lines):
    """Log what the run is about to do: the lines, and what is special about it."""
    if args.cpu_kernels != "stock":
        lines.append(f"CPU kernels: {args.cpu_kernels}")
    if args.mode != "graph":
        lines.append(f"mode: {args.mode}, for debugging: several times slower")
    if args.tensorboard:
        lines.append(f"for TensorBoard: tensorboard --logdir {run.events}")
    if args.distributed:
        images = args.batch_size // processes.size
        lines.append(f"{processes.size} processes, {images} images of a batch each")
    for line in filter(None, lines):
        run.say(line)


def train(args):
    """Train by one method."""
    check_launch(args.distributed, args.batch_size)
    run, lists = RunFolder(run_folder(args)), find_filelists(args)
    for check in prepare.checks_of_folder(args, run):
        check()
    if run.is_finished():
        if not is_follower():
            _report_finished(args, run)
        return
    for check in prepare.checks_without_data(args, run):
        check()
    if is_scheduler():
        select_device("CPU")
        schedule()
        return
    device = select_device(args.device_target, args.cpu_kernels, args.mode)
    warning = prepare.fix_run_threads(args, run, device)
    # Before anything that takes long or may fail, so that the others learn of a process that ends.
    processes = join(args.distributed)
    # What does not fit is refused before all that is long.
    if is_place(args.model):
        check_network(args)  # another one than is trained
    initial = initial_network(args, run.path)
    data, steps = prepare.prepare_data(args, run, lists)
    args = replace(args, fingerprint=data.fingerprint)
    run = prepare.open_run(args, run, processes, device, data, initial)
    with contextlib.closing(run), run.noting_errors():
        run.keep(FILELIST_DIR.name, data.lists)
        about_lists = lists and f"which photograph belongs where is said by the lists in {lists}"
        about_data = [describe_data(run.path, device, data), *prepare.describe_own(args)]
        measured = {"num_val": len(data.validation.labels), "num_test": len(data.test.labels)}
        about_data += describe_limits(args, **measured)
        _log_start(args, processes, run, [*about_data, warning, about_lists])
        _train_stages(args, processes, run, data, initial, steps)
