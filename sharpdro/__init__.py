"""SharpDRO (Huang et al., CVPR 2023) in MindSpore: training steps, trainer, evaluation.

`from sharpdro import create_sgd, create_train_step` is all that a training loop of one's own needs;
`ModelStep` takes a step into `mindspore.train.Model`.
"""

__all__ = ["ModelStep", "create_sgd", "create_train_step"]
__version__ = "1.0.0"


def __getattr__(name):
    """Import MindSpore only for whoever asks for what needs it."""
    if name == "create_sgd":
        from sharpdro.training.optimizer import create_sgd

        return create_sgd
    if name == "create_train_step":
        from sharpdro.methods.create import create_train_step

        return create_train_step
    if name == "ModelStep":
        from sharpdro.methods.model_step import ModelStep

        return ModelStep
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
