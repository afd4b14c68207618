"""The readers of checkpoints for the fuzzing tests, as those of tests/data_readers.py."""

import numpy as np
from hypothesis import strategies as st
from mutations import spoiled, spoiled_checkpoint
from safetensors.numpy import save_file

from models import create_model
from sharpdro.networks.build import load_trained
from sharpdro.networks.pretrained import load_pretrained
from sharpdro.run_folder import checkpoint

SETTINGS = {
    **{"dataset": "synthetic", "model": "wideresnet", "depth": 10, "widen_factor": 1},
    **{"desc": "run", "corruption": "fog", "num_severity": 1, "seed": 0, "method": "erm"},
}


def _network():
    return create_model("wideresnet", 10, depth=10, widen_factor=1)


def checkpoints(folder):
    checkpoint.save(folder / "valid.ckpt", _network(), 3, SETTINGS)

    def read(content):
        (folder / "x.ckpt").write_bytes(content)
        trained = load_trained(folder / "x.ckpt")
        assert trained.spec.name == trained.settings["dataset"]
        assert not set(trained.settings.get("desc", "")) & set("/\0\n")
        assert trained.network.stem.weight.asnumpy().shape == (16, 3, 3, 3)

    content = (folder / "valid.ckpt").read_bytes()
    return spoiled_checkpoint(content) | spoiled(content), read


def pretrained(folder):
    network = _network()
    checkpoint.save(folder / "valid.ckpt", network, 3, SETTINGS)
    arrays = {p.name: np.array(p.asnumpy()) for p in network.get_parameters()}
    other = {"stem": "x"}
    save_file({**arrays, "num": np.zeros(3)}, folder / "valid.safetensors", metadata=other)

    def read(content):
        kind, content = content
        (folder / f"x.{kind}").write_bytes(content)
        assert "pretrained: " in load_pretrained(network, folder / f"x.{kind}")
        assert all(np.isfinite(p.asnumpy()).all() for p in network.get_parameters())

    ours, torchs = ((folder / f"valid.{kind}").read_bytes() for kind in ("ckpt", "safetensors"))
    return (
        st.tuples(st.just("ckpt"), spoiled_checkpoint(ours) | spoiled(ours[:-17]))
        | st.tuples(st.just("safetensors"), spoiled(torchs) | spoiled(torchs[:3000]))
    ), read


CHECKPOINT_READERS = (checkpoints, pretrained)
