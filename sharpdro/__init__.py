"""SharpDRO (Huang et al., CVPR 2023) in MindSpore: training steps, trainer, evaluation."""

from sharpdro.device import prepare_environment

# Before MindSpore runs its first convolution, whoever imports which module first.
prepare_environment()
