"""Wide residual networks for small images (Zagoruyko & Komodakis, BMVC 2016).

The variant of the SharpDRO authors (and of the semi-supervised learning code it descends from):
pre-activation blocks, LeakyReLU(0.1), and a first block whose shortcut sees the activated input.
"""

from mindspore import nn

from models.layers import STOCK, Layers, global_average_pool, linear

SLOPE = 0.1


class Block(nn.Cell):
    """BN, LeakyReLU, conv3×3, BN, LeakyReLU, conv3×3, plus the shortcut.

    The shortcut is a 1×1 convolution where channels or stride change, else the identity.
    `activate_shortcut` (the network's first block): the shortcut starts after BN and LeakyReLU.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        activate_shortcut: bool,
        layers: Layers,
    ):
        super().__init__()
        self.activate_shortcut = activate_shortcut
        self.norm1 = layers.batch_norm(in_channels, SLOPE)
        self.conv1 = layers.convolution(in_channels, channels, 3, stride)
        self.norm2 = layers.batch_norm(channels, SLOPE)
        self.conv2 = layers.convolution(channels, channels, 3)
        self.activation = layers.activation(SLOPE)
        self.project = in_channels != channels or stride != 1
        if self.project:
            self.shortcut = layers.convolution(in_channels, channels, 1, stride)

    def construct(self, x):
        activated = self.activation(self.norm1(x))
        branch = self.conv1(activated)
        branch = self.conv2(self.activation(self.norm2(branch)))
        shortcut = activated if self.activate_shortcut else x
        if self.project:
            shortcut = self.shortcut(shortcut)
        return shortcut + branch


class WideResNet(nn.Cell):
    """WideResNet-depth-widen_factor: float32 (N, 3, H, W) to logits (N, num_classes).

    Three stages of (depth − 4) / 6 blocks, widths 16, 32 and 64 times `widen_factor`.

    Raises:
        ValueError: depth is not 6k + 4 with k ≥ 1, or widen_factor is below 1.
    """

    CLASSIFIER = "classifier"

    def __init__(
        self,
        num_classes: int,
        depth: int = 28,
        widen_factor: int = 2,
        layers: Layers = STOCK,
    ):
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth must be 10, 16, 22, 28, … (6k + 4), not {depth}")
        if widen_factor < 1:
            raise ValueError(f"widen_factor must be at least 1, not {widen_factor}")
        blocks_per_stage = (depth - 4) // 6
        self.stem = layers.convolution(3, 16, 3)
        blocks, in_channels = [], 16
        for stage in range(3):
            channels = 16 * widen_factor * 2**stage
            for i in range(blocks_per_stage):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(Block(in_channels, channels, stride, not blocks, layers))
                in_channels = channels
        self.blocks = nn.SequentialCell(blocks)
        self.norm = layers.batch_norm(in_channels, SLOPE)
        self.activation = layers.activation(SLOPE)
        self.classifier = linear(in_channels, num_classes)

    def construct(self, images):
        features = self.activation(self.norm(self.blocks(self.stem(images))))
        return self.classifier(global_average_pool(features))

    def make_exportable(self) -> None:
        """Nothing stands in the way of exporting this network."""
