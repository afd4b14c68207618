"""The parts of scripts/check_device.py."""
