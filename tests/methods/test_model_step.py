"""ModelStep: the example of sharpdro/methods/README.md as written, and callbacks against steps."""

import contextlib
import io
import re

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from mindspore.dataset import NumpySlicesDataset
from mindspore.train import Callback, LossMonitor, Model
from running import ROOT
from small_network import SmallNetwork, load, random_parameters

from models import create_model
from sharpdro import ModelStep, create_sgd, create_train_step
from sharpdro.networks.pretrained import load_pretrained

README = (ROOT / "sharpdro" / "methods" / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n([^`]*ModelStep.*?)```", README, re.DOTALL)[1]


def data(count, num_classes=10):
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, (count, 3, 8, 8)).astype(np.float32)
    return images, *(rng.integers(0, n, count).astype(np.int32) for n in (num_classes, 6))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The variables of the example after it has run, its folder, and what it printed."""
    assert len(EXAMPLE.splitlines()) <= 15
    folder, printed = tmp_path_factory.mktemp("model"), io.StringIO()
    images, labels, groups = data(40)
    names = {"images": images, "labels": labels, "groups": groups, "sizes": np.bincount(groups)}
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(folder)
        exec(EXAMPLE, names)
    return names, folder, printed.getvalue()


def test_callbacks_print_and_keep(trained):
    _, folder, printed = trained
    losses = [float(loss) for loss in re.findall(r"loss is ([\d.]+)", printed)]
    assert len(losses) == 4 and losses[2] + losses[3] < losses[0] + losses[1]
    assert printed.count("Train epoch time:") == 2
    files = {path.name for path in folder.glob("checkpoints/*.ckpt")}
    assert files == {"run-1_2.ckpt", "run-2_2.ckpt"}


def test_checkpoint_is_what_was_trained(trained):
    names, folder, _ = trained
    path = folder / "checkpoints" / "run-2_2.ckpt"
    by_mindspore, by_us = (create_model("wideresnet", 10, depth=10, widen_factor=1) for _ in "ab")
    stored = ms.load_checkpoint(str(path))
    assert not ms.load_param_into_net(by_mindspore, stored)[0]
    load_pretrained(by_us, path)
    for network in by_mindspore, by_us:
        for found, expected in zip(network.get_parameters(), names["network"].get_parameters()):
            np.testing.assert_array_equal(found.asnumpy(), expected.asnumpy(), expected.name)
    weights = names["step"].group_weights.asnumpy()
    np.testing.assert_array_equal(stored["group_weights"].asnumpy(), weights)
    assert weights.std() > 0


def make_step(method, **settings):
    network = SmallNetwork()
    load(network, random_parameters(np.random.default_rng(3)))
    optimizer = create_sgd(network.trainable_params(), 0.2, 0.9, 0.02)
    return create_train_step(method, network, optimizer, 6, **settings)


class Outputs(Callback):
    """Keeps what the steps return."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def on_train_step_end(self, run_context):
        outputs = run_context.original_args().net_outputs
        self.kept.append([output.asnumpy() for output in outputs])


def test_trains_as_the_step_itself():
    """Of a method that returns scores, too."""
    columns, outputs = data(24, num_classes=3), Outputs()
    dataset = NumpySlicesDataset(columns, ["image", "label", "group"], shuffle=False).batch(12)
    step = make_step("sharpdro_agnostic")
    Model(ModelStep(step)).train(1, dataset, callbacks=[outputs])
    alone = make_step("sharpdro_agnostic")
    for i, (mean, losses, correct, norm, scores) in enumerate(outputs.kept):
        expected = alone(*(Tensor(array[12 * i : 12 * i + 12]) for array in columns)).asnumpy()
        assert mean.shape == () and mean == pytest.approx(expected.per_sample_loss.mean(), 1e-5)
        np.testing.assert_allclose(losses, expected.per_sample_loss, rtol=1e-5)
        np.testing.assert_array_equal(correct, expected.is_correct)
        np.testing.assert_allclose(norm, expected.gradient_norm, rtol=1e-5)
        np.testing.assert_allclose(scores, expected.ood_scores, rtol=1e-4, atol=1e-6)
    assert len(outputs.kept) == 2
    for found, expected in zip(step.get_parameters(), alone.get_parameters()):
        np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-5, atol=1e-7)


def test_impossible_groups_are_refused_before_anything_is_compiled():
    images, labels, groups = data(12, num_classes=3)
    columns = (images, labels, groups + 3)
    dataset = NumpySlicesDataset(columns, ["image", "label", "group"]).batch(12)
    step = ModelStep(make_step("groupdro", group_sizes=np.bincount(groups)))
    with pytest.raises(ValueError, match=r"groups are 0 … 5, not 3 … [678]: raise num_groups"):
        Model(step).train(1, dataset, callbacks=[LossMonitor()])
