"""Rows of whole documents: each is one of the file's, exactly, and all are drawn alike."""

import collections

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.corpora import TokenFile
from gptlib.training.config import TrainConfig
from gptlib.training.evaluation import IGNORED, evaluate
from gptlib.training.loop import train
from gptlib.training.whole_documents import MULTIPLE, WholeDocuments

END = 99


def laid_out(documents):
    return TokenFile.from_tokens(np.array([token for text in documents for token in (END, *text)] + [END]))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def texts(inputs, targets):
    """What each row reads and is to say: its inputs, and its targets that count."""
    for row, expected in zip(inputs.tolist(), targets.tolist(), strict=True):
        kept = [token for token in expected if token != IGNORED]
        assert expected[: len(kept)] == kept, "what carries no loss stands at the end"
        yield row, kept


@given(
    st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=40), min_size=1, max_size=30),
    st.integers(1, 12),
    st.integers(1, 50),
    st.integers(0, 9),
)
def test_every_row_is_one_document_or_a_window_of_one(documents, batch_size, context_length, seed):
    data = WholeDocuments(laid_out(documents))
    inputs, targets = data.batch(batch_size, context_length, generator(seed))
    assert inputs.shape == targets.shape == (batch_size, inputs.shape[1]) and inputs.dtype == torch.int64
    assert inputs.shape[1] <= context_length
    for row, kept in texts(inputs, targets):
        whole = [[END, *text, END] for text in documents]
        read = [*row[: len(kept)], kept[-1]]
        assert row[1 : len(kept)] == kept[:-1] and set(row[len(kept) :]) <= {END}
        if len(kept) < context_length:
            assert read in whole
        else:
            windows = [text[k : k + len(read)] for text in whole for k in range(len(text))]
            assert read in windows


def test_a_batch_has_little_that_carries_no_loss():
    draw = np.random.default_rng(0)
    documents = [[1] * length for length in draw.integers(100, 180, 4000)]
    data = WholeDocuments(laid_out(documents))
    shares = []
    for seed in range(50):
        _, targets = data.batch(16, 256, generator(seed))
        assert targets.shape[1] % MULTIPLE == 0
        shares.append((targets == IGNORED).float().mean().item())
    assert max(shares) < 0.05


def test_every_document_is_as_likely():
    documents = [[k] * (20 + k // 10) for k in range(90)]  # 90 documents of 9 lengths
    data, counts, source = WholeDocuments(laid_out(documents)), collections.Counter(), generator()
    for _ in range(2000):
        counts.update(data.batch(4, 64, source)[0][:, 1].tolist())
    assert len(counts) == 90 and min(counts.values()) > 50 and max(counts.values()) < 130  # of 89 on average


def test_a_long_document_gives_windows_from_all_of_it():
    data = WholeDocuments(laid_out([list(range(90)), [95]]))
    starts, source = set(), generator()
    for _ in range(600):
        inputs, _ = data.batch(2, 10, source)
        starts |= set(inputs[:, 0].tolist())
    assert starts >= set(range(81)) | {END}


def test_a_model_learns_from_them_and_a_run_goes_on_as_if_never_stopped(tmp_path):
    documents = WholeDocuments(laid_out([[k % 7, k % 7, k % 5] * (2 + k % 6) for k in range(60)]))
    torch.manual_seed(0)
    model = GPT(GPTConfig(100, 32, n_layers=1, n_heads=2, d_model=16))
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = TrainConfig(
        40, batch_size=4, learning_rate=0.01, eval_batches=None, checkpoint_every=20, folder=tmp_path
    )
    whole = list(train(model, documents, documents, config))
    assert whole[-1].validation_loss < whole[0].loss / 2
    alone = evaluate(model, documents.tokens, at_document_starts=True)
    assert whole[-1].validation_loss == pytest.approx(alone, abs=1e-5)
    model.load_state_dict(start)
    for step in train(model, documents, documents, config):
        if step.step == 25:  # stopped; the last checkpoint is of step 20
            break
    assert list(train(model, documents, documents, config, resume=tmp_path)) == whole[20:]


@pytest.mark.usefixtures("without_shape_checks")
def test_what_is_no_data_is_one_sentence():
    with pytest.raises(TypeError, match="tokens is .*; it needs a TokenFile"):
        WholeDocuments([1, 2])
    with pytest.raises(ValueError, match="1 end-of-text tokens; a document stands between two"):
        WholeDocuments(TokenFile.from_tokens([END, 1, 2]))
    with pytest.raises(ValueError, match="batch_size is 0"):
        WholeDocuments(laid_out([[1]])).batch(0, 4)
    assert repr(WholeDocuments(laid_out([[1], [2]]))) == "WholeDocuments(2 documents of TokenFile(5 tokens))"
