class Lacking(Exception):
    """What such a client cannot do."""
