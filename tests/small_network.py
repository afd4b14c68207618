"""The small network of tests/oracle.py, in MindSpore."""

import importlib
import os

from mindspore import Tensor, nn

from models.layers import STOCK, linear

ORACLE_NAMES = {
    "conv": "conv.weight",
    "gamma": "norm.gamma",
    "beta": "norm.beta",
    "weight": "classifier.weight",
    "bias": "classifier.bias",
}


class SmallNetwork(nn.Cell):
    def __init__(self, channels=4, num_classes=3):
        super().__init__()
        layers = STOCK
        if os.environ.get("TEST_CPU_KERNELS") == "onednn":  # see test_cpu_kernels.py
            layers = importlib.import_module("sharpdro.cpu_kernels.layers").Layers()
        self.conv = layers.convolution(3, channels, 3)
        self.norm = layers.batch_norm(channels, 0.1)
        self.activation = layers.activation(0.1)
        self.classifier = linear(channels, num_classes)

    def construct(self, images):
        return self.classifier(self.activation(self.norm(self.conv(images))).mean((2, 3)))


def random_parameters(rng, channels=4, num_classes=3):
    return {
        "conv": rng.normal(0, 0.3, (channels, 3, 3, 3)),
        "gamma": rng.uniform(0.5, 1.5, channels),
        "beta": rng.normal(0, 0.3, channels),
        "weight": rng.normal(0, 1.0, (num_classes, channels)),
        "bias": rng.normal(0, 0.3, num_classes),
    }


def load(network, parameters):
    by_name = {p.name: p for p in network.get_parameters()}
    for short, value in parameters.items():
        by_name[ORACLE_NAMES[short]].set_data(Tensor(value.astype("float32")))


def make_batches(rng, count, size=12):
    """Batches in which group 2 is absent from the second and group 3 from all."""
    for i in range(count):
        groups = rng.integers(0, 3, size)
        groups[:3] = (0, 1, 2)
        if i == 1:
            groups[groups == 2] = 1
        yield rng.normal(0, 1, (size, 3, 6, 5)), rng.integers(0, 3, size), groups


def run(step, images, labels, groups):
    """A step's result as arrays."""
    result = step(
        Tensor(images.astype("float32")),
        Tensor(labels.astype("int32")),
        Tensor(groups.astype("int32")),
    )
    return result.asnumpy()
