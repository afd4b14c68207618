"""Building blocks that the networks share, as the reference implementations define them."""

from collections.abc import Callable

import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import HeNormal, XavierNormal


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    cell: Callable[..., nn.Cell] = nn.Conv2d,
) -> nn.Cell:
    """Bias-free convolution keeping the side at stride 1, He-normal (fan-out, gain of ReLU)."""
    return cell(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        pad_mode="pad",
        padding=kernel_size // 2,
        has_bias=False,
        weight_init=HeNormal(mode="fan_out", nonlinearity="relu"),
    )


def batch_norm(channels: int, cell: Callable[..., nn.Cell] = nn.BatchNorm2d) -> nn.Cell:
    """Batch norm, epsilon 1e-5, running statistics moving by 0.1 towards the batch.

    MindSpore's momentum is one minus PyTorch's, hence 0.9.
    """
    return cell(channels, eps=1e-5, momentum=0.9)


def linear(in_features: int, out_features: int) -> nn.Cell:
    """Fully connected layer, Xavier-normal weight, zero bias."""
    return nn.Dense(in_features, out_features, weight_init=XavierNormal(), bias_init="zeros")


class LeakyReLU(nn.Cell):
    """max(x, slope·x), written as (1 − slope)·relu(x) + slope·x.

    On a CPU that is five times faster, backward pass included, than nn.LeakyReLU.
    """

    def __init__(self, slope: float = 0.1):
        super().__init__()
        self.slope = slope

    def construct(self, x):
        return (1 - self.slope) * ops.relu(x) + self.slope * x


class Layers:
    """Makes the layers that can be computed in other ways, too: here MindSpore's own."""

    def convolution(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> nn.Cell:
        """See `convolution`."""
        return convolution(in_channels, out_channels, kernel_size, stride)

    def batch_norm(self, channels: int, slope: float = 1.0) -> nn.Cell:
        """See `batch_norm`. Behind it goes `activation(slope)`, or nothing if the slope is 1."""
        return batch_norm(channels)

    def activation(self, slope: float) -> nn.Cell:
        """max(x, slope·x), as far as a `batch_norm` of this slope in front has not done it."""
        return LeakyReLU(slope) if slope else nn.ReLU()


STOCK = Layers()


def global_average_pool(x):
    """(N, C, H, W) to (N, C)."""
    return x.mean((2, 3))


class Normalize(nn.Cell):
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W): (x/255 − mean) / std per channel."""

    def __init__(self, mean, std):
        super().__init__(auto_prefix=False)
        self.scale = Tensor([1 / (255 * s) for s in std], ms.float32).reshape(1, 3, 1, 1)
        self.shift = Tensor([-m / s for m, s in zip(mean, std)], ms.float32).reshape(1, 3, 1, 1)

    def construct(self, images):
        channels_first = ops.transpose(images.astype("float32"), (0, 3, 1, 2))
        return channels_first * self.scale + self.shift
