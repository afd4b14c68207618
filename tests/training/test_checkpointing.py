"""Which network best.ckpt holds, whenever a run is stopped."""

import re
from types import SimpleNamespace

import pytest
from mindspore import Tensor, nn

from sharpdro.errors import RunError
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
    (resumed.make_best_folder(1) / "logits").mkdir()
    (resumed.make_best_folder(1) / "logits" / "clean.npy").write_text("of epoch 1")
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
    assert "checkpoint; the best epoch is 1, whose network is lost" in run.texts[0]
    (run.path / "logits").mkdir()
    checkpoint.save(run.path / "epoch_1.ckpt", network, 1, {})
    checkpointing.check_best(1)
    assert "checkpoint, as does logits/; the best epoch is 1" in run.texts[1]
    assert run.texts[1].endswith(f"whose network is in {run.path}/epoch_1.ckpt")
    (run.path / "best.ckpt").write_bytes(b"damaged")
    checkpointing.check_best(1)
    assert re.search("warning: checkpoint .*best.ckpt is damaged", run.texts[2])


def link_folder(folder, other):
    folder.symlink_to(other)


def link_logits(folder, other):
    folder.mkdir()
    (folder / "logits").symlink_to(other)


def put_file(folder, _):
    folder.write_text("mine")


@pytest.mark.parametrize("put", [link_folder, link_logits, put_file])
def test_files_from_elsewhere_are_not_taken_over(network, tmp_path, put):
    theirs, folder = tmp_path / "theirs", tmp_path / "run"
    theirs.mkdir()
    folder.mkdir()
    for name in ("settings.json", "best.ckpt", "clean.npy"):
        (theirs / name).write_text("theirs")
    (folder / "settings.json").write_text("of the run")
    put(folder / ".best_of_epoch_1", theirs)
    run = SimpleNamespace(path=folder)
    with pytest.raises(RunError, match=".best_of_epoch_1 is not what this program leaves there"):
        Checkpointing(PLAN, network, run, {}).settle_best(1)
    assert len(list(theirs.iterdir())) == 3
    assert {path.name for path in folder.iterdir()} == {"settings.json", ".best_of_epoch_1"}
    assert (folder / "settings.json").read_text() == "of the run"
