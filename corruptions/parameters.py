"""Strength of each corruption per severity 1…5, for 32×32 and for 64×64 images.

Values of Hendrycks & Dietterich, *Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations*, ICLR 2019: their CIFAR set and their 64×64 ImageNet set.
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

PARAMETERS = {
    "cifar": {
        # standard deviation of the noise, image in [0, 1]
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
        # JPEG quality
        "jpeg_compression": (80, 65, 58, 50, 40),
    },
    "imagenet64": {
        "gaussian_noise": (0.04, 0.08, 0.12, 0.15, 0.18),
        "jpeg_compression": (65, 58, 50, 40, 25),
    },
}
VARIANTS = tuple(PARAMETERS)
