"""Files that mean harm: refused in one line, nothing executed, nothing written outside."""

import io
import json
import os
import pickle
import signal
import struct

import numpy as np
import pytest
from hostile_files import REFUSALS, Bomb, picture, png

from corruptions import contact_sheet
from corruptions.command_line import readable
from corruptions.errors import DataError
from corruptions.frost_photographs import PUBLISHED, read_photographs
from corruptions.storage import manifest
from corruptions.storage.files import exclusive_partial, write_atomically
from corruptions.storage.npy import open_npy, same_labels
from corruptions.storage.photographs import decode
from dataset.readers.cifar import read_batch
from sharpdro.evaluation.measurements import read_measurements
from sharpdro.evaluation.summary import read_evaluations
from sharpdro.run_folder.csv_table import Table
from sharpdro.run_folder.folder import RunFolder


@pytest.fixture(autouse=True)
def no_hanging():
    """Whoever waits for a pipe is woken."""

    def wake(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refusal(call, *arguments):
    """The one line in which something is refused."""
    with pytest.raises(REFUSALS) as refused:
        call(*arguments)
    assert not isinstance(refused.value, TimeoutError)
    assert "\n" not in readable(refused.value)
    return readable(refused.value)


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


READ = {
    "data_batch_1": lambda path: read_batch(path, 10),
    "fog.npy": open_npy,
    "x.JPEG": lambda path: decode(path, 64),
    "manifest.json": lambda path: manifest.read(path.parent),
    "settings.json": lambda path: RunFolder(path.parent).read_settings(),
    "summary.json": lambda path: RunFolder(path.parent).is_finished(),
    "val.csv": read_evaluations,
    "test.csv": read_measurements,
    "train.csv": lambda path: Table(path, ["epoch"]),
}


@pytest.mark.parametrize("put", [pipe, endless, lambda path: path.mkdir()])
@pytest.mark.parametrize("name", READ)
def test_pipes_devices_and_folders_are_not_read(tmp_path, name, put):
    put(tmp_path / name)
    text = refusal(READ[name], tmp_path / name)
    assert str(tmp_path / name) in text and "folder, pipe or device, not a file" in text


@pytest.mark.parametrize("put", [pipe, lambda path: path.symlink_to(path.parent.parent / "mine")])
def test_what_lies_in_wait_for_a_writer_is_left_alone(tmp_path, put):
    (tmp_path / "mine").write_text("precious")
    folder = tmp_path / "data"
    folder.mkdir()
    for name in (".fog.npy.partial", ".x.json.partial", "log.txt"):
        put(folder / name)

    def make():
        with exclusive_partial(folder / "fog.npy") as partial:
            partial.write(b"x")

    for call in (
        make,
        lambda: write_atomically(folder / "x.json", "{}"),
        lambda: RunFolder(folder).say("x"),
    ):
        assert str(folder) in refusal(call)
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        # An empty list, remembered as number 2³¹ − 1: 34 GB of room.
        (b"]r\xff\xff\xff\x7f.", ""),
        (b"]p999999999\n.", "it holds PUT"),
        (b"\x80\x04" + b"]" * 1_100_000 + b".", "more objects"),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", ""),  # 2⁶³ bytes to follow
        # Labels that hold themselves twice, which NumPy would follow 2³² ways.
        (
            b"\x80\x04}(C\x06labels]\x94(h\x00h\x00eC\x04datacnumpy\nndarray\n)R("
            b"K\x01K\x01K\x02\x86cnumpy\ndtype\nC\x02u1\x85R\x89C\x02abtbu.",
            "it holds no integer labels",
        ),
        # A tuple of two tuples of two tuples …, 60 deep, as a dict's key: hashing takes 2⁶⁰ steps.
        (b"\x80\x02}K\x01" + b"q\x01h\x01h\x01\x86" * 60 + b"K\x01s.", "keys are no texts"),
        (b"\x80\x02(K\x01" + b"q\x01h\x01h\x01\x86" * 60 + b"K\x01d.", "it holds DICT"),
        (b"\x80\x04\x8f(K\x01" + b"q\x01h\x01h\x01\x86" * 60 + b"\x90.", "it holds EMPTY_SET"),
        # The same as what makes an object, which is looked up, and as a name, which is shown.
        (b"\x80\x02}C\x04dataK\x01" + b"q\x01h\x01h\x01\x86" * 60 + b")Rs.", "without a name"),
        (b"\x80\x04C\x01xK\x01" + b"\x94h\x00h\x00\x86" + b"\x93.", "without a name"),
        # The same as an array's shape.
        (
            b"\x80\x04}C\x04datacnumpy\nndarray\n)R(K\x01K\x01"
            + b"q\x01h\x01h\x01\x86" * 60
            + b"cnumpy\ndtype\nC\x02u1\x85R\x89C\x02abtbs.",
            "",
        ),
    ],
)
def test_pickles_that_ask_for_too_much(tmp_path, content, reason):
    (tmp_path / "b").write_bytes(content)
    text = refusal(read_batch, tmp_path / "b", 10)
    assert "is not a file of the CIFAR python archive: " in text and reason in text


def npy(descr, shape, content=b""):
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}) + "\n"
    magic = np.lib.format.magic(1, 0) + struct.pack("<H", len(header))
    return magic + header.encode() + content


def test_arrays_that_are_none(tmp_path):
    path, flag = tmp_path / "x.npy", tmp_path / "ran"
    bomb = io.BytesIO()
    np.save(bomb, np.array([Bomb(os.system, f"touch {flag}")], object), allow_pickle=True)
    for content in (
        bomb.getvalue(),
        npy("|u1", (10**15,), b"x"),
        npy("|u1", (2**62, 2**62, 4), b"x" * 8),
        npy("|u1", (-1, 32, 32, 3), b"x" * 3072),
        npy("|u1", (-1, -1), b"x"),
        npy("|V0", (4,)),  # has NumPy divide by zero
        npy("<i8", (4,), b"x" * 31),
        npy("<i8", "(4,)", b"x" * 32),
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 300,
        b"",
    ):
        path.write_bytes(content)
        assert f"{path} is not a whole .npy array (" in refusal(open_npy, path)
    assert not flag.exists()


def test_arrays_in_another_order_or_type(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.save(tmp_path / "x.npy", np.asfortranarray(array))
    assert np.array_equal(open_npy(tmp_path / "x.npy"), array)
    labels = np.array([1, 2])
    assert same_labels(np.array([1, 2], np.uint8), labels)
    for other in (labels[:1], labels.astype("U1"), labels.astype([("a", "<i8")]), labels + 0.5):
        assert not same_labels(other, labels)


PICTURES = {
    "pixels": png(60_000, 60_000),
    "line": png(80_000_000, 1, bytes(80_000_001)),
    "many": png(10_000, 10_000),
    "cut": picture("JPEG")[:300],
    "program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "pickle": pickle.dumps(Bomb(print, "ran")),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_that_are_none(tmp_path, name, capsys):
    for path in (tmp_path / "x.JPEG", *(tmp_path / published for published in PUBLISHED)):
        path.write_bytes(PICTURES[name])
    assert refusal(decode, tmp_path / "x.JPEG", 64)
    assert "frost1.png cannot be read as an image: " in refusal(read_photographs, tmp_path)
    output = tmp_path / "sheet.png"
    assert contact_sheet.main([str(tmp_path / "x.JPEG"), "-c", "fog", "-o", str(output)]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not output.exists()


def test_a_manifest_that_points_elsewhere(tmp_path):
    names = ["/dev/zero", "../x.npy", "a/../../x.npy", "pipe.npy", "a\0b", "x" * 5000]
    pipe(tmp_path / "pipe.npy")
    text = json.dumps({"arrays": {name: {"sha256": "0"} for name in names}})
    (tmp_path / manifest.NAME).write_text(text)
    found = dict(line.rsplit(": ", 1) for line in manifest.verify(tmp_path))
    assert [found[name] for name in names[:3]] == ["not inside the folder"] * 3
    assert any("pipe.npy" in line and "not a file" in line for line in manifest.verify(tmp_path))
    assert len(found) >= len(names)


DEEP = "[" * 100_000 + "]" * 100_000
JSON = ["", "[]", "3", '"x"', "NaN", DEEP, '{"settings": 3}', '{"settings": ' + "9" * 5000 + "}"]


@pytest.mark.parametrize("number", range(len(JSON) + 3))
def test_settings_that_are_none(tmp_path, number):
    texts = [text.encode() for text in JSON] + [b"\xff{}", b'{"settings": {}, "resumed": 3}']
    texts.append(b'{"settings": {"desc": "\\ud800"}}')
    (tmp_path / "settings.json").write_bytes(texts[number])
    assert "settings.json cannot be read (" in refusal(RunFolder(tmp_path).read_settings)
    if number < len(JSON):
        (tmp_path / "summary.json").write_bytes(texts[number])
        assert "summary.json cannot be read (" in refusal(RunFolder(tmp_path).is_finished)


HEAD = b"epoch,severity,loss,accuracy,count\n"


@pytest.mark.parametrize(
    "line",
    [
        *(b"1,0\x00,1,1,1", b"1,\xff,1,1,1", b"1,0,1,1," + b"9" * 200_000, b"1", b"one,0,1,1,1"),
        *(b"1,0,1,1,x", b'1,"' + b"x" * 200_000 + b'",1,1,1', b"9" * 5000 + b",0,1,1,1"),
    ],
)
def test_tables_that_are_none(tmp_path, line):
    (tmp_path / "val.csv").write_bytes(HEAD + line + b"\n")
    text = refusal(read_evaluations, tmp_path / "val.csv")
    assert str(tmp_path / "val.csv") in text and len(text) < 1000


def test_messages_are_one_line_whatever_they_quote():
    error = DataError("a\nb \x1b[2J \udcff ü")
    assert readable(error) == "a\\nb \\x1b[2J \\udcff ü"
    assert readable(FileNotFoundError(2, "No such", "x\ry")) == "x\\ry: No such"
