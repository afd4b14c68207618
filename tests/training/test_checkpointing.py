"""Which network best.ckpt holds, whenever a run is stopped."""

import re
from types import SimpleNamespace

import pytest
from mindspore import Tensor, nn

from sharpdro.run_folder import checkpoint
from sharpdro.training.checkpointing import Checkpointing

PLAN = SimpleNamespace(save_best=True, save_step=0, save_last=True, best_metric="mean")
WORSE, BETTER = ({"mean": {"accuracy": accuracy}} for accuracy in (0.5, 0.6))


class Network(nn.Cell):
    def __init__(self):
        super().__init__()
        self.number = nn.Dense(1, 1)

    def becomes(self, number):
        self.number.bias.set_data(Tensor([float(number)]))


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def run(tmp_path):
    texts = []
    return SimpleNamespace(path=tmp_path, say=texts.append, texts=texts)


def held(folder, name="best.ckpt"):
    return checkpoint.load(folder / name).parameters["number.bias"].asnumpy().item()


def no_room(*_):
    raise OSError("No space left on device")


def test_best_network_stays_until_the_next_ones_epoch_is_finished(network, run, monkeypatch):
    """Epoch 2 is better, but is taken back, and comes out worse when it is trained again."""
    checkpointing = Checkpointing(PLAN, network, run, {})
    network.becomes(1)
    checkpointing.save_epoch(1, {1: WORSE})
    network.becomes(2)
    with monkeypatch.context() as patch:
        patch.setattr(checkpointing, "_save_last", no_room)
        with pytest.raises(OSError):
            checkpointing.save_epoch(2, {1: WORSE, 2: BETTER})
    assert held(run.path) == held(run.path, "last.ckpt") == 1
    resumed = Checkpointing(PLAN, network, run, {})
    resumed.settle_best(1)
    network.becomes(3)
    resumed.save_epoch(2, {1: BETTER, 2: WORSE})
    assert held(run.path) == 1 and held(run.path, "last.ckpt") == 3
    resumed.check_best(1)
    assert not run.texts  # it is the best
    assert {p.name for p in run.path.iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}


def test_best_network_of_a_finished_epoch_is_not_lost_by_a_kill(network, run, monkeypatch):
    checkpointing = Checkpointing(PLAN, network, run, {})
    network.becomes(1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpointing, "settle_best", no_room)
        with pytest.raises(OSError):
            checkpointing.save_epoch(1, {1: WORSE})
    assert not (run.path / "best.ckpt").exists()
    resumed = Checkpointing(PLAN, network, run, {})
    (resumed.best_of_epoch(1) / "logits").mkdir()
    (resumed.best_of_epoch(1) / "logits" / "clean.npy").write_text("of epoch 1")
    resumed.settle_best(1)
    assert held(run.path) == 1
    assert (run.path / "logits" / "clean.npy").read_text() == "of epoch 1"
    assert not list(run.path.glob(".*"))


def test_best_network_that_was_trained_again_to_another_one_is_told(network, run):
    """As after going on from previous.ckpt: the best epoch's own network is overwritten."""
    checkpointing = Checkpointing(PLAN, network, run, {})
    for epoch, scores in ((1, {1: WORSE}), (2, {1: WORSE, 2: BETTER}), (2, {1: BETTER, 2: WORSE})):
        checkpointing.save_epoch(epoch, scores)
    checkpointing.check_best(1)
    assert len(run.texts) == 1
    assert "best.ckpt holds epoch 2 as it was before" in run.texts[0]
    assert "the best epoch is 1, whose network is lost" in run.texts[0]
    (run.path / "best.ckpt").write_bytes(b"damaged")
    checkpointing.check_best(1)
    assert re.search("warning: checkpoint .*best.ckpt is damaged", run.texts[1])
