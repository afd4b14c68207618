"""The perturbation of sharpness-aware minimisation (Foret et al., ICLR 2021, equation 2)."""

from mindspore import ops

_map = ops.HyperMap()  # takes a fraction of a loop's time to compile


def global_norm(tensors):
    """L2 norm over all tensors together: a tuple of float32 tensors to a scalar."""
    return ops.sqrt(ops.addn(_map(_sum_of_squares, tensors)))


def perturbation(parameters, gradients, rho, is_adaptive):
    """The step ε of length ρ towards higher loss, one tensor per parameter.

    ε = ρ ∇ / (‖∇‖₂ + 1e-12), or, adaptive (Kwon et al., ICML 2021, equation 5 with p = 2),
    ε = ρ θ² ⊙ ∇ / (‖ |θ| ⊙ ∇ ‖₂ + 1e-12).
    """
    if is_adaptive:
        scale = rho / (global_norm(_map(_scale_by_magnitude, parameters, gradients)) + 1e-12)
        return _map(ops.partial(_adaptive_step, scale), parameters, gradients)
    scale = rho / (global_norm(gradients) + 1e-12)
    return _map(ops.partial(_step, scale), gradients)


def _sum_of_squares(tensor):
    return (tensor * tensor).sum()


def _scale_by_magnitude(parameter, gradient):
    return ops.abs(parameter) * gradient


def _step(scale, gradient):
    return scale * gradient


def _adaptive_step(scale, parameter, gradient):
    return scale * parameter * parameter * gradient
