"""MindSpore in graph mode on the CPU, with the settings that main.py gives it."""

from sharpdro.device import select_device

select_device("CPU")
