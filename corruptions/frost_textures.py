"""Pictures of frost on a window, drawn instead of the published photographs.

Ice on glass grows in sprays of fern-like fronds: from a nucleus some curved stems fan out, each
stem carries barbs on both sides, each barb carries needles. That is what is drawn here, generation
by generation, as tapered polygons over a sheet of unevenly thick ice; the result is then given the
colours and the contrast that make the corruption as strong as the published one.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

HEIGHT, WIDTH = 700, 1000
_SEED = 2
_SUPERSAMPLING = 2  # PIL draws without antialiasing

# These numbers, and the colours and contrasts of _STYLES, were fitted to the statistics of the
# published frost for 32x32 and 64x64 images at severities 1 to 5: mean absolute change and its
# spread over images, colour shift, saturated fraction, gradient ratio, autocorrelation of the
# change. The red-green correlation of the change stays higher than the published one; more tint
# would lower it, but no longer looks like ice. All other numbers were chosen by eye.
_CRYSTALS, _HAZE, _SHEET = 0.88, 1.1, 0.88  # shares in a picture, of standard deviation one each
_CONTRAST_RGB = np.array([1.12, 1.0, 0.84])  # thin ice is bluer
_TINT_RGB = np.array([5.0, -3.0, 1.0])  # real ice is not of one hue


@dataclass(frozen=True)
class _Style:
    """One picture: how its fronds grow, its mean colour and its standard deviation of grey."""

    sprays: int
    fronds_per_spray: int
    length: float  # of a frond, in pixels
    spread: float  # of the headings within a spray, in radians
    bend: float  # of a frond from root to tip, in radians
    barb_angle: float  # between a stem and its barbs, in radians
    colour: tuple[float, float, float]
    contrast: float


_STYLES = (
    _Style(8, 6, 420, 1.1, 0.8, 0.95, (68, 112, 150), 38),
    _Style(9, 5, 330, 2.6, 0.3, 1.05, (107, 143, 164), 42),
    _Style(9, 6, 440, 0.8, 1.2, 0.80, (145, 161, 170), 42),
    _Style(15, 5, 240, 3.1, 0.5, 1.05, (176, 188, 192), 40),
    _Style(11, 5, 380, 1.3, 0.6, 0.70, (212, 217, 219), 32),
)


@dataclass(frozen=True)
class _Branches:
    """Crystals of one generation as arrays of one length: slightly bent, tapered to a point."""

    root: np.ndarray  # (n, 2), x and y
    heading: np.ndarray  # at the root
    bend: np.ndarray  # by how much the heading has turned at the tip
    length: np.ndarray
    frond: np.ndarray  # number of the frond, in the order of painting

    def take(self, index: np.ndarray) -> "_Branches":
        return _Branches(*(values[index] for values in vars(self).values()))

    def points(self, t: np.ndarray) -> np.ndarray:
        """Points (n, k, 2) of the axes at the fractions t (n, k) of their lengths."""
        chord = self.heading[:, None] + self.bend[:, None] * t / 2
        step = np.stack([np.cos(chord), np.sin(chord)], -1)
        return self.root[:, None] + step * (t * self.length[:, None])[..., None]

    def outlines(self, width: np.ndarray, knots: int) -> np.ndarray:
        """Polygons (n, 2 * knots + 1, 2), as wide as `width` at the root."""
        t = np.broadcast_to(np.arange(knots + 1) / knots, (len(self.length), knots + 1))
        axis = self.points(t)
        normal = self.heading[:, None] + self.bend[:, None] * t + np.pi / 2
        across = np.stack([np.cos(normal), np.sin(normal)], -1)
        across *= (width[:, None] / 2 * (1 - t))[..., None]
        return np.concatenate([axis - across, (axis + across)[:, -2::-1]], axis=1)


def _sprays(style: _Style, rng: np.random.RandomState) -> _Branches:
    """Stems that fan out from nuclei anywhere on the glass."""
    n = style.sprays * style.fronds_per_spray
    spray, place = np.divmod(np.arange(n), style.fronds_per_spray)
    nucleus = rng.uniform(-0.05, 1.05, (style.sprays, 2)) * (WIDTH, HEIGHT)
    inwards = (WIDTH / 2, HEIGHT / 2) - nucleus
    fan = np.linspace(-style.spread, style.spread, style.fronds_per_spray)
    heading = np.arctan2(inwards[:, 1], inwards[:, 0])[spray] + fan[place]
    bend = style.bend * rng.normal(0, 1, style.sprays)[spray]
    return _Branches(
        root=nucleus[spray],
        heading=heading + rng.normal(0, 0.12, n),
        bend=bend + rng.normal(0, 0.15, n),
        length=style.length * rng.uniform(0.5, 1.3, n),
        frond=rng.permutation(n),  # so that fronds of different sprays cover each other
    )


def _side_branches(
    parents: _Branches, spacing: float, angle: float, ratio: float, rng: np.random.RandomState
) -> _Branches:
    """Branches on both sides of their parents, shorter towards the tips."""
    pairs = np.maximum(parents.length / spacing, 1).astype(int)
    count = 2 * pairs
    roots = parents.take(np.repeat(np.arange(len(count)), count))
    n = len(roots.length)
    place = np.arange(n) - np.repeat(np.cumsum(count) - count, count)
    side = np.where(place % 2, 1, -1)
    t = (place // 2 + 0.5 + rng.uniform(-0.3, 0.3, n)) / np.repeat(pairs, count)
    envelope = (1 - t) ** 0.7 * np.minimum(1, 0.35 + 2.5 * t)
    return _Branches(
        root=roots.points(t[:, None])[:, 0],
        heading=roots.heading + roots.bend * t + side * (angle + rng.normal(0, 0.08, n)),
        bend=-0.35 * side * rng.uniform(0.3, 1, n),  # towards the tip of the parent
        length=ratio * roots.length * envelope * rng.uniform(0.4, 1.15, n),
        frond=roots.frond,
    )


def _paint_fronds(draw: ImageDraw.ImageDraw, style: _Style, rng: np.random.RandomState) -> None:
    """Paint the fronds of one style, each over the ones before it."""
    stems = _sprays(style, rng)
    barbs = _side_branches(stems, 14, style.barb_angle, 0.36, rng)
    needles = _side_branches(barbs, 10, style.barb_angle, 0.32, rng)
    layers = (  # crystals, width at the root, knots, shade, from the back to the front
        (barbs, 5 + 0.18 * barbs.length, 2, 80),
        (needles, 2 + 0.04 * needles.length, 1, 115),
        (barbs, 1.8 + 0.03 * barbs.length, 2, 150),
        (stems, 2.5 + 0.008 * stems.length, 8, 180),
    )
    light = rng.uniform(0, np.pi)  # facets of one heading shine together
    brightness = rng.uniform(0.55, 1.2, len(stems.frond))
    outlines, shades, keys = [], [], []
    for depth, (crystals, width, knots, shade) in enumerate(layers):
        outlines += list(crystals.outlines(width, knots) * _SUPERSAMPLING)
        facet = np.cos(2 * (crystals.heading - light)) + rng.normal(0, 0.6, len(width))
        shades.append((shade + 25 * facet) * brightness[crystals.frond])
        keys.append(crystals.frond * len(layers) + depth)
    shades = np.clip(np.concatenate(shades), 0, 255).astype(int).tolist()
    for i in np.argsort(np.concatenate(keys), kind="stable"):
        draw.polygon(outlines[i].ravel().tolist(), fill=shades[i])


def _draw_crystals(style: _Style, rng: np.random.RandomState) -> np.ndarray:
    """The crystals of one picture, (HEIGHT, WIDTH): its fronds upon a carpet of small ones."""
    canvas = Image.new("L", (WIDTH * _SUPERSAMPLING, HEIGHT * _SUPERSAMPLING), 30)
    draw = ImageDraw.Draw(canvas)
    _paint_fronds(draw, replace(style, sprays=110, length=115, spread=3.0), rng)
    _paint_fronds(draw, style, rng)
    return np.asarray(canvas.reduce(_SUPERSAMPLING), np.float64)


def _smooth_surface(rng: np.random.RandomState) -> np.ndarray:
    """A random surface with hills of about 200 pixels, (HEIGHT, WIDTH)."""
    coarse = gaussian_filter(rng.normal(0, 1, (HEIGHT // 10, WIDTH // 10)), 8)
    image = Image.fromarray(coarse.astype(np.float32))
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float64)


def _standardised(field: np.ndarray) -> np.ndarray:
    """Shifted and scaled to mean zero and standard deviation one."""
    return (field - field.mean()) / field.std()


def _draw(style: _Style, rng: np.random.RandomState) -> np.ndarray:
    """One picture, uint8 (HEIGHT, WIDTH, 3)."""
    crystals = _draw_crystals(style, rng)
    haze = gaussian_filter(crystals, 10)  # light scattered in the ice around the crystals
    parts = ((_CRYSTALS, crystals - haze), (_HAZE, haze), (_SHEET, _smooth_surface(rng)))
    picture = _standardised(sum(share * _standardised(part) for share, part in parts))
    tint = _standardised(_smooth_surface(rng))
    rgb = style.colour + picture[..., None] * (style.contrast * _CONTRAST_RGB)
    rgb += tint[..., None] * _TINT_RGB
    return np.clip(rgb, 0, 255).astype(np.uint8)


@functools.cache
def draw_frost_textures() -> tuple[np.ndarray, ...]:
    """Five read-only pictures of window frost, uint8 RGB (700, 1000, 3), the same in every run."""
    rng = np.random.RandomState(_SEED)  # NumPy never changes its streams
    textures = tuple(_draw(style, rng) for style in _STYLES)
    for texture in textures:
        texture.flags.writeable = False  # the cache hands out the same arrays to everybody
    return textures
