"""What the controller can't start without: where the state of the cluster comes from."""


class SourceError(Exception):
    """A source can't be used at all. The message is for the operator who chose it."""
