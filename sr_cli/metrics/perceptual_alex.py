"""``lpips-alex``: the distance that the papers report, by the `lpips` package.

Needs the extra ``sr-cli[lpips]``, and the internet once: the package fetches AlexNet's weights.
"""

from __future__ import annotations

import warnings
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor


class AlexDistance:
    """LPIPS v0.1 on AlexNet, lower is closer.

    Raises:
        ImportError: The package is missing or broken; the message says so.
        FileNotFoundError: AlexNet's weights are not on this machine and cannot be fetched.
    """

    smallest = 31
    """Least side of a picture; of less, pooling leaves nothing."""

    def __init__(self) -> None:
        try:
            import lpips
        except ImportError:
            raise ImportError(
                "LPIPS on AlexNet needs the lpips package: install sr-cli[lpips]."
            ) from None
        except RuntimeError as error:
            # What torchvision raises where it was built for another torch.
            raise ImportError(f"The lpips package cannot be used here: {error}.") from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torchvision, about how lpips calls it
                self.network: Any = lpips.LPIPS(net="alex", verbose=False).eval()
        except (URLError, OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"The lpips package cannot get AlexNet's weights ({error}). Connect to the "
                "internet once."
            ) from None

    @torch.inference_mode()
    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Distances ``(N,)`` of pictures ``(N, 3, H, W)``, RGB in [0, 1]."""
        distance: Tensor = self.network(2 * sr.float().clamp(0, 1) - 1, 2 * hr.float() - 1)
        return distance.flatten()
