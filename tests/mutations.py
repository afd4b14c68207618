"""Files as nobody should send them: valid ones, spoiled at random, for hypothesis."""

import io
import json
import struct
import zlib

import numpy as np
from hypothesis import strategies as st

NASTY = [
    *(b"\x00", b"\xff", b"\x00" * 8, b"\xff" * 8, b"\n", b",", b'"', b"\xed\xa0\x80", b"\x1b[2J"),
    *(b"nan", b"-1", b"1e999", b"9" * 30, b"9" * 5000, b"../../x", b"/etc/passwd", b"\xd9\xa3"),
    *(b"[" * 2000, b'{"a":' * 2000, b"(" * 300, b"]", b"\x7f\xff\xff\xff", b"," * 50),
]
CELLS = ["", "0", "-1", "nan", "inf", "1e999", "9" * 30, "9" * 5000, "x", "\x00", "٣", "mean", '"']
TYPES = ["|u1", "<f8", "|O", "<U9", "|V0", "|S0", "<i8", ">u2", "u1,O", "<M8[s]", "?", 3, "|V99999"]


@st.composite
def spoiled(draw, content: bytes) -> bytes:
    """Bytes flipped, cut off, cut out, repeated, put in."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 64)))
        head, middle, tail = content[:start], content[start:end], content[end:]
        middle = draw(
            st.sampled_from([b"", middle * 2, middle + tail, bytes(255 - b for b in middle)])
            | st.sampled_from(NASTY)
            | st.binary(max_size=16)
        )
        content = head + middle + (b"" if draw(st.integers(0, 9)) == 0 else tail)
    return content


def numbers():
    """Whole numbers, mostly those at which something ends."""
    return st.sampled_from([0, 1, -1, 2, 5, 255, 2**31, 2**40, 2**62, 2**63, -(2**63), 10**400])


def values():
    """Any JSON value, also such as Python alone writes."""
    leaves = st.none() | st.booleans() | numbers() | st.floats() | st.text(max_size=9)
    leaves |= st.sampled_from(["../../x", "nan", "sharpdro", "fog", "\ud800", [[]] * 3, {"0": {}}])
    more = st.recursive(
        leaves,
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
        max_leaves=6,
    )
    return more | st.just(json.loads("[" * 600 + "]" * 600))


@st.composite
def spoiled_json(draw, content) -> bytes:
    """One or two values anywhere in it are replaced, left out or moved."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 2))):
        inside = content
        while True:
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(inside[key], dict | list) and draw(st.integers(0, 4)):
                inside = inside[key]
                continue
            if draw(st.integers(0, 5)):
                inside[key] = draw(values())
            else:
                del inside[key]
            break
    return json.dumps(content, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@st.composite
def spoiled_table(draw, text: str) -> bytes:
    """Cells of a table, and whole lines, are replaced, repeated or left out."""
    lines = [line.split(",") for line in text.split("\n")]
    for _ in range(draw(st.integers(1, 3))):
        line = draw(st.sampled_from(lines))
        what = draw(st.sampled_from(["cell", "cell", "cell", "more", "fewer", "twice", "gone"]))
        if what == "cell" and line:
            line[draw(st.integers(0, len(line) - 1))] = draw(st.sampled_from(CELLS) | st.text())
        elif what == "more":
            line.append(draw(st.sampled_from(CELLS)))
        elif what == "fewer" and line:
            line.pop()
        elif what == "twice":
            lines.append(line)
        elif len(lines) > 1:
            lines.remove(line)
    return "\n".join(map(",".join, lines)).encode("utf-8", "surrogatepass")


@st.composite
def npy(draw) -> bytes:
    """A .npy file whose header says anything."""
    shape = draw(st.lists(numbers() | st.sampled_from([4, 20]), max_size=4).map(tuple) | values())
    header = {"descr": draw(st.sampled_from(TYPES)), "fortran_order": draw(st.booleans())}
    text = repr({**header, "shape": shape}) + " " * draw(st.integers(0, 3)) + "\n"
    return (
        np.lib.format.magic(1, 0)
        + struct.pack("<H", len(text[:65535]))
        + text.encode("latin1", "replace")
        + bytes(draw(st.sampled_from([0, 1, 80, 400])))
    )


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG file that declares a size, with any pixels."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def picture(kind: str) -> bytes:
    """A small picture in a format."""
    from PIL import Image

    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@st.composite
def spoiled_checkpoint(draw, content: bytes) -> bytes:
    """Fields of a MindSpore checkpoint changed, or bytes, under a checksum that is right again."""
    from mindspore.train.checkpoint_pb2 import Checkpoint

    message = Checkpoint()
    message.ParseFromString(content[:-17])
    for _ in range(draw(st.integers(1, 2))):
        element = draw(st.sampled_from(list(message.value)))
        what = draw(st.sampled_from(["dims", "type", "content", "tag", "twice", "map", "settings"]))
        tensor = element.tensor
        if what == "dims":
            fitting = numbers().filter(lambda n: abs(n) < 2**63)
            tensor.dims[:] = draw(st.lists(fitting, max_size=4))
        elif what == "type":
            names = ["str", "Float64", "Int32", "BFloat16", "Bool", "Quux", "Float16", "O", ""]
            tensor.tensor_type = draw(st.sampled_from(names))
        elif what == "content":
            tensor.tensor_content = draw(spoiled(tensor.tensor_content))
        elif what == "tag":
            element.tag = draw(st.sampled_from(["", "x", "settings_json", "finished_epoch"]))
        elif what == "twice":
            message.value.add().CopyFrom(element)
        elif what == "map":
            element.maptensor.tensor.add().CopyFrom(tensor)
        else:
            (settings,) = [e for e in message.value if e.tag == "settings_json"][:1] or [element]
            known = {"dataset": "synthetic", "model": "wideresnet", "depth": 10, "widen_factor": 1}
            known |= {"desc": "run", "corruption": "fog", "num_severity": 1, "seed": 0}
            text = draw(spoiled_json(known)).decode("utf-8", "surrogatepass")
            settings.tensor.tensor_content = text.encode("utf-32-le", "surrogatepass")
    body = message.SerializePartialToString()
    if draw(st.integers(0, 4)) == 0:
        body = draw(spoiled(body))
    return body + b"crc_num" + zlib.crc32(body).to_bytes(10, "big")


class Bomb:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call
