"""A network, test images in CIFAR-10's format that it has all right, and published files of which
it has a known number wrong."""

import fake_cifar
import mindspore as ms
import numpy as np
from mindspore import Tensor

from corruptions import STANDARD
from dataset.specs import CIFAR10
from sharpdro.networks.build import create_network
from sharpdro.run_folder import checkpoint

NUM_IMAGES = 40
SETTINGS = {
    **{"dataset": "cifar10", "model": "wideresnet", "depth": 10, "widen_factor": 1},
    **{"desc": "run", "method": "erm", "seed": 0, "eval_batch_size": 16},
    **{"corruption": "gaussian_noise", "num_severity": 2, "num_test": 5},
}


def num_wrong(name, severity):
    """1 to 19 of the forty, no two severities alike."""
    return severity + STANDARD.index(name)


def write(folder):
    """Writes archive/, known.ckpt, constant.ckpt (always class `labels[0]`) and published/.

    Returns:
        The test images and their labels.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (NUM_IMAGES, 32, 32, 3), dtype=np.uint8)
    images //= rng.integers(1, 6, (NUM_IMAGES, 1, 1, 3), dtype=np.uint8)  # tints
    ms.set_seed(0)
    network, normalize = create_network("wideresnet", CIFAR10, 10, 1)
    network.set_train(False)
    logits = network(normalize(Tensor(images))).asnumpy()
    # So that not all go to one class.
    scale = 1 / logits.std(0)
    weight, bias = network.classifier.weight, network.classifier.bias
    weight.set_data(Tensor(weight.asnumpy() * scale[:, None]))
    bias.set_data(Tensor((bias.asnumpy() - logits.mean(0)) * scale))
    labels = network(normalize(Tensor(images))).asnumpy().argmax(1)
    checkpoint.save(folder / "known.ckpt", network, 7, SETTINGS)
    weight.set_data(Tensor(np.zeros_like(weight.asnumpy())))
    bias.set_data(Tensor(np.eye(10, dtype=np.float32)[labels[0]]))
    checkpoint.save(folder / "constant.ckpt", network, 7, SETTINGS)

    for name in fake_cifar.FILES:
        rows = images.transpose(0, 3, 1, 2).reshape(NUM_IMAGES, -1)
        path = folder / "data" / CIFAR10.clean_folder / name
        fake_cifar.write_batch(path, rows, labels.tolist())
    write_published(folder / "published", images, labels)
    return images, labels


def write_published(folder, images, labels):
    """At each severity the first rows are images of another class."""
    folder.mkdir()
    other = np.array([np.flatnonzero(labels != label)[0] for label in labels])
    for name in STANDARD:
        blocks = []
        for severity in range(1, 6):
            wrong = num_wrong(name, severity)
            blocks += [images[other[:wrong]], images[wrong:]]
        np.save(folder / f"{name}.npy", np.concatenate(blocks))
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
