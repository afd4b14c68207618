"""A trained network as one file that other programs run: pixels in, logits out."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from corruptions.interrupts import check_interrupts
from corruptions.storage.files import complete, exclusive_partial
from sharpdro.errors import RunError
from sharpdro.networks.build import Trained
from sharpdro.networks.onnx_names import name_output
from sharpdro.run_folder.reading import reason_of

INPUT_NAME, OUTPUT_NAME = "images", "logits"
# How many images the check takes at least, and how many at a time where the file takes any number.
_NUM_TRIED, _TRIED_SIZES = 4, (1, 3)
# Of the largest logit: more than other kernels' rounding, less than any wrong weight makes.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Check:
    """How a file's logits compare with the network's.

    Args:
        program: what ran the file.
        output_name: of the logits, where the file names them.
        num_images: random images that both were given.
        difference: the largest one of two logits.
        largest: the largest absolute logit.
    """

    program: str
    output_name: str | None
    num_images: int
    difference: float
    largest: float


class PixelsToLogits(nn.Cell):
    """uint8 (N, H, W, 3) to float32 (N, num_classes); its argument's name is the file's input."""

    def __init__(self, trained: Trained):
        super().__init__(auto_prefix=False)
        self.network = trained.network
        self.normalize = trained.normalize

    def construct(self, images):
        return self.network(self.normalize(images))


def export_network(
    trained: Trained, path: Path, file_format: str, batch_size: int | None
) -> Check | None:
    """Write a network with its normalisation into one file, and run that file.

    The file takes uint8 (N, side, side, 3) and gives float32 logits (N, num_classes). It appears
    under its name once it is complete and has passed the check.

    Args:
        trained: the network; afterwards it gives the same, but may be slower to train.
        path: the file; one that is there is replaced.
        file_format: mindir or onnx.
        batch_size: N; None: any, which mindir alone can.

    Returns:
        The outcome of the check; None where onnxruntime, which it needs, is not installed.

    Raises:
        RunError: MindSpore cannot export the network, or the file gives other logits.
        OSError: the file cannot be written.
    """
    sizes = _TRIED_SIZES
    if batch_size is not None:
        sizes = (batch_size,) * -(-_NUM_TRIED // batch_size)
    batches = random_batches(trained.spec.side, sizes)
    expected = logits_of(PixelsToLogits(trained), batches)
    if hasattr(trained.network, "make_exportable"):  # not a network of the user's own
        trained.network.make_exportable()
    cell = PixelsToLogits(trained).set_train(False)
    shape = [None, *batches[0].shape[1:]]
    images = Tensor(batches[0]) if batch_size else Tensor(shape=shape, dtype=ms.uint8)
    with tempfile.TemporaryDirectory() as folder:
        written = _write(cell, images, Path(folder) / f"network.{file_format}", file_format)
        check_interrupts()
        check = _check(written, file_format, batches, expected)
        check_interrupts()
        with exclusive_partial(path) as partial, open(written, "rb") as source:
            shutil.copyfileobj(source, partial)
            complete(partial, path)
    return check


def random_batches(side: int, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """Images of random pixels, uint8 (N, side, side, 3), for each of some N."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (size, side, side, 3), dtype=np.uint8) for size in sizes]


def logits_of(function: Callable[[Tensor], Tensor], batches: list[np.ndarray]) -> list[np.ndarray]:
    """What a cell gives for batches of images, float32 (N, num_classes) each."""
    return [function(Tensor(images)).asnumpy().copy() for images in batches]


def _write(cell: nn.Cell, images: Tensor, path: Path, file_format: str) -> Path:
    try:
        ms.export(cell, images, file_name=str(path), file_format=file_format.upper())
    except (RuntimeError, ValueError, TypeError) as error:
        raise RunError(
            f"MindSpore cannot export this network as {file_format}: {reason_of(error)}"
        ) from error
    if not path.is_file():  # MindSpore divides what has more than 1 GB
        raise RunError(f"the network is too large for one {file_format} file")
    if file_format == "onnx":
        path.write_bytes(name_output(path.read_bytes(), OUTPUT_NAME))
    return path


@contextlib.contextmanager
def _refusing(program: str) -> Iterator[None]:
    """Turn what `program` raises, of whatever kind, into one line."""
    try:
        yield
    except Exception as error:
        raise RunError(
            f"{program} cannot run the exported network ({reason_of(error)}): nothing was written"
        ) from error


def _check(written, file_format, batches, expected) -> Check | None:
    if file_format == "onnx":
        try:
            import onnxruntime
        except ImportError:
            return None
        program = f"onnxruntime {onnxruntime.__version__}"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        with _refusing(program):
            session = onnxruntime.InferenceSession(
                str(written), options, providers=["CPUExecutionProvider"]
            )
            logits = [session.run(None, {INPUT_NAME: images})[0] for images in batches]
            output = session.get_outputs()[0].name
    else:
        program, output = f"MindSpore {ms.__version__}", None
        with _refusing(program):
            logits = logits_of(nn.GraphCell(ms.load(str(written))), batches)
    difference = max(float(np.abs(f - e).max()) for f, e in zip(logits, expected))
    largest = max(float(np.abs(e).max()) for e in expected)
    if not difference <= _TOLERANCE * largest:
        raise RunError(
            f"the logits of the exported network, as {program} runs it, differ by {difference:.2g} "
            f"from those of the checkpoint, which go up to {largest:.2g}: nothing was written"
        )
    return Check(program, output, sum(map(len, batches)), difference, largest)
