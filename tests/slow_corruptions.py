"""Every corruption again, one image at a time, slowly and straight from its definition.

Each function takes a uint8 image (H, W, 3), the strength as `corruptions.parameters` has it, and
then its random numbers, in the order in which the package draws them; the noises take a generator
instead. Nothing here is shared with the package: a mistake would have to be made twice.
"""

import io
import math
from decimal import Decimal

import numpy as np
from PIL import Image
from scipy import ndimage


def truncated(x):
    """From [0, 1], clipped, to uint8 without rounding."""
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


def gaussian_noise(image, scale, rng):
    """x + N(0, scale²)."""
    return truncated(image / 255 + scale * rng.standard_normal(image.shape))


def speckle_noise(image, scale, rng):
    """x + x·N(0, scale²)."""
    return truncated(image / 255 * (1 + scale * rng.standard_normal(image.shape)))


def shot_noise(image, photons, rng):
    """Poisson(x·photons) / photons."""
    return truncated(rng.poisson(image / 255 * photons) / photons)


def impulse_noise(image, share, rng):
    """A share of the values set to 0 or 1, half each."""
    hit = rng.random(image.shape) < share
    salt = rng.random(image.shape) < 0.5
    return np.where(hit, np.where(salt, 255, 0), image).astype(np.uint8)


def _gaussian(x, sigma):
    """SciPy's order of summation, middle first, then pairs from the outside; exact exponentials."""
    radius = int(4 * sigma + 0.5)
    exponents = [-0.5 / sigma**2 * k**2 for k in range(-radius, radius + 1)]
    weights = np.array([float(Decimal(exponent).exp()) for exponent in exponents])
    weights /= weights.sum()
    for _ in range(2):  # rows, then columns
        padded = np.pad(x, ((radius, radius), (0, 0), (0, 0)), mode="edge")
        x = x * weights[radius]
        for k in range(radius):
            before, after = padded[k : k + len(x)], padded[2 * radius - k :][: len(x)]
            x += (before + after) * weights[k]
        x = x.transpose(1, 0, 2)
    return x


def gaussian_blur(image, sigma):
    """Gaussian of `sigma` pixels."""
    return truncated(_gaussian(image / 255, sigma))


def defocus_blur(image, strength):
    """Disk blurred with a 3×3 Gaussian, in single precision as published; borders reflect-101."""
    radius, smoothing = strength
    grid = range(-8, 9) if radius <= 8 else range(-int(radius), int(radius) + 1)
    disk = np.array([[y * y + x * x <= radius * radius for x in grid] for y in grid], np.float32)
    disk /= disk.sum()
    taps = np.array([math.exp(-0.5 * (k / smoothing) ** 2) for k in (-1, 0, 1)])
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        disk = ndimage.correlate1d(disk, taps, axis, mode="mirror")
    channels = [ndimage.correlate(image[..., c] / 255, disk, mode="mirror") for c in range(3)]
    return truncated(np.stack(channels, axis=-1))


def glass_blur(image, strength, *offsets):
    """`offsets`: down, right, down, right, … of each sweep, for the pixels that it reaches."""
    sigma, d, sweeps = strength
    height, width = image.shape[:2]
    glass = truncated(_gaussian(image / 255, sigma))
    for sweep in range(sweeps):
        down, right = offsets[2 * sweep], offsets[2 * sweep + 1]
        for h in range(height - d, d, -1):
            for w in range(width - d, d, -1):
                place = h - d - 1, w - d - 1
                glass[h, w] = glass[h + down[place], w + right[place]]
    return truncated(_gaussian(glass / 255, sigma))


def motion_blur(image, strength, degrees):
    """ImageMagick's MotionBlur; for the layer of snow also on images (H, W, 1)."""
    radius, sigma = strength
    height, width = image.shape[:2]
    weights = [math.exp(-k * k / (2 * sigma**2)) for k in range(2 * radius + 1)]
    total = np.zeros(image.shape)
    for k, weight in enumerate(weights):
        right = math.ceil(k * math.cos(math.radians(degrees)) - 0.5)
        down = math.ceil(k * math.sin(math.radians(degrees)) - 0.5)
        columns = [min(max(x + right, 0), width - 1) for x in range(width)]
        for y in range(height):
            row = min(max(y + down, 0), height - 1)
            total[y] += weight / sum(weights) * image[row, columns]
    return np.floor(np.floor(total * 257 + 0.5) / 257).astype(np.uint8)


def _zoomed(x, factor):
    """The middle of x (H, W, …), zoomed to at least its size and cut to it."""
    for axis in (0, 1):
        x = np.moveaxis(x, axis, 0)
        length, cropped = len(x), math.ceil(len(x) / factor)
        top = (length - cropped) // 2
        x = ndimage.zoom(x[top : top + cropped], (factor,) + (1,) * (x.ndim - 1), order=1)
        top = (len(x) - length) // 2
        x = np.moveaxis(x[top : top + length], 0, axis)
    return x


def zoom_blur(image, end):
    """In single precision, as published: its rounding shows where all pixels are equal."""
    number = {1.06: 7, 1.11: 12, 1.16: 16, 1.21: 21, 1.26: 26}[end]
    step = (1 + 0.01) - 1  # np.arange takes the difference of its first two numbers
    x = (image / 255).astype(np.float32)
    zooms = np.zeros_like(x)
    for k in range(number):
        zooms += _zoomed(x, 1 + k * step)
    return truncated((x + zooms) / (number + 1))


def snow(image, strength, normals, degrees):
    """`normals`: (H, W), before scaling; `degrees`: of the flakes' motion."""
    mean, spread, zoom, threshold, radius, sigma, b = strength
    layer = _zoomed(mean + spread * normals.astype(float), zoom)
    layer[layer < threshold] = 0
    flakes = motion_blur(truncated(layer)[..., None], (radius, sigma), degrees) / 255
    x = image / 255
    grey = (x @ [0.299, 0.587, 0.114])[..., None]
    x = b * x + (1 - b) * np.maximum(x, 1.5 * grey + 0.5)
    return truncated(x + flakes + np.rot90(flakes, 2))


def frost(image, strength, pictures, which, top, left):
    """`pictures`: five of uint8 (H, W, 3), shrunk already. In grey levels, as published."""
    share, frost_share, _ = strength
    height, width = image.shape[:2]
    ice = pictures[which][top : top + height, left : left + width]
    return np.clip(share * image + frost_share * ice, 0, 255).astype(np.uint8)


def shrunk(picture, scale):
    """Bilinear samples without antialiasing, rounded to uint8."""
    height, width = picture.shape[:2]
    small = np.empty((round(height * scale), round(width * scale), 3), np.uint8)
    for i, j in np.ndindex(small.shape[:2]):
        y = min(max((i + 0.5) / scale - 0.5, 0), height - 1)
        x = min(max((j + 0.5) / scale - 0.5, 0), width - 1)
        small[i, j] = np.floor(_bilinear(picture, y, x, lambda k, n: min(k, n - 1)) + 0.5)
    return small


def _bilinear(picture, y, x, inside):
    """The value at row y, column x; `inside` takes (index, length) to an index in range."""
    height, width = picture.shape[:2]
    top, left = math.floor(y), math.floor(x)
    value = 0.0
    for row, share_y in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, share_x in ((left, 1 - (x - left)), (left + 1, x - left)):
            value += share_y * share_x * picture[inside(row, height), inside(column, width)]
    return value


def fog(image, strength, random):
    """`random`: U(−1, 1) for each point of the heightmap."""
    thickness, decay = strength
    heights = _heightmap(random.astype(float), decay)
    heights = heights[: image.shape[0], : image.shape[1], None]
    x = image / 255
    return truncated((x + thickness * heights) * x.max() / (x.max() + thickness))


def _heightmap(random, decay):
    """Diamond-square on a torus."""
    side = len(random)
    heights = np.zeros((side, side))

    def set_to_mean(y, x, neighbours):
        mean = sum(heights[(y + dy) % side, (x + dx) % side] for dy, dx in neighbours) / 4
        heights[y, x] = mean + wibble * wibble * random[y, x]

    step, wibble = side, 100.0
    while step >= 2:
        half = step // 2
        corners = [(-half, -half), (-half, half), (half, -half), (half, half)]
        sides = [(-half, 0), (half, 0), (0, -half), (0, half)]
        for y in range(half, side, step):
            for x in range(half, side, step):
                set_to_mean(y, x, corners)
        for y in range(0, side, step):
            for x in range(0, side, step):
                set_to_mean(y, x + half, sides)
                set_to_mean(y + half, x, sides)
        step, wibble = half, wibble / decay
    return (heights - heights.min()) / (heights.max() - heights.min())


def brightness(image, added):
    """HSV value + added."""
    return _in_hsv(image, lambda hue, saturation, value: (hue, saturation, min(value + added, 1)))


def saturate(image, strength):
    """HSV saturation · factor + added."""
    factor, added = strength
    return _in_hsv(image, lambda h, s, v: (h, min(max(s * factor + added, 0), 1), v))


def _in_hsv(image, change):
    """`change` takes hue, saturation and value of a pixel and returns new ones."""
    changed = np.empty(image.shape)
    for place in np.ndindex(image.shape[:2]):
        changed[place] = _hsv_to_rgb(*change(*_rgb_to_hsv(*(image[place] / 255).tolist())))
    return truncated(changed)


def _rgb_to_hsv(red, green, blue):
    """Hue 0 for grey. Of equal channels the last counts as the largest, as in scikit-image."""
    value, span = max(red, green, blue), max(red, green, blue) - min(red, green, blue)
    if span == 0:
        return 0.0, 0.0, value
    if blue == value:
        hue = 4 + (red - green) / span
    elif green == value:
        hue = 2 + (blue - red) / span
    else:
        hue = (green - blue) / span
    return hue / 6 % 1, span / value, value


def _hsv_to_rgb(hue, saturation, value):
    """The usual six cases."""
    sixth = math.floor(hue * 6)
    way = hue * 6 - sixth
    least = value * (1 - saturation)
    falling, rising = value * (1 - way * saturation), value * (1 - (1 - way) * saturation)
    return [
        (value, rising, least),
        (falling, value, least),
        (least, value, rising),
        (least, falling, value),
        (rising, least, value),
        (value, least, falling),
    ][sixth % 6]


def contrast(image, factor):
    """(x − m)·factor + m, m the mean of each channel, added up pixel by pixel."""
    x = image / 255
    mean = np.zeros(3)
    for pixel in x.reshape(-1, 3):
        mean += pixel
    mean /= x.shape[0] * x.shape[1]
    return truncated((x - mean) * factor + mean)


def pixelate(image, scale):
    """Box-resize to a smaller image and back."""
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((int(width * scale), int(height * scale)), Image.BOX)
    return np.asarray(small.resize((width, height), Image.BOX))


def jpeg_compression(image, quality):
    """There and back at Pillow's defaults."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def elastic_transform(image, strength, moves, right=None, down=None):
    """`moves`: of three points, (x, y), in pixels; `right`, `down`: U(−α, α), where α is not 0."""
    height, width = image.shape[:2]
    alpha, sigma, _ = (value * height for value in strength)
    third, x0, y0 = min(height, width) // 3, width // 2, height // 2
    points = [(x0 + third, y0 + third), (x0 + third, y0 - third), (x0 - third, y0 - third)]
    matrix = np.linalg.solve(np.c_[points, np.ones(3)], points + moves.astype(float)).T
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    warped, levels = np.empty(image.shape), image.astype(float)
    for y, x in np.ndindex(height, width):
        # OpenCV interpolates at steps of 1/32 pixel.
        from_x, from_y = np.floor(inverse[:2] @ [x, y, 1] * 32 + 0.5) / 32
        warped[y, x] = _bilinear(levels, from_y, from_x, _reflected_101)
    if not alpha:
        return warped.astype(np.uint8)
    y, x = np.indices((height, width)).astype(float)
    for coordinate, field in ((y, down), (x, right)):
        coordinate += ndimage.gaussian_filter(
            field.astype(float), sigma, mode="reflect", truncate=3
        )
    sampled = [
        ndimage.map_coordinates(warped[..., c], [y, x], order=1, mode="reflect") for c in range(3)
    ]
    # What is whole in exact numbers, as among equal pixels, must not fall to the number below.
    return (np.stack(sampled, axis=-1) + 1e-9).astype(np.uint8)


def _reflected_101(index, length):
    """The index within range: … 2 1 0 1 2 …"""
    index = abs(index) % (2 * length - 2)
    return min(index, 2 * length - 2 - index)


def spatter(image, strength, normals):
    """`normals`: (H, W), before scaling."""
    kind, mean, scale, sigma, threshold, last = strength
    liquid = _plain_gaussian(mean + scale * normals.astype(float), sigma)
    if kind == "mud":
        mask = _plain_gaussian((liquid > threshold).astype(float), last)
        mask = np.where(mask < 0.8, 0, mask)[..., None]
        return truncated(image / 255 * (1 - mask) + mask * np.array([63, 42, 20]) / 255)
    # Beyond 255 the published conversion to uint8 wraps around.
    liquid = (np.where(liquid < threshold, 0, liquid) * 255).astype(int) % 256
    mask = liquid * _relief(liquid)
    light = mask[..., None] / max(mask.max(), 1) * last
    return truncated(image / 255 + light * np.array([175, 238, 238]) / 255)


def _plain_gaussian(layer, sigma):
    """Edge values repeated, cut off at 4σ, weights from the formula."""
    radius = int(4 * sigma + 0.5)
    weights = np.array([math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)])
    weights /= weights.sum()
    for axis in (0, 1):
        layer = ndimage.correlate1d(layer, weights, axis, mode="nearest")
    return layer


def _relief(liquid):
    """How bright the surface of the liquid shines, from the distance to its edges."""
    box = np.ones((3, 3), int)
    level = _correlate3(_chamfer_distance(_canny(liquid)), box) // (9 * 10000)
    lit = _correlate3(_equalized(level), [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]).clip(0, 255)
    return (_correlate3(lit, box) + 4) // 9


def _correlate3(image, kernel, mode="mirror"):
    """With a 3×3 kernel, in whole numbers."""
    return ndimage.correlate(image.astype(np.int64), np.array(kernel), mode=mode)


def _canny(grey, low=50, high=150):
    """Canny's edges as OpenCV finds them: Sobel gradients, |dx| + |dy|, four directions."""
    gx = _correlate3(grey, [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], "nearest")
    gy = _correlate3(grey, [[-1, -2, -1], [0, 0, 0], [1, 2, 1]], "nearest")
    size = np.pad(abs(gx) + abs(gy), 1)
    ridge = np.zeros(grey.shape, bool)
    for y, x in np.ndindex(grey.shape):
        if abs(gy[y, x]) * 32768 < abs(gx[y, x]) * 13573:  # below 22.5°
            dy, dx, tie_counts = 0, 1, True
        elif abs(gy[y, x]) * 32768 > abs(gx[y, x]) * (13573 + 65536):  # above 67.5°
            dy, dx, tie_counts = 1, 0, True
        else:
            dy, dx, tie_counts = 1, (-1 if gx[y, x] * gy[y, x] < 0 else 1), False
        here = size[y + 1, x + 1]
        before, after = size[y + 1 - dy, x + 1 - dx], size[y + 1 + dy, x + 1 + dx]
        is_peak = here > before and (here > after or (tie_counts and here == after))
        ridge[y, x] = here > low and is_peak
    labels, _ = ndimage.label(ridge, np.ones((3, 3)))
    strong = np.unique(labels[ridge & (size[1:-1, 1:-1] > high)])
    return ridge & np.isin(labels, strong)


def _chamfer_distance(edges):
    """To the nearest edge by steps of 1, 1.4 (diagonal) and 2.1969 (a knight's), ×10000, ≤ 20."""
    distance = np.full(edges.shape, 20 * 10000)
    rows, columns = np.indices(edges.shape)
    for y, x in np.argwhere(edges):
        dy, dx = abs(rows - y), abs(columns - x)
        far, near = np.maximum(dx, dy), np.minimum(dx, dy)
        flat = near * 21969 + (far - 2 * near) * 10000
        steep = (far - near) * 21969 + (2 * near - far) * 14000
        distance = np.minimum(distance, np.where(2 * near <= far, flat, steep))
    return distance


def _equalized(levels):
    """Histogram equalisation: the lowest level becomes 0, the highest 255."""
    lowest = levels.min()
    if levels.max() == lowest:
        return levels
    above = levels.size - np.count_nonzero(levels == lowest)
    equalized = np.zeros(levels.shape, int)
    for level in np.unique(levels):
        between = np.count_nonzero((levels > lowest) & (levels <= level))
        equalized[levels == level] = np.rint(np.float32(between) * (np.float32(255) / above))
    return equalized
