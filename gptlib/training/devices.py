"""Where to compute."""

from __future__ import annotations

import torch

from gptlib.checks import check_kind


def pick_device(preferred: str | torch.device | None = None) -> torch.device:
    """The device to compute on: `preferred` if it is there, else CUDA, else MPS, else the CPU.

    Raises ValueError when `preferred` is not a device, or this machine does not have it.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if preferred is None:
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if present[name]))
    check_kind("device", preferred, (str, torch.device), "a name such as 'cpu', or a torch.device")
    here = ", ".join(name for name in present if present[name])
    try:
        device = torch.device(preferred)
    except RuntimeError:
        raise ValueError(f"device is {preferred!r}; it needs to be one of {', '.join(present)}") from None
    if not present.get(device.type, False):
        raise ValueError(f"device {str(preferred)!r} is not available here; this machine has: {here}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {str(preferred)!r} is not available here; there are {torch.cuda.device_count()} of cuda"
        )
    return device
