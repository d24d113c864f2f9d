"""A page that runs GPTs itself, for tests: models and texts in, arrays out."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from driver import browser_page
from playwright.sync_api import Browser, Page

from gptlib.viz.explorers.living import pack_model, runtime_code

IN_PAGE = """
const models = {};
async function openZipped(name, text) {
  const letters = atob(text), zipped = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) zipped[i] = letters.charCodeAt(i);
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
  models[name] = await openModel(await new Response(stream).arrayBuffer());
}
function asText(array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
"""


@contextmanager
def live_page(chromium: str | Browser) -> Iterator[Page]:
    """A page with the runtime in it, and what stands above."""
    with browser_page(chromium) as (page, _):
        page.add_script_tag(content=runtime_code() + IN_PAGE)
        yield page


def open_in(page: Page, name: str, model: object, tokenizer: object, bits: int = 16) -> None:
    """Let the page open a model, which is models[name] there."""
    packing = base64.b64encode(pack_model(model, tokenizer, bits)).decode()
    page.evaluate("([name, text]) => openZipped(name, text)", [name, packing])


def numbers(text: str) -> np.ndarray:
    """The float32 numbers of an array that the page gave with asText."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4")
