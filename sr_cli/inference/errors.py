"""What goes wrong for reasons that users can do something about."""


class InferenceError(Exception):
    """A model that cannot run as asked; the message says what would do."""


def diverged(model: str) -> InferenceError:
    """A model's numbers are infinite or none, in single precision too.

    Args:
        model: What to call it.
    """
    return InferenceError(
        f"{model} gives numbers that are not finite: its weights are damaged, or their training "
        "diverged. Take other weights."
    )
