"""The perturbation of sharpness-aware minimisation (Foret et al., ICLR 2021, equation 2)."""

from mindspore import ops


def global_norm(tensors):
    """L2 norm over all tensors together: a tuple of float32 tensors to a scalar."""
    squared = ()
    for tensor in tensors:
        squared += ((tensor * tensor).sum(),)
    return ops.sqrt(ops.addn(squared))


def perturbation(parameters, gradients, rho, is_adaptive):
    """The step ε of length ρ towards higher loss, one tensor per parameter.

    ε = ρ ∇ / (‖∇‖₂ + 1e-12), or, adaptive (Kwon et al., ICML 2021, equation 5 with p = 2),
    ε = ρ θ² ⊙ ∇ / (‖ |θ| ⊙ ∇ ‖₂ + 1e-12).
    """
    if is_adaptive:
        scaled = ()
        for parameter, gradient in zip(parameters, gradients):
            scaled += (ops.abs(parameter) * gradient,)
        scale = rho / (global_norm(scaled) + 1e-12)
        steps = ()
        for parameter, gradient in zip(parameters, gradients):
            steps += (scale * parameter * parameter * gradient,)
        return steps
    scale = rho / (global_norm(gradients) + 1e-12)
    steps = ()
    for gradient in gradients:
        steps += (scale * gradient,)
    return steps
