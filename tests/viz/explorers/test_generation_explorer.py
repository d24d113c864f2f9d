import base64
import json

import numpy as np
import pytest
import torch
from traitlets import TraitError

from gptlib import generate, load, trace
from gptlib.generation.sampling import next_token_distribution
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.characters import CharacterTokenizer
from gptlib.viz.explorers.attention import AttentionExplorer
from gptlib.viz.explorers.generation import GenerationExplorer
from gptlib.viz.explorers.living import pack_model

PROMPT = "Once upon a time there was a shy girl named Mia."


@pytest.fixture(scope="module")
def storyteller():
    return load("storyteller")


@pytest.fixture
def explorer(storyteller):
    return GenerationExplorer(*storyteller, PROMPT)


@pytest.fixture
def tiny():
    """A model of 12 tokens of context that has learned nothing, and its tokenizer."""
    tokenizer = CharacterTokenizer("abcd. ")
    torch.manual_seed(0)
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size, context_length=12, n_layers=1, n_heads=2, d_model=8, dropout=0.5
    )
    return GPT(config), tokenizer


def ask(explorer, **changes):
    """Change traits as the page does."""
    explorer.set_state({**changes, "asked": explorer.asked + 1})
    assert explorer.answered == explorer.asked
    return explorer.problem


def node(explorer, path=None):
    return explorer.answer["nodes"][",".join(map(str, explorer.path if path is None else path))]


def logits_of(explorer):
    return torch.from_numpy(np.frombuffer(node(explorer)["logits"], dtype="<f4").copy())


def logits_by_hand(explorer, path):
    start = [explorer.tokenizer.end_of_text, *explorer.tokenizer.encode(explorer.prompt)]
    with torch.no_grad():
        return explorer.model(torch.tensor([[*start, *path]]))[0]


def title_of(explorer):
    return explorer.figure().figure.axes[0].get_title(loc="left").replace("\n", " ")


# ------------------------------------------------------------------------------------------- the numbers


def test_answer_holds_the_models_logits_and_surprises(explorer):
    explorer.sample(5)
    path, n_prompt = explorer.path, len(explorer.tokenizer.encode(PROMPT))
    logits = logits_by_hand(explorer, path)
    assert torch.equal(logits_of(explorer), logits[-1].sort(descending=True).values)
    nats = -logits.log_softmax(-1)
    read = explorer.tokenizer.encode(PROMPT)
    expected = nats[torch.arange(n_prompt), read]
    told = torch.tensor([step["nats"] for step in explorer.answer["prompt"]])
    assert torch.allclose(told, expected, atol=1e-4)
    for step, token in enumerate(path):
        here = node(explorer, path[:step])
        assert here["tokens"][:4] == logits[n_prompt + step].topk(4).indices.tolist()
        assert here["nats"][here["tokens"].index(token)] == pytest.approx(
            nats[n_prompt + step, token].item(), abs=1e-4
        )
        assert "logits" not in here  # only the last place can be looked at, so only its logits are sent
    assert explorer.answer["prompt"][1]["piece"] == "␣upon"
    assert node(explorer)["tokens"] == logits[-1].topk(10).indices.tolist()
    json.dumps({name: value for name, value in node(explorer).items() if name != "logits"}, allow_nan=False)


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.7, "top_k": 20}, {"top_p": 0.9}, {"temperature": 0}]
)
def test_sampling_is_what_generate_writes(storyteller, settings):
    explorer = GenerationExplorer(*storyteller, PROMPT, **settings)
    explorer.seed = 7
    while len(explorer.path) < 30:
        explorer.sample(20)
    n = len(explorer.path)
    assert explorer.text == generate(*storyteller, PROMPT, max_new_tokens=n, seed=7, **settings)
    step_by_step = GenerationExplorer(*storyteller, PROMPT, **settings)
    step_by_step.seed = 7
    for _ in range(10):
        ask(step_by_step, wanted=1)
    assert step_by_step.path == explorer.path[:10] and step_by_step.wanted == 0


def test_a_sample_ends_with_its_sentence(explorer):
    text = explorer.sample()
    assert text == explorer.text and text.startswith(PROMPT)
    pieces = explorer.tokenizer.pieces(explorer.path)
    ends = [piece.rstrip(' "\n').endswith((".", "!", "?")) for piece in pieces]
    assert not any(ends[:-1]) and (ends[-1] or len(pieces) == 20)
    with pytest.raises(ValueError, match="max_new_tokens is 0; it needs to be at least 1"):
        explorer.sample(0)


def test_an_empty_prompt_begins_after_the_end_of_text_token(storyteller):
    model, tokenizer = storyteller
    explorer = GenerationExplorer(model, tokenizer)
    with torch.no_grad():
        logits = model(torch.tensor([[tokenizer.end_of_text]]))[0, -1]
    assert torch.equal(logits_of(explorer), logits.sort(descending=True).values)
    assert explorer.answer["prompt"] == [] and explorer.path == []
    assert "the beginning of a text" in title_of(explorer)


def test_the_model_is_read_without_dropout_and_left_as_it_was(tiny):
    model, tokenizer = tiny
    model.train()
    explorer = GenerationExplorer(model, tokenizer, "ab")
    first = node(explorer)["logits"]
    explorer.refresh()
    explorer.sample(2)
    assert model.training
    ask(explorer, path=[])
    assert node(explorer)["logits"] == first
    assert not any(module._forward_hooks for module in model.modules())


def test_figure_shows_the_present_state(explorer):
    logits = logits_by_hand(explorer, [])[-1]
    drawing = explorer.figure()
    assert "compare" not in drawing.arrays
    assert np.allclose(drawing.arrays["probabilities"], logits.softmax(-1).topk(10).values, atol=1e-6)
    explorer.temperature, explorer.top_k, explorer.top_p = 1.5, 6, 0.8
    drawing = explorer.figure()
    shown = torch.tensor(drawing.arrays["tokens"])
    dice = next_token_distribution(logits, temperature=1.5, top_k=6, top_p=0.8)
    assert np.allclose(drawing.arrays["compare"], dice[shown], atol=1e-6)
    assert explorer.to_png() == explorer.to_png() and explorer.to_svg().lstrip().startswith("<?xml")


# ---------------------------------------------------------------------------------------------- attention


def weights_at(explorer, step, nodes=None):
    """What the page is told of each head at a step."""
    packed = (nodes or explorer.details["nodes"])[",".join(map(str, explorer.path[:step]))]["weights"]
    n = 1 + len(explorer.tokenizer.encode(explorer.prompt)) + step
    return torch.from_numpy(np.frombuffer(packed, dtype="<u2").astype(np.float32) / 65535).view(-1, n)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"copy_heads": 3},
        {"n_kv_heads": 2, "position": "rotary"},
        {"window": 3, "position": "alibi"},
        {"window": 4, "position": "rotary", "copy_heads": 1, "score_cap": 2.0},
    ],
)
def test_the_weights_are_those_with_which_each_token_was_chosen(parts):
    tokenizer = CharacterTokenizer("abcd. ")
    torch.manual_seed(0)
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size,
        **{"context_length": 12, "n_layers": 2, "n_heads": 4, "d_model": 16, "dropout": 0.5} | parts,
    )
    model = GPT(config)
    for parameter in model.parameters():  # far from equal weights
        torch.nn.init.normal_(parameter)
    explorer = GenerationExplorer(model, tokenizer, "ab")
    explorer.path = [0, 2, 1, 3]
    explorer.view = "attention"
    nodes = explorer.page_state()["answer"]["nodes"]
    model.eval()
    for step in range(5):
        explorer.step = step
        read = [tokenizer.end_of_text, *tokenizer.encode("ab"), *explorer.path[:step]]
        with torch.no_grad(), trace(model, only="*.weights") as run:
            model(torch.tensor([read]))  # what there was when the next token was to be chosen
        expected = torch.cat([run[name][0, :, -1] for name in run])  # (head, key)
        assert len(expected) == 8 + (config.copy_heads or 0)
        assert torch.allclose(weights_at(explorer, step), expected, atol=2e-5)
        assert torch.equal(weights_at(explorer, step, nodes), weights_at(explorer, step))
        layer, head = explorer.head = (1, 3) if step % 2 else (len(expected) // 4 - 1, 0)
        largest = expected[4 * layer + head].max()
        assert explorer.looks_at(1)[0][1] == pytest.approx(largest.item(), abs=1e-5)


def test_attention_is_read_once_for_a_text_and_only_when_it_is_shown(tiny):
    explorer = GenerationExplorer(*tiny, "ab")
    explorer.path = [0, 1, 2]
    recorded = []
    tiny[0].register_forward_hook(
        lambda *_: recorded.append(bool(tiny[0].blocks[0].attention.weights._forward_hooks))
    )
    ask(explorer, path=[0, 1, 2, 3])
    assert explorer.details == {} and recorded == [False]
    ask(explorer, view="attention")
    ask(explorer, step=1)
    ask(explorer, step=0)
    ask(explorer, head=[0, 1])
    assert recorded == [False, True] and len(weights_at(explorer, 0)) == 2
    recorded.clear()
    ask(explorer, path=[0, 1], step=-1)
    assert recorded == [True] and explorer.step == -1
    ask(explorer, step=7)  # there is none
    assert explorer.step == -1 and len(weights_at(explorer, 2)) == 2
    ask(explorer, view="surprise")
    assert recorded == [True] and explorer.details == {}


def test_it_opens_on_a_head_that_looks_back_and_moves(storyteller):
    explorer = GenerationExplorer(*storyteller, "Mia was a brave girl. Mia put the red kite under the bed.")
    assert explorer.head is None
    explorer.path = [explorer.tokenizer.encode(" Mia")[0]]
    explorer.view, explorer.step = "attention", 0
    (word, weight), *_ = explorer.looks_at()
    assert word.strip() == "Mia" and weight > 0.5
    layer, head = explorer.head
    assert title_of(explorer) == f"Where head {head} of layer {layer} looked when “␣Mia” was chosen"
    n = len(explorer.tokenizer.encode(explorer.prompt))
    assert np.allclose(
        explorer.figure().arrays["values"], weights_at(explorer, 0)[4 * layer + head], atol=1e-4
    )
    explorer.step = -1
    assert title_of(explorer).endswith("looked when the next token is chosen")
    assert len(explorer.figure().arrays["values"]) == n + 2
    with pytest.raises(TraitError, match=r"head is \(4, 0\); it needs to be \(layer, head\)"):
        explorer.head = (4, 0)
    explorer.view = "surprise"
    with pytest.raises(ValueError, match="view is 'surprise'; it needs to be 'attention'"):
        explorer.looks_at()


def test_the_same_text_in_the_attention_explorer(explorer):
    explorer.sample(6)
    explorer.path = [*explorer.path, explorer.tokenizer.end_of_text]
    explorer.view = "attention"
    text = eval(explorer.details["text"])
    assert text == PROMPT + explorer.tokenizer.decode(explorer.path[:-1])
    other = AttentionExplorer(explorer.model, explorer.tokenizer, text)
    step = len(explorer.path) - 1  # nothing follows the end: the choice of the end itself
    assert torch.allclose(other.weights[:, :, -1].flatten(0, 1), weights_at(explorer, step), atol=2e-5)


def test_attention_that_cannot_be_read_leaves_the_last_picture(tiny):
    explorer = GenerationExplorer(*tiny, "ab")
    with torch.no_grad():
        explorer.model.final_norm.weight.fill_(float("nan"))
    assert "its weight final_norm.weight holds nan" in ask(explorer, view="attention")
    assert explorer.view == "surprise" and explorer.figure()


# ----------------------------------------------------------------------------------------------- the tree


def test_roads_left_stay_in_the_tree_and_can_be_walked_again(explorer):
    first = explorer.sample(6) and explorer.path
    ask(explorer, path=first[:2])
    assert explorer.tree == [first]  # a step back leaves the road ahead in the tree
    other = next(token for token in node(explorer)["tokens"] if token != first[2])
    ask(explorer, path=[*first[:2], other])
    assert explorer.tree == [first, [*first[:2], other]]
    ask(explorer, wanted=1)
    assert explorer.tree == [first, explorer.path] and len(explorer.path) == 4
    ask(explorer, path=first)
    assert explorer.path == first and len(explorer.tree) == 2
    here = node(explorer, first[:2])
    roads = {
        token: explorer.tree[place]
        for token, place in zip(here["tokens"], here["roads"], strict=True)
        if place is not None
    }
    assert {token: road[2] for token, road in roads.items()} == {first[2]: first[2], other: other}


def test_an_unlikely_token_that_was_taken_is_told_of(explorer):
    unlikely = int(logits_by_hand(explorer, [])[-1].argmin())
    ask(explorer, path=[unlikely])
    assert unlikely in node(explorer, [])["tokens"]
    ask(explorer, path=[])
    assert unlikely in node(explorer)["tokens"] and len(node(explorer)["tokens"]) == 11


def test_another_prompt_begins_another_tree(explorer):
    explorer.sample(3)
    explorer.prompt = "Once"
    assert explorer.path == [] and explorer.tree == [] and explorer.text == "Once"
    explorer.sample(2)
    ask(explorer, prompt="The", path=[], tree=[])
    assert explorer.problem == "" and explorer.path == [] and len(explorer.answer["prompt"]) == 1


def test_state_can_be_taken_elsewhere(storyteller, explorer):
    explorer.sample(5)
    explorer.path = explorer.path[:2]
    other = GenerationExplorer(*storyteller, explorer.prompt)
    other.tree, other.path = explorer.tree, explorer.path
    assert other.answer == explorer.answer and repr(other) == repr(explorer)
    explorer.view, explorer.step, explorer.head = "attention", 1, (1, 2)
    other.take_up(explorer.to_state())
    assert other.details == explorer.details and other.looks_at() == explorer.looks_at()


def test_repr(storyteller):
    explorer = GenerationExplorer(*storyteller, "Once upon a time", temperature=0.8, top_k=5)
    told = "GenerationExplorer('Once upon a time', 0 tokens taken, temperature 0.8, top-k 5)"
    assert repr(explorer) == told
    bundle, _ = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == told and "image/png" in bundle


# ----------------------------------------------------------------------------------------- what can go wrong


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"temperature": -1.0}, ValueError, "temperature is -1.0; it needs to be at least 0"),
        ({"temperature": float("nan")}, ValueError, "temperature is nan"),
        ({"top_k": 0}, ValueError, "top_k is 0; it needs to be at least 1"),
        ({"top_p": 1.5}, ValueError, "top_p is 1.5; it needs to be above 0"),
        ({"prompt": "word " * 300}, ValueError, "the model reads at most 256 tokens, and this text has"),
    ],
)
def test_arguments_that_cannot_work(storyteller, arguments, error, message):
    with pytest.raises(error, match=message):
        GenerationExplorer(*storyteller, **arguments)


def test_a_model_and_a_tokenizer_that_do_not_fit(storyteller, tiny):
    with pytest.raises(ValueError, match="tokenizer has vocab_size 2048; it needs at most the model's, 7"):
        GenerationExplorer(tiny[0], storyteller[1])
    without_end = CharacterTokenizer("abcdefg", special_tokens=())
    with pytest.raises(ValueError, match="has no <|endoftext|> token"):
        GenerationExplorer(tiny[0], without_end)


def test_changes_in_python_that_cannot_work_are_undone(explorer):
    for name, value in (("temperature", -0.5), ("top_k", 0), ("top_p", 0.0)):
        before = getattr(explorer, name)
        with pytest.raises(ValueError, match=f"{name} is"):
            setattr(explorer, name, value)
        assert getattr(explorer, name) == before
    with pytest.raises(TraitError, match="seed is -1"):
        explorer.seed = -1
    answer = explorer.answer
    with pytest.raises(IndexError, match="tokens holds 5000"):
        explorer.path = [5000]
    with pytest.raises(ValueError, match="path goes on after the end-of-text token"):
        explorer.path = [explorer.tokenizer.end_of_text, 3]
    assert explorer.path == [] and explorer.answer == answer


def test_end_of_text(explorer):
    end = explorer.tokenizer.end_of_text
    assert node(explorer)["note"] == ""
    assert ask(explorer, path=[end]) == ""
    assert node(explorer)["note"].startswith("The model has ended its text here.")
    assert ask(explorer, wanted=1).startswith("The model has ended its text here.")
    assert explorer.path == [end] and explorer.wanted == 0
    assert ask(explorer, path=[]) == ""


def test_a_full_context(tiny):
    explorer = GenerationExplorer(*tiny, "abcdabcd")  # 9 tokens with the end-of-text token before them
    path = [0, 1, 2]
    assert ask(explorer, path=path) == ""
    assert node(explorer)["note"].startswith("The context is full: the model reads at most 12 tokens.")
    assert "reads at most 12 tokens, and this text has 13" in ask(explorer, path=[*path, 0])
    assert explorer.path == path  # the last good picture stays, and so does its state
    assert ask(explorer, wanted=5).startswith("The context is full")
    assert ask(explorer, path=[]) == ""
    explorer.model.unembedding.weight.data[explorer.tokenizer.encode(".")] = -100.0
    explorer.temperature = 2.0
    while not node(explorer)["note"]:
        explorer.sample(20)
    assert len(explorer.path) <= 3


def test_a_prompt_that_cannot_be_read_leaves_the_last_picture(tiny):
    explorer = GenerationExplorer(*tiny, "ab")
    explorer.sample(1)
    path, answer = explorer.path, explorer.answer
    assert "é" in ask(explorer, prompt="é", path=[], tree=[])
    assert (explorer.prompt, explorer.path, explorer.answer) == ("ab", path, answer)
    assert ask(explorer, temperature=0.5) == ""  # and the next question is answered


def test_logits_that_are_not_numbers(tiny):
    explorer = GenerationExplorer(*tiny, "ab")
    answer = explorer.answer
    with torch.no_grad():
        explorer.model.final_norm.weight.fill_(float("nan"))
    for changes in ({"path": [1]}, {"wanted": 1}):
        assert "its weight final_norm.weight holds nan" in ask(explorer, **changes)
        assert explorer.answer == answer and explorer.path == [] and explorer.wanted == 0
    with pytest.raises(FloatingPointError, match="final_norm.weight holds nan"):
        explorer.refresh()
    assert explorer.figure()  # of the last good answer


# -------------------------------------------------------------------------------------------------- files


def test_a_file_knows_every_place_that_was_walked(explorer, tmp_path):
    first = explorer.sample(8) and explorer.path
    explorer.path = first[:3]
    explorer.seed = 2
    explorer.sample(8)
    state = explorer.page_state()
    nodes = state["answer"]["nodes"]
    walked = {",".join(map(str, road[:step])) for road in explorer.tree for step in range(len(road) + 1)}
    assert set(nodes) == walked and all("logits" in place for place in nodes.values())
    assert "logits" not in explorer.answer["nodes"][""]  # the live answer stays small
    explorer.to_html(tmp_path / "a.html")
    explorer.to_html(tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_file_stays_below_a_megabyte_beside_its_model(storyteller, tmp_path):
    explorer = GenerationExplorer(*storyteller)
    for seed in (1, 2, 3):
        explorer.path = []
        explorer.seed = seed
        while len(explorer.path) < 200:
            explorer.sample(20)
            if node(explorer)["note"]:
                break
    explorer.to_html(tmp_path / "long.html")
    model = len(base64.b64encode(pack_model(*storyteller)))
    assert (tmp_path / "long.html").stat().st_size - model < 1_000_000
    nodes = explorer.page_state()["answer"]["nodes"]
    latest = nodes[",".join(map(str, explorer.path))]
    assert ("logits" in latest) != bool(latest["note"])  # where nothing can follow none are sent
