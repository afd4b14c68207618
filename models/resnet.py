"""Residual networks with the ImageNet stem (He et al., CVPR 2016), laid out as in torchvision.

In the bottleneck the stride sits on the 3×3 convolution ("v1.5").
"""

from mindspore import nn, ops

from models.layers import STOCK, Layers, global_average_pool


class BasicBlock(nn.Cell):
    """conv3×3, BN, ReLU, conv3×3, BN, plus the shortcut, ReLU."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, layers: Layers):
        super().__init__()
        self.conv1 = layers.convolution(in_channels, channels, 3, stride)
        self.bn1 = layers.batch_norm(channels, slope=0)
        self.activation = layers.activation(slope=0)
        self.conv2 = layers.convolution(channels, channels, 3)
        self.bn2 = layers.batch_norm(channels)
        self.downsample = _downsample(in_channels, channels, stride, layers)

    def construct(self, x):
        branch = self.activation(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        return ops.relu(branch + self.downsample(x))


class Bottleneck(nn.Cell):
    """conv1×1, BN, ReLU, conv3×3, BN, ReLU, conv1×1 to 4× channels, BN, plus shortcut, ReLU."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, layers: Layers):
        super().__init__()
        self.conv1 = layers.convolution(in_channels, channels, 1)
        self.bn1 = layers.batch_norm(channels, slope=0)
        self.activation = layers.activation(slope=0)
        self.conv2 = layers.convolution(channels, channels, 3, stride)
        self.bn2 = layers.batch_norm(channels, slope=0)
        self.conv3 = layers.convolution(channels, 4 * channels, 1)
        self.bn3 = layers.batch_norm(4 * channels)
        self.downsample = _downsample(in_channels, 4 * channels, stride, layers)

    def construct(self, x):
        branch = self.activation(self.bn1(self.conv1(x)))
        branch = self.activation(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        return ops.relu(branch + self.downsample(x))


def _downsample(in_channels: int, out_channels: int, stride: int, layers: Layers) -> nn.Cell:
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return nn.SequentialCell(
        layers.convolution(in_channels, out_channels, 1, stride), layers.batch_norm(out_channels)
    )


class ExportablePool(nn.Cell):
    """What ResNet.maxpool gives for values ≥ 0, such as a ReLU's, where padded zeros never win.

    MindSpore has no ONNX converter for the padded pool. That one stays in use everywhere else,
    because a training step on a CPU takes a tenth longer with this one.
    """

    def __init__(self):
        super().__init__()
        self.pad = ops.Pad(((0, 0), (0, 0), (1, 1), (1, 1)))
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2)

    def construct(self, x):
        return self.pool(self.pad(x))


class ResNet(nn.Cell):
    """ResNet: float32 (N, 3, H, W) to logits (N, num_classes)."""

    CLASSIFIER = "fc"

    def __init__(self, block: type, blocks_per_stage: tuple, num_classes: int, layers: Layers):
        super().__init__()
        self.conv1 = layers.convolution(3, 64, 7, 2)
        self.bn1 = layers.batch_norm(64, slope=0)
        self.activation = layers.activation(slope=0)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, pad_mode="pad", padding=1)
        stages, in_channels = [], 64
        for stage, num_blocks in enumerate(blocks_per_stage):
            blocks = []
            for i in range(num_blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(block(in_channels, 64 * 2**stage, stride, layers))
                in_channels = 64 * 2**stage * block.expansion
            stages.append(nn.SequentialCell(blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        # nn.Dense draws as PyTorch's Linear does: weight and bias uniform in ±1/√in_channels.
        self.fc = nn.Dense(in_channels, num_classes)

    def construct(self, images):
        x = self.maxpool(self.activation(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(global_average_pool(x))

    def make_exportable(self) -> None:
        """Replace what cannot be exported by what gives the same."""
        self.maxpool = ExportablePool()


def resnet18(num_classes: int, layers: Layers = STOCK) -> ResNet:
    """ResNet-18 (11,689,512 parameters for 1000 classes)."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, layers)


def resnet50(num_classes: int, layers: Layers = STOCK) -> ResNet:
    """ResNet-50 (25,557,032 parameters for 1000 classes)."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, layers)
