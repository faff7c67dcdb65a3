"""What goes wrong for reasons that users can do something about."""


class InferenceError(Exception):
    """A model that cannot run as asked; the message says what would do."""
