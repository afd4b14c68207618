"""The job of --dry_run: what training would do, and what stands in its way."""

from functools import partial

import mindspore as ms
import numpy as np

from corruptions.interrupts import interruptible
from dataset.specs import DATASETS
from sharpdro.command_line.settings import find_filelists, method_name, run_folder
from sharpdro.device import select_device
from sharpdro.jobs import prepare
from sharpdro.jobs.dry_run_report import (
    Report,
    describe_data,
    describe_progress,
    describe_split,
    describe_steps,
    describe_time,
)
from sharpdro.jobs.shared import build_network
from sharpdro.jobs.time_estimate import stages_left
from sharpdro.jobs.train import create_first_stage, create_step, make_plan
from sharpdro.methods.specs import METHODS
from sharpdro.run_folder.folder import RunLog


def dry_run(args):
    """Tell what training would do and what stands in its way; write nothing."""
    report = Report(partial(print, flush=True))
    log = RunLog(run_folder(args))
    report.attempt(log.check_unlocked)
    for check in prepare.checks_of_folder(args, log):
        report.attempt(check)
    is_resumed = args.resume and log.exists()
    if is_resumed and report.attempt(log.is_finished):
        report.say("run", f"{log.folder}: finished already, nothing would be done")
        report.close()
        return
    for check in prepare.checks_without_data(args, log):
        report.attempt(check)
    device = report.attempt(prepare.check_device, args)
    select_device(device or "auto")
    if args.pretrained and not is_resumed:
        report.attempt(prepare.check_pretrained, args)
    stage = create_first_stage(args, args.show_progress)
    done = describe_progress(report, log, is_resumed, stage and stage.file)
    report.say("device", device or f"no {args.device_target} here")
    sizes = describe_images(args, report, find_filelists(args))
    steps = sizes and report.attempt(prepare.count_steps, args, sum(sizes.per_severity))
    describe_network(args, report)
    if steps:
        describe_length(args, report, device, steps, sizes, stage, *done)
    report.close()


def describe_images(args, report, lists):
    """Tell what there is of the data and how they would be shared out; returns their sizes."""
    spec = DATASETS[args.dataset]
    if spec.has_lists:
        report.say("lists", f"those in {lists}" if lists else "none: shared out by -n and --seed")
    with interruptible():
        clean = describe_data(
            report, spec, args.data_dir, *args.corruption, args.num_severity, args.frost_dir
        )
        return describe_split(
            report,
            clean,
            spec=spec,
            data_dir=args.data_dir,
            filelist_dir=lists,
            num_per_class=None if lists else args.num_per_class,
            num_severity=args.num_severity,
            seed=args.seed,
            num_val=args.num_val,
            num_test=args.num_test,
            severity_law=args.severity_law,
        )


def describe_network(args, report):
    """Tell what would be trained, and how."""
    shape = f"-{args.depth}-{args.widen_factor}" if args.model == "wideresnet" else ""
    number = sum(p.size for p in build_network(args)[0].trainable_params())
    report.say("model", f"{args.model}{shape}: {number:,} parameters")
    passes = METHODS[method_name(args)].passes
    passes = f"{passes} pass{'es' if passes > 1 else ''} per step"
    report.say("method", f"{method_name(args)}: {passes}")


def describe_length(args, report, device, steps, sizes, stage, last, first):
    """Tell what is left to train, and on a device try it out to tell how long it would take."""

    def create(method, num_groups):
        network, normalize = build_network(args)
        network = ms.amp.auto_mixed_precision(network, args.amp_level)
        step = create_step(args, network, method, np.arange(num_groups), num_groups)
        return network, normalize, step

    name = method_name(args)
    eval_batch = min(args.eval_batch_size, max(sizes.validation, sizes.test))
    plan = make_plan(args, steps, args.show_progress)
    stages = stages_left(plan, sizes, eval_batch, last, first, name, stage, create)
    describe_steps(report, stages, steps)
    if args.distributed:
        report.say("processes", "the times below are those of one alone")
    if report.problems:
        report.say("time", "not measured, as the run could not start")
    elif device:
        spec, augmented = DATASETS[args.dataset], args.augment_data
        describe_time(report, stages, steps, spec, args.batch_size, eval_batch, augmented)
