"""What all pictures share, with matplotlib, which is optional."""

import io
from pathlib import Path

from PIL import Image

from corruptions.storage.files import write_atomically

# Okabe & Ito's colours (jfly.uni-koeln.de/color), which the colour-blind can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX*<>"
NO_PICTURES = (
    "no pictures, as matplotlib is not installed: pip install -r requirements-plots.txt, then the "
    "same command again"
)
# Of matplotlib's plasma: what is lighter is hard to see on white (contrast below 3).
_LIGHTEST = 0.62
_DPI = 100
_NUM_COLOURS = 128


def can_draw() -> bool:
    """Whether matplotlib is there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def new_figure(width: float, height: float):
    """A figure of its own, in inches, which leaves pyplot and its settings alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style(number: int) -> dict:
    """Colour, marker and dashes of a line."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": ("-", "--", "-.")[number // len(COLOURS) % 3],
    }


def severity_colours(count: int) -> list[tuple[float, ...]]:
    """Colours (r, g, b, a) in [0, 1] for severities 0, 1 and so on, from dark to bright."""
    from matplotlib import colormaps

    shares = (number / max(1, count - 1) for number in range(count))
    return [colormaps["plasma"](_LIGHTEST * share) for share in shares]


def add_legend(figure, lines, labels: list[str], **settings) -> None:
    """A legend with labels as they are: no formula between $, none hidden for a leading _."""
    legend = figure.legend(lines, [str(number) for number in range(len(labels))], **settings)
    for text, label in zip(legend.get_texts(), labels):
        text.set(text=label, parse_math=False)


def as_svg(figure) -> bytes:
    """A figure as the bytes of an SVG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg")
    return stream.getvalue()


def save_png(figure, path: Path) -> None:
    """Write a PNG file, small by its few colours, that appears only once it is complete."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    picture = Image.open(stream).convert("RGB")
    stream = io.BytesIO()
    picture.quantize(_NUM_COLOURS, dither=Image.Dither.NONE).save(stream, "png", optimize=True)
    write_atomically(path, stream.getvalue())
