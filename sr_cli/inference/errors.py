"""What goes wrong for reasons that users can do something about."""


class InferenceError(Exception):
    """A model that cannot run as asked; the message says what would do."""


def diverged(model: str, precision: str) -> InferenceError:
    """A model's numbers are infinite or none.

    Args:
        model: What to call it.
        precision: What it ran in.  What goes beyond the range of fp16 is done again in fp32, but
            features are kept in fp16 until they are used.
    """
    if precision == "fp16":
        return InferenceError(
            f"{model} gives numbers that are not finite in fp16, whose range may be too narrow "
            "for it. Take --precision fp32."
        )
    return InferenceError(
        f"{model} gives numbers that are not finite: its weights are damaged, or their training "
        "diverged. Take other weights."
    )
