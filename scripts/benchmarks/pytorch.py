"""The same network and the same step of SharpDRO in PyTorch, to compare times with."""

import importlib.util
import os
import sys
import time
from collections.abc import Iterator

from benchmarks.made_up import NUM_GROUPS, made_up_batch
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


def step_timer(depth, widen_factor, batch_size):
    """A function that does one step of SharpDRO and returns the seconds it took."""
    os.environ.pop("ONEDNN_MAX_CPU_ISA", None)  # set for MindSpore, see `sharpdro.device`
    import torch
    from torch.nn.functional import one_hot

    network = create_wide_resnet(depth, widen_factor).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.03, 0.9, weight_decay=5e-4)
    images, labels, groups = map(torch.from_numpy, made_up_batch(batch_size))
    labels, membership = labels.long(), one_hot(groups.long(), NUM_GROUPS).float()
    mean, std = torch.tensor(CIFAR10.mean), torch.tensor(CIFAR10.std)
    weights = torch.full((NUM_GROUPS,), 1 / NUM_GROUPS)

    def run():
        nonlocal weights
        start = time.perf_counter()
        inputs = ((images / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
        weights = sharpdro_step(network, optimizer, inputs, labels, membership, weights)
        return time.perf_counter() - start

    run(), run()
    return run


def measure(options: Options) -> Iterator[Row]:
    """Steps here and there in turns, each in a process of its own."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: nothing to compare with", file=sys.stderr)
        return
    shape = options.depth, options.widen_factor, options.batch_size
    ours = Peer(our_step_timer, "sharpdro", *shape)
    with ours, Peer(step_timer, *shape) as theirs:
        times = in_turns({"ours": ours, "theirs": theirs}, options.rounds)
    yield Row("sharpdro", "s", tuple(times["ours"]))
    against = ratio(times["theirs"], times["ours"])
    yield Row("sharpdro in PyTorch", "s", tuple(times["theirs"]), "ours", against)
