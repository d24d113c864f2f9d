"""Files: whoever reads finds the old file or the new one, whatever happens in between."""

import base64
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import safetensors
import torch

from gptlib.files import read_json, read_tensors, read_text, write_atomically, write_json, write_tensors
from gptlib.formats.fast_tokenizer import to_fast_tokenizer
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.corpora import TokenFile, write_tokens
from gptlib.text.tokenizer import Tokenizer, load_tokenizer


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_returns_the_path(tmp_path):
    path = tmp_path / "a.bin"
    assert write_atomically(path, lambda file: file.write(b"one")) == path
    assert path.read_bytes() == b"one"
    write_atomically(str(path), lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["a.bin"]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_the_old_file_is_seen_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"

    write_atomically(path, write)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("pause", [0.0, 0.004, 0.02])
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path, pause):
    """A process that keeps rewriting the file is killed; the file is one whole version."""
    path = tmp_path / "a.bin"
    program = """
        import sys
        from pathlib import Path
        from gptlib.files import write_atomically
        for number in range(10**9):
            def write(file):
                for _ in range(200):
                    file.write(bytes([number % 256]) * 1000)
            write_atomically(Path(sys.argv[1]), write)
            if number == 2:
                print("going", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "going\n"
        time.sleep(pause)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    contents = path.read_bytes()
    assert len(contents) == 200_000
    assert len(set(contents)) == 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_in_the_middle_of_a_write(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    program = """
        import os, signal, sys
        from gptlib.files import write_atomically
        def write(file):
            file.write(b"n" * 100_000)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        write_atomically(sys.argv[1], write)
    """
    process = subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(path)])
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    left = [name for name in names(tmp_path) if name != "a.bin"]
    assert len(left) == 1 and left[0].startswith(".a.bin.") and left[0].endswith(".partial")
    write_atomically(path, lambda file: file.write(b"new"))  # what was left is in nobody's way
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_keeps_modes_and_links(tmp_path):
    path, link = tmp_path / "a.bin", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_atomically(link, lambda file: file.write(b"new"))
    assert link.is_symlink() and path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_refusals(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; create it"):
        write_atomically(tmp_path / "no" / "a.bin", lambda file: None)
    with pytest.raises(IsADirectoryError, match="a folder; it needs to be a file"):
        write_atomically(tmp_path, lambda file: None)
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "a.bin", b"contents")
    assert names(tmp_path) == []


def test_a_file_that_is_mapped_is_replaced_or_the_error_says_what_holds_it(tmp_path, as_on_windows):
    tokenizer = Tokenizer.train("the cat sat on the mat", 260)
    path = tmp_path / "tokens.npy"
    tokens = write_tokens(["the cat"], tokenizer, path)
    with pytest.raises(PermissionError, match="npy' cannot be replaced .*TokenFile of it.*deleted first"):
        write_tokens(["the mat", "a cat"], tokenizer, path)
    assert len(tokens) == len(TokenFile(path)) and names(tmp_path) == ["tokens.npy"]
    before = len(tokens)
    del tokens
    assert len(write_tokens(["the mat", "a cat"], tokenizer, path)) > before


def as_notepad_saves_it(path):
    """The same text with a byte-order mark, and lines that end as on Windows."""
    text = path.read_text(encoding="utf-8")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    return path


def test_a_byte_order_mark_and_windows_lines_change_no_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("猫\n\n x\ufeff\n", encoding="utf-8", newline="")
    assert read_text(path) == read_text(as_notepad_saves_it(path)) == "猫\n\n x\ufeff\n"
    assert read_json(as_notepad_saves_it(write_json(path, {"猫": [1, "\n"]}))) == {"猫": [1, "\n"]}


@pytest.mark.parametrize("kind", ["ours", "published", "characters", "rank"])
def test_a_tokenizers_files_may_have_been_saved_by_notepad(kind, tmp_path):
    text = "the cat\r\nsat on\n"
    tokenizer = CharacterTokenizer.train(text) if kind == "characters" else Tokenizer.train(text * 3, 260)
    vocab, merges = tmp_path / "vocab.json", tmp_path / "merges.txt"
    if kind == "published":
        contents = to_fast_tokenizer(tokenizer)["model"]
        write_json(vocab, contents["vocab"])
        merges.write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in contents["merges"]))
        assert Tokenizer.from_gpt2(as_notepad_saves_it(merges), as_notepad_saves_it(vocab)) == tokenizer
    elif kind == "rank":
        lines = [f"{base64.b64encode(piece).decode()} {rank}" for piece, rank in tokenizer.ranks.items()]
        vocab.write_text("\n".join(lines))
        assert Tokenizer.from_tiktoken(as_notepad_saves_it(vocab)) == tokenizer
    else:
        tokenizer.save(vocab)
        assert load_tokenizer(as_notepad_saves_it(vocab)) == tokenizer


def test_json_comes_back_and_what_is_none_is_refused_by_name(tmp_path):
    path, values = tmp_path / "a.json", {"猫": [1, 2.5, None, True, "\u2028"]}
    assert read_json(write_json(path, values)) == values and "猫" in path.read_text(encoding="utf-8")
    for content in (b"", path.read_bytes()[:-4], b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="a.json' is cut off, or no JSON"):
            read_json(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="a.json' holds a list; it needs one JSON object"):
        read_json(path)
    path.write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="not UTF-8 text: byte 3"):
        read_json(path)
    with pytest.raises(ValueError):
        write_json(path, {"loss": float("nan")})
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_json(tmp_path / "none.json")


def test_tensors_come_back_with_what_is_noted(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"b.x": torch.randn(3, 4).T, "b.y": torch.arange(5), "a.z": torch.randn(2).bfloat16()}
    about = {"format": "猫 1", "said": '"quoted" \\ \n'}
    write_tensors(path, tensors, about)
    found, noted = read_tensors(path)
    assert noted == about and found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert read_tensors(path, "b.")[0].keys() == {"b.x", "b.y"}
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata()["format"] == "pt"  # without which transformers refuses a file
    found["b.y"][0] = 7
    assert torch.equal(read_tensors(path)[0]["b.y"], tensors["b.y"])


def test_equal_tensors_make_equal_files(tmp_path):
    """safetensors alone orders metadata anew each time."""
    for number in range(8):
        write_tensors(tmp_path / f"{number}", {"a": torch.ones(3)}, {"format": "test", "other": "x"})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_file_of_tensors_that_is_cut_off_is_refused(tmp_path):
    path = write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(30)}, {"format": "test"})
    whole = path.read_bytes()
    for length in (0, 4, 60, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="a.safetensors' is cut off, or no safetensors file"):
            read_tensors(path)
