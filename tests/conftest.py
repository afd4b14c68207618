"""MindSpore in graph mode on the CPU, with the settings that main.py gives it."""

import fake_cifar
import pytest
from running import Runner

from sharpdro.device import select_device

select_device("CPU")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    fake_cifar.write_cifar10(folder)
    return folder


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    return Runner(data_dir, tmp_path_factory.mktemp)
