"""The readers of data that may come from elsewhere, as the fuzzing tests call them.

Each function takes a folder to work in and returns what the files are (a strategy) and how one is
read: that either keeps what the reader promises or raises one of REFUSALS.
"""

import io
import json
import pickle
import tarfile

import mutations
import numpy as np
from hypothesis import strategies as st
from mutations import spoiled, spoiled_json

from corruptions.errors import DataError
from corruptions.storage import manifest
from corruptions.storage.manifest import Recipe
from corruptions.storage.npy import open_npy, same_labels
from dataset import filelists
from dataset.readers.cifar import read_batch
from dataset.readers.decoding import decode
from dataset.readers.download import _unpack
from dataset.readers.imagenet30 import labels_of, read_files
from dataset.specs import IMAGENET30
from sharpdro.errors import RunError

REFUSALS = (DataError, RunError, OSError)


def cifar(folder):
    data = np.zeros((4, 3072), np.uint8)
    content = {b"data": data, b"labels": [0, 1, 2, 9], b"filenames": [b"a.png"] * 4}
    valid = [pickle.dumps(content, protocol) for protocol in range(5)]

    def read(content):
        (folder / "b").write_bytes(content)
        images, labels = read_batch(folder / "b", 10)
        assert images.dtype == np.uint8 and images.shape == (len(labels), 32, 32, 3)
        assert labels.dtype == np.int32 and labels.min() >= 0 and labels.max() < 10

    return st.sampled_from(valid).flatmap(spoiled), read


def npy(folder):
    file = io.BytesIO()
    np.save(file, np.arange(20, dtype=np.int64))

    def read(content):
        (folder / "x.npy").write_bytes(content)
        array = open_npy(folder / "x.npy")
        assert array.nbytes <= len(content)
        same_labels(array, np.arange(20))
        f"{array.dtype} {array.shape}"

    return spoiled(file.getvalue()) | mutations.npy(), read


def photographs(folder):
    valid = [mutations.picture(kind) for kind in ("JPEG", "PNG", "GIF", "BMP")]
    valid.append(mutations.png(30, 30, bytes(930)))
    sizes = st.sampled_from([0, 1, 30, 65535, 65536, 10**5, 2**31 - 1])

    def read(content):
        (folder / "x.JPEG").write_bytes(content)
        assert decode(folder / "x.JPEG", 64).shape == (64, 64, 3)

    return st.sampled_from(valid).flatmap(spoiled) | st.builds(mutations.png, sizes, sizes), read


def lists(folder):
    names = [f"{c}/{i}.JPEG" for c in IMAGENET30.class_names for i in range(2)]
    place = folder / "ImageNet-30-64"
    place.mkdir()
    table = "".join(f"{name}\t9\n" for name in names)
    labels = {c: i for i, c in enumerate(IMAGENET30.class_names)}
    text = "".join(f"{name} {labels[name.split('/')[0]]}\n" for name in names[::2])
    for part in (*filelists.severity_parts(1), "val"):
        (folder / f"imagenet30_{part}.txt").write_text("")

    def read(content):
        records, listed = content
        (place / "train_files.tsv").write_bytes(records)
        (folder / "imagenet30_distribution_0.txt").write_bytes(listed)
        files = read_files(IMAGENET30, folder, "train")
        labels = labels_of(files.names, IMAGENET30, place / "train.npy")
        assert len(labels) == len(files.names)
        found = filelists.find_lists(folder)
        filelists.count_listed(found, 1)
        filelists.read_training_lists(found, IMAGENET30, files, 1)

    whole = st.just(table.encode()), st.just(text.encode())
    return (
        st.tuples(spoiled(table.encode()), whole[1]) | st.tuples(whole[0], spoiled(text.encode()))
    ), read


def manifests(folder):
    recipe = Recipe("fog", 1, "cifar", 0, "test")
    sums = {"sha256": "a", "clean_sha256": "b", "labels_sha256": "c"}
    state = {"num_bytes": 1, "mtime_ns": 2}
    content = {"arrays": {recipe.file: manifest.entry(recipe, (4, 32, 32, 3), sums, state)}}
    (folder / recipe.file).parent.mkdir(parents=True)
    (folder / recipe.file).write_bytes(b"x")

    def read(content):
        (folder / manifest.NAME).write_bytes(content)
        for found in manifest.read(folder).values():
            assert all(type(text) is str for text in manifest.differences(found, recipe, "b"))
        assert manifest.recorded(folder, [recipe.file])[0] == {}
        assert all(type(line) is str for line in manifest.verify(folder))

    return spoiled_json(content) | spoiled(json.dumps(content).encode()), read


def archives(folder):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name in ("f/one", "f/two"):
            info = tarfile.TarInfo(name)
            info.size = 600
            tar.addfile(info, io.BytesIO(bytes(600)))
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("f/one")), tar.addfile(tarfile.TarInfo("f/two"))

    def read(content):
        (folder / "a.tar.gz").write_bytes(content)
        for path in (folder / "f").glob("*"):
            path.unlink()
        if (folder / "f").exists():
            (folder / "f").rmdir()
        try:
            _unpack(folder / "a.tar.gz", folder / "f", ["one", "two"])
        finally:
            assert {path.name for path in folder.iterdir()} <= {"a.tar.gz", "f", ".f.partial"}

    return st.sampled_from([file.getvalue(), plain.getvalue()]).flatmap(spoiled), read


DATA_READERS = (cifar, npy, photographs, lists, manifests, archives)
