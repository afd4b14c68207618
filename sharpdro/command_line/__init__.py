"""The flags of main.py."""
