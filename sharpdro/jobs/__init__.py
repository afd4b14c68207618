"""The jobs of main.py, wired from the settings that the command line gives.

Only these modules see all settings, as `args`; what they call takes named arguments.
"""
