"""Where `create_sgd` is imported from; new code imports it from `sharpdro`."""

from sharpdro.training.optimizer import create_sgd

__all__ = ["create_sgd"]
