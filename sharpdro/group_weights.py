"""Group means and the worst-case group weights (Sagawa et al., ICLR 2020, algorithm 1).

A *group* is what the SharpDRO paper calls a distribution: all training images of one severity.
"""

from mindspore import ops


def group_membership(groups, num_groups):
    """Group of each sample, int32 (B,), as a 0/1 matrix, float32 (B, G)."""
    return (groups.expand_dims(1) == ops.arange(num_groups).expand_dims(0)).astype("float32")


def group_means(values, membership):
    """Mean of `values` (B,) over each group, float32 (G,); 0 for a group absent from the batch."""
    return ops.matmul(values, membership) / ops.maximum(membership.sum(0), 1.0)


def ascend(group_weights, group_losses, step_size):
    """One exponentiated-gradient ascent step: q_s ∝ q_s · exp(η L_s), on the simplex."""
    raised = group_weights * ops.exp(step_size * group_losses)
    return raised / raised.sum()


def sample_weights(group_weights, membership):
    """Weights w (B,) with Σ_i w_i ℓ_i = Σ_s q_s · (mean of ℓ_i over group s)."""
    per_member = group_weights / ops.maximum(membership.sum(0), 1.0)
    return ops.matmul(membership, per_member)
