"""Where `create_train_step` is imported from; new code imports it from `sharpdro`."""

from sharpdro.methods.create import create_train_step

__all__ = ["create_train_step"]
