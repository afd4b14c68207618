"""How flat the loss is around a trained network: measured, kept, shown."""
