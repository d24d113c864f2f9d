"""The pictures of the site: each in a file of its own, as lossless WebP where that is smaller than PNG."""

from __future__ import annotations

import base64
import html
import io
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256

from PIL import Image

CSS_DPI = 96


class Pictures:
    """Pictures on their way to files; a file's name is made of what the picture shows.

    Compressing takes most of the time that the site takes, so that it is done beside everything else.
    """

    def __init__(self) -> None:
        self._workers = ThreadPoolExecutor()
        self._made: dict[str, Future[bytes]] = {}

    def add(self, png: bytes) -> str:
        """Take a picture, and return its file's path on the site."""
        path = f"assets/pictures/{sha256(png).hexdigest()[:16]}.webp"
        if path not in self._made:
            self._made[path] = self._workers.submit(_webp, png)
        return path

    def files(self) -> dict[str, bytes]:
        """All files by their paths on the site, once they are made."""
        return {path: made.result() for path, made in self._made.items()}


def decoded(source: str) -> bytes:
    """The bytes of a picture in base64, as notebooks and data URLs hold it."""
    return base64.b64decode("".join(source.rpartition(",")[2].split()))


def element(address: str, png: bytes, alt: str) -> str:
    """The img element of a picture, in the size that its resolution gives it: an inch has 96 CSS pixels."""
    image = Image.open(io.BytesIO(png))
    scale = CSS_DPI / image.info.get("dpi", (CSS_DPI,))[0]
    width, height = round(image.width * scale), round(image.height * scale)
    return f'<img src="{address}" width="{width}" height="{height}" alt="{html.escape(alt)}" loading="lazy">'


def _webp(png: bytes) -> bytes:
    """The picture as lossless WebP, or as it is if that is smaller: browsers look at the bytes."""
    made = io.BytesIO()
    # Slower methods save less than a hundredth.
    Image.open(io.BytesIO(png)).save(made, "WEBP", lossless=True, method=1)
    return min(made.getvalue(), png, key=len)
