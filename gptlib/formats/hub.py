"""The GPT-2s that OpenAI published, by name: fetched once, held to their checksums, kept for offline use."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from gptlib.extras import need


class Published(NamedTuple):
    """One commit of a repository openai-community/…, and the sha256 of the weights in it."""

    revision: str
    sha256: str


PUBLISHED = {
    "gpt2": Published(
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    ),
    "gpt2-medium": Published(
        "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
        "fc5a354a19255ad494f3d71549390baca1ccf61d1d822b9408971705c687c9cd",
    ),
    "gpt2-large": Published(
        "32b71b12589c2f8d625668d2335a01cac3249519",
        "5f47f3e12f91cd33b662ce7e433b6150ad5512b5884a2cee961b50e9c3bbebce",
    ),
    "gpt2-xl": Published(
        "15ea56dee5df4983c59b2538573817e1667135e2",
        "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
    ),
}
FILES = ("config.json", "vocab.json", "merges.txt", "model.safetensors")


def published(name: str) -> str | None:
    """The key of PUBLISHED that a name stands for, with openai-community/ before it or without; or None."""
    short = name.removeprefix("openai-community/")
    return short if short in PUBLISHED else None


def fetch(name: str) -> Path:
    """The folder with the files of a published GPT-2; name is a key of PUBLISHED.

    What is not on this machine yet is downloaded by huggingface_hub into its cache, with a progress bar; a
    download that broke off goes on where it stopped. What is about to be fetched, and how large it is, is
    printed first. A second call needs no network.

    Raises MissingExtra when huggingface_hub is not installed; ConnectionError when a file is not here and
    cannot be fetched; the message names two ways on; ValueError when the weights are not those that were
    published; the message says which file to delete.
    """
    need("hub")
    # They take a moment to import, and few calls need them.
    from huggingface_hub import hf_hub_download, model_info, try_to_load_from_cache

    repository, revision = f"openai-community/{name}", PUBLISHED[name].revision
    here = {file: try_to_load_from_cache(repository, file, revision=revision) for file in FILES}
    missing = [file for file, path in here.items() if not isinstance(path, str)]
    try:
        if missing:
            about = model_info(repository, revision=revision, files_metadata=True, timeout=20)
            megabytes = (
                sum(file.size or 0 for file in about.siblings or () if file.rfilename in missing) / 1e6
            )
            print(
                f"Fetching {', '.join(missing)} of {repository}, commit {revision[:7]}: "
                f"{megabytes:,.1f} MB, to be kept in huggingface_hub's cache",
                flush=True,
            )
        paths = [Path(hf_hub_download(repository, file, revision=revision)) for file in FILES]
    except Exception as error:  # no route, no name server, a page that asks for a login, a broken server …
        cause = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ConnectionError(
            f"{name} is not on this machine and cannot be fetched ({cause}). Two ways on: connect to the "
            "network once and call again, after which it works offline; or bring a folder with "
            f"{', '.join(FILES)} of https://huggingface.co/{repository} from elsewhere and give its path"
        ) from None
    _check(paths[-1], PUBLISHED[name].sha256)
    return paths[-1].parent


def _check(path: Path, expected: str) -> None:
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    if found.hexdigest() != expected:
        raise ValueError(
            f"{str(path)!r} is cut off or altered: expected sha256 {expected}, got {found.hexdigest()} "
            f"({path.stat().st_size:,} bytes); delete {str(path.resolve())!r} and call again"
        )
