"""Graphics cards and laptops that people train and write on, smallest memory first.

Memory is in the makers' gigabytes, of which a driver and the system take some for themselves: of a laptop's,
which is shared with all its programs, a good part.
"""

from __future__ import annotations

from dataclasses import dataclass

from gptlib.scaling.costs import HARDWARE


@dataclass(frozen=True)
class Card:
    """What one device can hold and do at most, as its maker states it.

    memory      bytes
    bandwidth   bytes per second between memory and processor
    peak        operations per second of products of dense 16-bit matrices, added up in 32 bits; None where
                the maker does not state it
    source      where the numbers stand
    """

    memory: float
    bandwidth: float
    peak: float | None
    source: str


def _counted(name: str) -> Card:
    """One that `gptlib.scaling.costs` has."""
    known = HARDWARE[name]
    return Card(known.memory, known.bandwidth, known.peak, known.source)


# Makers often state the peak on matrices that are half zeros, or added up in 16 bits: here it is halved back.
CARDS: dict[str, Card] = {
    "RTX 3060": Card(12e9, 360e9, 25.5e12, "NVIDIA GeForce RTX 3060 specifications, 2021: 12 GB, 28 SMs"),
    "RTX 4070": Card(12e9, 504e9, 58.3e12, "NVIDIA Ada GPU Architecture whitepaper, 2023, appendix A"),
    "T4": Card(16e9, 320e9, 65e12, "NVIDIA T4 datasheet, 2019: float16"),
    "MacBook M4": Card(16e9, 120e9, None, "Apple, MacBook Air (M4, 2025) specifications: 16 GB"),
    "RTX 4090": Card(24e9, 1008e9, 165.2e12, "NVIDIA Ada GPU Architecture whitepaper, 2023, appendix A"),
    "L4": Card(24e9, 300e9, 121e12, "NVIDIA L4 datasheet, 2023: bfloat16, halved"),
    "A10": Card(24e9, 600e9, 125e12, "NVIDIA A10 datasheet, 2021: bfloat16"),
    "RTX 5090": Card(32e9, 1792e9, 209.5e12, "NVIDIA RTX Blackwell whitepaper, 2025, appendix A"),
    "V100": _counted("V100"),
    "A100-40": Card(40e9, 1555e9, 312e12, "NVIDIA A100 datasheet, 2020: 40 GB, bfloat16"),
    "MacBook M4 Pro": Card(48e9, 273e9, None, "Apple, MacBook Pro (M4 Pro, 2024) specifications: 48 GB"),
    "A100": _counted("A100"),
    "H100": _counted("H100"),
    "MacBook M4 Max": Card(128e9, 546e9, None, "Apple, MacBook Pro (M4 Max, 2024) specifications: 128 GB"),
    "H200": Card(141e9, 4.8e12, 989.5e12, "NVIDIA H200 datasheet, 2024: bfloat16, halved"),
    "B200": Card(180e9, 8e12, 2.25e15, "NVIDIA DGX B200 datasheet, 2024: 1,440 GB in 8 cards; halved"),
}
