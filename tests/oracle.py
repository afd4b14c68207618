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


def log_sum_exp(logits):
    top = logits.max(1)
    return top + np.log(np.exp(logits - top[:, None]).sum(1))


def softmax(logits):
    return np.exp(logits - log_sum_exp(logits)[:, None])


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
    return log_sum_exp(logits) - logits[np.arange(len(labels)), labels]


def calibration_error(logits, labels, bins=15):
    """Bin by bin: the share of the images times |accuracy − mean confidence|, summed."""
    confidence, is_correct = softmax(logits).max(1), logits.argmax(1) == labels
    total = 0
    for number in range(1, bins + 1):
        there = ((number - 1) / bins < confidence) & (confidence <= number / bins)
        if there.any():
            total += there.mean() * abs(is_correct[there].mean() - confidence[there].mean())
    return total


def worst_class_accuracy(logits, labels):
    return min((logits[labels == c].argmax(1) == c).mean() for c in set(labels.tolist()))


def excess(logits, labels):
    """dℓ_i / d logits_i: softmax − one-hot."""
    error = softmax(logits)
    error[np.arange(len(labels)), labels] -= 1
    return error


def gradient(p, images, labels, weights):
    """Gradient of Σ_i w_i ℓ_i, by hand."""
    logits = forward(p, images)[0]
    return backward(p, images, weights[:, None] * excess(logits, labels))


def backward(p, images, error):
    """Gradient of a total of which `error` (B, C) is the derivative by the logits."""
    _, (images, inverse, normed, scaled, pooled, _, _) = forward(p, images)
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


def scale_slopes(logits, labels):
    """dℓ_i(a·logits_i)/da at a = 1, (B,), and its own derivative by the logits, (B, C)."""
    surplus, p = excess(logits, labels), softmax(logits)
    centred = logits - (p * logits).sum(1, keepdims=True)
    return (surplus * logits).sum(1), surplus + p * centred


def irm_total(logits, labels, groups, strength):
    """Mean over the groups present of L_s + λ · (slope of the even samples) · (of the odd ones).

    Samples are counted from 0 within their group; without an odd one there is no penalty. Also
    d total / d logits.
    """
    sample_losses, error = losses(logits, labels), excess(logits, labels)
    slopes, slopes_by_logits = scale_slopes(logits, labels)
    present = np.unique(groups)
    total, total_error = 0, np.zeros_like(logits)
    for s in present:
        here = np.flatnonzero(groups == s)
        total += sample_losses[here].mean()
        total_error[here] += error[here] / len(here)
        even, odd = here[::2], here[1::2]
        if len(odd):
            total += strength * slopes[even].mean() * slopes[odd].mean()
            for half, other in ((even, odd), (odd, even)):
                by_slope = strength * slopes[other].mean() / len(half)
                total_error[half] += by_slope * slopes_by_logits[half]
    return total / len(present), total_error / len(present)


def vrex_total(logits, labels, groups, strength):
    """Mean + β · variance of L_s over the groups present; d total / d logits."""
    sample_losses, error = losses(logits, labels), excess(logits, labels)
    present = np.unique(groups)
    group_losses = np.array([sample_losses[groups == s].mean() for s in present])
    total = group_losses.mean() + strength * group_losses.var()
    for s, loss in zip(present, group_losses):
        by_loss = (1 + strength * 2 * (loss - group_losses.mean())) / len(present)
        error[groups == s] *= by_loss / (groups == s).sum()
    return total, error


def perturbation(p, g, rho, adaptive):
    """ε of sharpness-aware minimisation, one length for all the parameters together."""
    if adaptive:
        length = norm({k: np.abs(p[k]) * g[k] for k in g})
        return {k: rho * p[k] ** 2 * g[k] / (length + 1e-12) for k in g}
    return {k: rho * g[k] / (norm(g) + 1e-12) for k in g}


def ood_scores(kind, images, logits, logits_there, labels):
    """One score per sample, larger for what looks more out of distribution."""
    p = softmax(logits)
    if kind == "confidence_drop":
        return p.max(1) - softmax(logits_there).max(1)
    if kind == "softmax":
        return -p.max(1)
    if kind == "energy":
        return -log_sum_exp(logits)
    if kind == "entropy":
        return log_sum_exp(logits) - (p * logits).sum(1)
    if kind == "loss":
        return losses(logits, labels)
    assert kind == "kurtosis"
    scores = []
    for image in images.mean(1):
        d = np.diff(np.diff(image, 2, axis=0), 2, axis=1)
        scores.append(-(((d**4).mean() / (d**2).mean() ** 2 * image.std()) ** 0.25))
    return np.array(scores)


def min_max(scores):
    span = scores.max() - scores.min()
    return np.ones(len(scores)) if span == 0 else (scores - scores.min()) / span


class Oracle:
    """A network, its running statistics, momentum buffers and group weights."""

    def __init__(self, parameters, num_groups, lr, momentum, weight_decay):
        self.p = {k: np.array(v, np.float64) for k, v in parameters.items()}
        self.running_mean = np.zeros(len(self.p["gamma"]))
        self.running_var = np.ones(len(self.p["gamma"]))
        self.velocity = {k: np.zeros_like(v) for k, v in self.p.items()}
        self.q = np.full(num_groups, 1 / num_groups)
        self.ema = np.full(num_groups, np.nan)  # nan: never seen
        self.steps_done = 0  # counted by IRM and VREx alone, for their warm-up
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.clip_grad, self.lengths = np.inf, []  # of the gradients descended, before clipping

    def observe(self, images):
        """Logits at θ; the running statistics move."""
        logits, (*_, mean, unbiased) = forward(self.p, images)
        self.running_mean += 0.1 * (mean - self.running_mean)
        self.running_var += 0.1 * (unbiased - self.running_var)
        return logits

    def first_pass(self, images, labels):
        logits = self.observe(images)
        return logits, gradient(self.p, images, labels, np.full(len(labels), 1 / len(labels)))

    def displaced(self, g1, rho, adaptive):
        epsilon = perturbation(self.p, g1, rho, adaptive)
        return {k: self.p[k] + epsilon[k] for k in self.p}

    def descend(self, gradients):
        self.lengths.append(norm(gradients))
        share = min(1, self.clip_grad / self.lengths[-1])
        for k in self.p:
            decayed = share * gradients[k] + self.weight_decay * self.p[k]
            self.velocity[k] = self.momentum * self.velocity[k] + decayed
            self.p[k] = self.p[k] - self.lr * self.velocity[k]

    def raise_weights(
        self,
        sample_losses,
        groups,
        step_size,
        absent_groups="zero",
        adjustment=0.0,
        group_sizes=None,
    ):
        """Exponentiated gradient ascent on q, by the losses at θ; the steps pass **weighting on."""
        everyone = range(len(self.q))
        means = {s: sample_losses[groups == s].mean() for s in everyone if (groups == s).any()}
        if absent_groups == "zero":
            used = {s: means.get(s, 0.0) for s in everyone}
        elif absent_groups == "keep":
            used = means
        else:
            assert absent_groups == "ema"
            for s, loss in means.items():
                old = loss if np.isnan(self.ema[s]) else self.ema[s]
                self.ema[s] = 0.9 * old + 0.1 * loss
            used = {s: self.ema[s] for s in everyone if not np.isnan(self.ema[s])}
        assert adjustment == 0 or group_sizes is not None
        raised = {}
        for s, loss in used.items():
            if adjustment and group_sizes[s] > 0:
                loss = loss + adjustment / np.sqrt(group_sizes[s])
            raised[s] = self.q[s] * np.exp(step_size * loss)
        # The groups that take part share what they had together: all of it, if all take part.
        share = 1 if len(raised) == len(self.q) else sum(self.q[s] for s in raised)
        scale = share / sum(raised.values())
        for s, value in raised.items():
            self.q[s] = value * scale

    def group_weights(self, groups):
        """The weight q_s / n_s of each sample in Σ_s q_s L_s."""
        return np.array([self.q[s] / (groups == s).sum() for s in groups])

    def erm_step(self, images, labels, groups):
        logits, gradients = self.first_pass(images, labels)
        self.descend(gradients)
        return losses(logits, labels), norm(gradients)

    def sam_step(self, images, labels, groups, rho, adaptive):
        logits, g1 = self.first_pass(images, labels)
        there = self.displaced(g1, rho, adaptive)
        self.descend(gradient(there, images, labels, np.full(len(labels), 1 / len(labels))))
        return losses(logits, labels), norm(g1)

    def sharpdro_step(self, images, labels, groups, rho, step_size, adaptive, **weighting):
        logits, g1 = self.first_pass(images, labels)
        sample_losses = losses(logits, labels)
        there = self.displaced(g1, rho, adaptive)
        self.raise_weights(sample_losses, groups, step_size, **weighting)
        g2 = gradient(there, images, labels, self.group_weights(groups))
        self.descend({k: g1[k] + g2[k] for k in g1})
        return sample_losses, norm(g1)

    def sharpdro_agnostic_step(
        self, images, labels, groups, rho, adaptive, ood_score="confidence_drop"
    ):
        logits, g1 = self.first_pass(images, labels)
        there = self.displaced(g1, rho, adaptive)
        scores = ood_scores(ood_score, images, logits, forward(there, images)[0], labels)
        g2 = gradient(there, images, labels, min_max(scores) / len(labels))
        self.descend({k: g1[k] + g2[k] for k in g1})
        return losses(logits, labels), norm(g1), scores

    def groupdro_step(self, images, labels, groups, step_size, **weighting):
        sample_losses = losses(self.observe(images), labels)
        self.raise_weights(sample_losses, groups, step_size, **weighting)
        gradients = gradient(self.p, images, labels, self.group_weights(groups))
        self.descend(gradients)
        return sample_losses, norm(gradients)

    def irm_step(self, images, labels, groups, irm_lambda, irm_warmup):
        return self.penalised_step(irm_total, images, labels, groups, irm_lambda, irm_warmup)

    def vrex_step(self, images, labels, groups, vrex_beta, vrex_warmup):
        return self.penalised_step(vrex_total, images, labels, groups, vrex_beta, vrex_warmup)

    def penalised_step(self, total, images, labels, groups, strength, warmup):
        if self.steps_done < warmup:
            strength = 1
        if self.steps_done == warmup:  # momentum starts anew
            self.velocity = {k: np.zeros_like(v) for k, v in self.velocity.items()}
        self.steps_done += 1
        logits = self.observe(images)
        gradients = backward(self.p, images, total(logits, labels, groups, strength)[1])
        self.descend(gradients)
        return losses(logits, labels), norm(gradients)


def norm(gradients):
    return np.sqrt(sum((g**2).sum() for g in gradients.values()))


def jtt_error_set(logits, labels):
    return logits.argmax(1) != labels


def jtt_pool(errors, upweight):
    """Row numbers in rising order, those of errors `upweight` times."""
    return [i for i, wrong in enumerate(errors) for _ in range(upweight if wrong else 1)]


def eiil_penalty(w, slopes):
    """IRMv1 penalty of the two soft environments σ(w) and 1 − σ(w), and its derivative by w."""
    p = 1 / (1 + np.exp(-w))
    first, second = (p * slopes).mean(), ((1 - p) * slopes).mean()
    by_p = (first - second) * slopes / len(w)
    return (first**2 + second**2) / 2, by_p * p * (1 - p)


def eiil_groups(logits, labels, steps, learning_rate, rng):
    """Probability of each sample to be in the first environment, by ascent with Adam."""
    slopes = scale_slopes(logits, labels)[0]
    w = rng.normal(size=len(labels))
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        g = eiil_penalty(w, slopes)[1]
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        w = w + learning_rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return 1 / (1 + np.exp(-w))
