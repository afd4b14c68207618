"""The same networks, steps and evaluation in PyTorch, to compare times with."""

import importlib.util
import os
import sys
import time
from collections.abc import Iterator

from benchmarks.evaluation import NUM_IMAGES
from benchmarks.made_up import NUM_GROUPS, clouds, made_up_batch
from benchmarks.measuring import Options, Peer, Row, in_turns, ratio
from benchmarks.steps import step_timer as our_step_timer
from dataset.specs import CIFAR10

RHO, STEP_SIZE = 0.05, 0.01


def create_wide_resnet(depth, widen_factor):
    """WideResNet as `models.wide_resnet` has it."""
    import torch
    from torch import nn
    from torch.nn.functional import leaky_relu

    class Block(nn.Module):
        def __init__(self, inputs, channels, stride, is_first):
            super().__init__()
            self.norms = nn.ModuleList([nn.BatchNorm2d(inputs), nn.BatchNorm2d(channels)])
            self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.is_first, self.project = is_first, nn.Identity()
            if inputs != channels or stride != 1:
                self.project = nn.Conv2d(inputs, channels, 1, stride, bias=False)

        def forward(self, x):
            activated = leaky_relu(self.norms[0](x), 0.1, inplace=True)
            branch = leaky_relu(self.norms[1](self.conv1(activated)), 0.1, inplace=True)
            return self.project(activated if self.is_first else x) + self.conv2(branch)

    layers, inputs = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)], 16
    for stage in range(3):
        for i in range((depth - 4) // 6):
            channels = 16 * widen_factor * 2**stage
            stride = 2 if stage and not i else 1
            layers.append(Block(inputs, channels, stride, len(layers) == 1))
            inputs = channels
    layers += [nn.BatchNorm2d(inputs), nn.LeakyReLU(0.1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return torch.nn.Sequential(*layers, nn.Linear(inputs, CIFAR10.num_classes))


def create_resnet18(num_classes):
    """ResNet-18 as `models.resnet` has it."""
    from torch import nn
    from torch.nn.functional import relu

    def convolution(inputs, channels, kernel, stride):
        conv = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(channels))

    class Block(nn.Module):
        def __init__(self, inputs, channels, stride):
            super().__init__()
            self.first = convolution(inputs, channels, 3, stride)
            self.second = convolution(channels, channels, 3, 1)
            same = inputs == channels and stride == 1
            self.project = nn.Identity() if same else convolution(inputs, channels, 1, stride)

        def forward(self, x):
            branch = self.second(relu(self.first(x), inplace=True))
            return relu(branch + self.project(x), inplace=True)

    layers = [convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for channels in (64, 128, 256, 512):
        stride = 1 if channels == 64 else 2
        layers += [Block(inputs, channels, stride), Block(channels, channels, 1)]
        inputs = channels
    pool = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, *pool, nn.Linear(inputs, num_classes))


def sharpdro_step(network, optimizer, images, labels, membership, weights):
    """One step of SharpDRO.

    Args:
        images: float32 (B, 3, H, W).
        labels: int64 (B,).
        membership: float32 (B, S), 1 where an image is of a severity.
        weights: the group weights (S,) before the step.

    Returns:
        The group weights after it.
    """
    import torch
    from torch.nn.functional import cross_entropy

    parameters = list(network.parameters())
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    # Pass 1 at θ.
    losses = cross_entropy(network(images), labels, reduction="none")
    gradients = torch.autograd.grad(losses.mean(), parameters)
    sizes = membership.sum(0).clamp(min=1)
    weights = weights * torch.exp(STEP_SIZE * (losses.detach() @ membership / sizes))
    weights = weights / weights.sum()
    # Pass 2 at θ + ε, running statistics untouched.
    with torch.no_grad():
        theta = [p.clone() for p in parameters]
        norm = torch.sqrt(sum((g * g).sum() for g in gradients))
        for p, g in zip(parameters, gradients):
            p.add_(RHO / (norm + 1e-12) * g)
    for module in norms:
        module.momentum = 0.0
    losses = cross_entropy(network(images), labels, reduction="none")
    worst_case = (membership @ (weights / sizes) * losses).sum()
    perturbed = torch.autograd.grad(worst_case, parameters)
    for module in norms:
        module.momentum = 0.1
    # Restore and update.
    with torch.no_grad():
        for p, value, a, b in zip(parameters, theta, gradients, perturbed):
            p.copy_(value)
            p.grad = a + b
    optimizer.step()
    return weights


def erm_step(network, optimizer, images, labels):
    """One step of ERM; arguments as above."""
    from torch.nn.functional import cross_entropy

    optimizer.zero_grad()
    cross_entropy(network(images), labels).backward()
    optimizer.step()


def normalizer(spec):
    """A function of uint8 (N, H, W, 3) that gives what the network takes."""
    import torch

    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    return lambda images: ((images / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def create_network(workload):
    """The network, which may use all of the processor."""
    os.environ.pop("ONEDNN_MAX_CPU_ISA", None)  # set for MindSpore, see `sharpdro.device`
    if workload.model == "wideresnet":
        return create_wide_resnet(workload.depth, workload.widen_factor)
    return create_resnet18(workload.spec.num_classes)


def step_timer(method, workload):
    """A function that does one step of sharpdro or erm and returns the seconds it took."""
    import torch
    from torch.nn.functional import one_hot

    network = create_network(workload).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.03, 0.9, weight_decay=5e-4)
    batch = made_up_batch(workload.batch_size, workload.spec)
    images, labels, groups = map(torch.from_numpy, batch)
    labels, membership = labels.long(), one_hot(groups.long(), NUM_GROUPS).float()
    normalize, weights = normalizer(workload.spec), torch.full((NUM_GROUPS,), 1 / NUM_GROUPS)

    def run():
        nonlocal weights
        start = time.perf_counter()
        inputs = normalize(images)
        if method == "erm":
            erm_step(network, optimizer, inputs, labels)
        else:
            weights = sharpdro_step(network, optimizer, inputs, labels, membership, weights)
        return time.perf_counter() - start

    run(), run()
    return run


def evaluation(workload):
    """A function that measures the network on as many images as `evaluation_functions` do."""
    import torch
    from torch.nn.functional import cross_entropy

    network, normalize = create_network(workload).eval(), normalizer(workload.spec)
    images = torch.from_numpy(clouds(NUM_IMAGES, workload.spec.side))
    labels = torch.arange(NUM_IMAGES) % workload.spec.num_classes

    def evaluate():
        size = workload.batch_size
        with torch.inference_mode():
            for _ in range(NUM_GROUPS):
                for batch, expected in zip(images.split(size), labels.split(size)):
                    logits = network(normalize(batch))
                    cross_entropy(logits, expected, reduction="none").sum().item()
                    (logits.argmax(1) == expected).sum().item()

    evaluate()
    return evaluate


def measure(options: Options) -> Iterator[Row]:
    """Steps here and there in turns, each in a process of its own."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: nothing to compare with", file=sys.stderr)
        return
    ours = Peer(our_step_timer, "sharpdro", options.workload)
    with ours, Peer(step_timer, "sharpdro", options.workload) as theirs:
        times = in_turns({"ours": ours, "theirs": theirs}, options.rounds)
    yield Row("sharpdro", "s", tuple(times["ours"]))
    against = ratio(times["theirs"], times["ours"])
    yield Row("sharpdro in PyTorch", "s", tuple(times["theirs"]), "ours", against)
