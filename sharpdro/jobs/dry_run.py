"""The job of --dry_run: what training would do, and what stands in its way."""

from functools import partial

import numpy as np

from corruptions.interrupts import interruptible
from dataset.specs import DATASETS
from sharpdro.device import select_device
from sharpdro.distributed.process_group import SINGLE_PROCESS
from sharpdro.jobs.prepare import (
    check_device,
    check_pretrained,
    check_resumable,
    count_steps,
    settle_lists,
    settle_threads,
)
from sharpdro.jobs.shared import build_network, check_free, check_same, log_of, recorded
from sharpdro.jobs.train import create_step, first_stage_of, make_plan, step_settings
from sharpdro.methods.specs import METHODS, variant
from sharpdro.run_folder.tensorboard import require_tensorboardx


def dry_run(args):
    """Tell what training would do and what stands in its way; write nothing."""
    from sharpdro.jobs.dry_run_report import Report, describe_progress

    report = Report(partial(print, flush=True))
    log = log_of(args, variant(args.method, args.distribution_agnostic))
    if args.tensorboard:
        report.attempt(require_tensorboardx)
    report.attempt(check_free, args, log)
    report.attempt(log.check_unlocked)
    lists = report.attempt(settle_lists, args, log)
    is_resumed = args.resume and log.exists()
    if is_resumed:
        report.attempt(settle_threads, args, log)
        report.attempt(check_same, log, recorded(args))
        if report.attempt(log.is_finished):
            report.say("run", f"{log.folder}: finished already, nothing would be done")
            report.close()
            return
        report.attempt(check_resumable, args, log)
    device = report.attempt(check_device, args)
    select_device(device or "auto")
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
    from sharpdro.jobs.dry_run_report import describe_data, describe_split

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
            severity_law=args.severity_law,
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
    import mindspore as ms

    from sharpdro.jobs.dry_run_report import describe_steps, describe_time
    from sharpdro.jobs.time_estimate import stages_left

    def create(method, num_groups):
        network, normalize = build_network(args)
        network = ms.amp.auto_mixed_precision(network, args.amp_level)
        settings, groups = step_settings(args, method), np.arange(num_groups)
        step = create_step(args, network, method, settings, groups, num_groups, SINGLE_PROCESS)
        return network, normalize, step

    name = variant(args.method, args.distribution_agnostic)
    eval_batch = min(args.eval_batch_size, max(sizes.validation, sizes.test))
    plan = make_plan(args, steps)
    stages = stages_left(plan, sizes, eval_batch, last, first, name, stage, create)
    describe_steps(report, stages, steps)
    if args.distributed:
        report.say("processes", "the times below are those of one alone")
    if report.problems:
        report.say("time", "not measured, as the run could not start")
    elif device:
        spec, augmented = DATASETS[args.dataset], args.augment_data
        describe_time(report, stages, steps, spec, args.batch_size, eval_batch, augmented)
