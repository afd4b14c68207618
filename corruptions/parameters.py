"""Strength of each corruption per severity 1…5, for 32×32 and for 64×64 images.

Values of Hendrycks & Dietterich, *Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations*, ICLR 2019: their CIFAR set and their 64×64 ImageNet set. What the numbers of a
corruption mean is said once, above its row in the CIFAR set.
"""

STANDARD = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
CORRUPTIONS = STANDARD + EXTRA
MAX_SEVERITY = 5

_CIFAR = {
    # standard deviation of the noise
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    # photons of a white pixel
    "shot_noise": (500, 250, 100, 75, 50),
    # share of the values that are replaced
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    # radius of the disk, σ of its smoothing, in pixels
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    # σ of the Gaussian filters, largest offset, in pixels; sweeps
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    # radius and σ of the kernel, in pixels
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    # largest zoom factor, itself left out
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),
    # mean and spread of the layer, zoom, threshold, radius and σ of its motion blur, share of x
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    # share of x, share of the frost, scale of the photographs
    "frost": ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    # thickness, decay of the heightmap's roughness
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    # added to the HSV value
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    # factor
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    # size and smoothness of the displacements, size of the affine map, in heights of the image
    "elastic_transform": (
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    # scale of the small image
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    # JPEG quality
    "jpeg_compression": (80, 65, 58, 50, 40),
    # standard deviation of the noise on a white pixel
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
    # σ in pixels
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
    # kind; mean, spread and σ of the liquid layer, threshold, strength of water or σ of mud
    "spatter": (
        ("water", 0.62, 0.1, 0.7, 0.7, 0.5),
        ("water", 0.65, 0.1, 0.8, 0.7, 0.5),
        ("water", 0.65, 0.3, 1, 0.69, 0.5),
        ("mud", 0.65, 0.1, 0.7, 0.69, 0.6),
        ("mud", 0.65, 0.1, 0.5, 0.68, 0.6),
    ),
    # factor of the HSV saturation, added to it
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}
_IMAGENET64 = {
    "gaussian_noise": (0.04, 0.08, 0.12, 0.15, 0.18),
    "shot_noise": (250, 100, 50, 30, 15),
    "impulse_noise": (0.01, 0.02, 0.05, 0.08, 0.14),
    "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "frost": ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
    "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic_transform": (
        (0, 0, 0.08),
        (0.05, 0.3, 0.06),
        (0.1, 0.08, 0.06),
        (0.1, 0.03, 0.03),
        (0.16, 0.03, 0.02),
    ),
    "pixelate": (0.9, 0.8, 0.7, 0.6, 0.5),
    "jpeg_compression": (65, 58, 50, 40, 25),
    "speckle_noise": (0.15, 0.2, 0.25, 0.3, 0.35),
    "gaussian_blur": (0.5, 0.75, 1, 1.25, 1.5),
    "spatter": (
        ("water", 0.62, 0.1, 0.7, 0.7, 0.6),
        ("water", 0.65, 0.1, 0.8, 0.7, 0.6),
        ("water", 0.65, 0.3, 1, 0.69, 0.6),
        ("mud", 0.65, 0.1, 0.7, 0.68, 0.6),
        ("mud", 0.65, 0.1, 0.5, 0.67, 0.6),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
}
PARAMETERS = {"cifar": _CIFAR, "imagenet64": _IMAGENET64}
VARIANTS = tuple(PARAMETERS)
# Side of the images, in pixels, that each variant's strengths were chosen for.
SIDES = {"cifar": 32, "imagenet64": 64}


def variant_of_size(height: int, width: int) -> str | None:
    """The variant whose strengths are for images of this size; None: there is none."""
    return next((name for name, side in SIDES.items() if (height, width) == (side, side)), None)
