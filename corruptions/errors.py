"""What a user can mend about the data."""


class DataError(Exception):
    """Data is missing, broken or does not fit; the message names the file or flag and the fix."""
