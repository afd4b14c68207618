"""The method's formulas again, in plain NumPy and float64, with gradients written by hand.

Nothing here is shared with the package: a mistake would have to be made twice to go unnoticed.
The network is conv3×3, batch norm, LeakyReLU(0.1), global average pool, linear.
"""

import numpy as np

SLOPE, EPSILON = 0.1, 1e-5
NAMES = ("conv", "gamma", "beta", "weight", "bias")


def windows(images):
    """(B, C, H, W) to zero-padded 3×3 neighbourhoods (B, C, H, W, 3, 3)."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def forward(p, images):
    """Logits in training mode, and everything that the backward pass needs."""
    conv = np.einsum("bchwij,ocij->bohw", windows(images), p["conv"])
    mean, variance = conv.mean((0, 2, 3)), conv.var((0, 2, 3))
    inverse = 1 / np.sqrt(variance + EPSILON)
    normed = (conv - mean[:, None, None]) * inverse[:, None, None]
    scaled = normed * p["gamma"][:, None, None] + p["beta"][:, None, None]
    active = np.where(scaled > 0, scaled, SLOPE * scaled)
    pooled = active.mean((2, 3))
    logits = pooled @ p["weight"].T + p["bias"]
    count = conv.size // conv.shape[1]
    unbiased = variance * count / (count - 1)
    return logits, (images, inverse, normed, scaled, pooled, mean, unbiased)


def losses(logits, labels):
    return -np.log(softmax(logits)[np.arange(len(labels)), labels])


def gradient(p, images, labels, weights):
    """Gradient of Σ_i w_i ℓ_i, by hand."""
    logits, (images, inverse, normed, scaled, pooled, _, _) = forward(p, images)
    error = softmax(logits)
    error[np.arange(len(labels)), labels] -= 1
    error *= weights[:, None]
    g = {"weight": error.T @ pooled, "bias": error.sum(0)}
    side = images.shape[2] * images.shape[3]
    active = np.broadcast_to((error @ p["weight"])[:, :, None, None] / side, scaled.shape)
    scaled_error = active * np.where(scaled > 0, 1, SLOPE)
    g["gamma"] = (scaled_error * normed).sum((0, 2, 3))
    g["beta"] = scaled_error.sum((0, 2, 3))
    normed_error = scaled_error * p["gamma"][:, None, None]
    axes = (0, 2, 3)
    conv_error = inverse[:, None, None] * (
        normed_error
        - normed_error.mean(axes, keepdims=True)
        - normed * (normed_error * normed).mean(axes, keepdims=True)
    )
    g["conv"] = np.einsum("bchwij,bohw->ocij", windows(images), conv_error)
    return g


class Oracle:
    """A network, its running statistics, momentum buffers and group weights."""

    def __init__(self, parameters, num_groups, lr, momentum, weight_decay):
        self.p = {k: np.array(v, np.float64) for k, v in parameters.items()}
        self.running_mean = np.zeros(len(self.p["gamma"]))
        self.running_var = np.ones(len(self.p["gamma"]))
        self.velocity = {k: np.zeros_like(v) for k, v in self.p.items()}
        self.q = np.full(num_groups, 1 / num_groups)
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay

    def first_pass(self, images, labels):
        logits, (*_, mean, unbiased) = forward(self.p, images)
        self.running_mean += 0.1 * (mean - self.running_mean)
        self.running_var += 0.1 * (unbiased - self.running_var)
        mean_weights = np.full(len(labels), 1 / len(labels))
        return losses(logits, labels), gradient(self.p, images, labels, mean_weights)

    def descend(self, gradients):
        for k in self.p:
            decayed = gradients[k] + self.weight_decay * self.p[k]
            self.velocity[k] = self.momentum * self.velocity[k] + decayed
            self.p[k] = self.p[k] - self.lr * self.velocity[k]

    def erm_step(self, images, labels, groups):
        sample_losses, gradients = self.first_pass(images, labels)
        self.descend(gradients)
        return sample_losses, norm(gradients)

    def sharpdro_step(self, images, labels, groups, rho, step_size, adaptive):
        sample_losses, g1 = self.first_pass(images, labels)
        if adaptive:
            length = norm({k: np.abs(self.p[k]) * g1[k] for k in g1})
            epsilon = {k: rho * self.p[k] ** 2 * g1[k] / (length + 1e-12) for k in g1}
        else:
            epsilon = {k: rho * g1[k] / (norm(g1) + 1e-12) for k in g1}
        for s in range(len(self.q)):
            if (groups == s).any():
                self.q[s] *= np.exp(step_size * sample_losses[groups == s].mean())
        self.q /= self.q.sum()
        weights = np.zeros(len(labels))
        for i, s in enumerate(groups):
            weights[i] = self.q[s] / (groups == s).sum()
        there = {k: self.p[k] + epsilon[k] for k in self.p}
        g2 = gradient(there, images, labels, weights)
        self.descend({k: g1[k] + g2[k] for k in g1})
        return sample_losses, norm(g1)


def norm(gradients):
    return np.sqrt(sum((g**2).sum() for g in gradients.values()))
