"""SharpDRO (Huang et al., CVPR 2023) in MindSpore: training steps, trainer, evaluation."""

from sharpdro.device import prepare_environment
from sharpdro.packages import check_packages

check_packages()

# Before MindSpore runs its first convolution, whoever imports which module first.
prepare_environment()
