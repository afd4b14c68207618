"""Convolutions on CPUs by oneDNN's direct kernels: the operators, their compilation, the layers."""
