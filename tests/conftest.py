"""MindSpore in graph mode on the CPU, with the settings that main.py gives it."""

import gc
import os
import signal
from collections import namedtuple

import fake_cifar
import pytest
from running import Runner

from sharpdro.device import select_device
from sharpdro.errors import RunError

os.environ.setdefault("GLOG_v", "4")  # as programs have it
select_device("CPU")
# Programs that tests start would ignore them if the tests run under nohup or a script's `&`.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    fake_cifar.write_cifar10(folder)
    return folder


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    return Runner(data_dir, tmp_path_factory.mktemp)


AskedStep = namedtuple("AskedStep", "method network optimizer num_groups settings")


@pytest.fixture
def asked_steps(monkeypatch):
    """Runs end, with exit code 2, where their training step would be made: nothing is compiled.

    Returns what they asked for, run by run.
    """
    asked = []

    def record(method, network, optimizer, num_groups, **settings):
        asked.append(AskedStep(method, network, optimizer, num_groups, settings))
        raise RunError("no step is made in this test")

    monkeypatch.setattr("sharpdro.jobs.stages.create_train_step", record)
    return asked


@pytest.fixture(autouse=True)
def no_old_graphs():
    """See `train_network`: what other tests left behind would have every graph compiled twice."""
    gc.collect()


def pytest_collection_finish():
    gc.freeze()  # so that what is there by now is not looked through for every test


# Files that take longest go first, so that no worker is left alone with one at the end.
LONGEST = (
    *("test_corruptions.py", "test_train_step.py", "test_datasets.py", "test_main.py"),
    *("test_resume.py", "test_flatness_program.py", "test_distributed.py", "test_dry_run.py"),
    *("test_evaluate_common_corruptions.py", "test_guard.py", "test_two_stages.py"),
    *("test_bad_states.py", "test_interrupts.py", "test_cpu_kernels.py", "test_export.py"),
)


def pytest_collection_modifyitems(items):
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
