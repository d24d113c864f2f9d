import copy
import json
import random
from dataclasses import replace

import pytest
import safetensors.torch
import torch
import transformers
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from gptlib import load, save
from gptlib.formats.fast_tokenizer import to_fast_tokenizer
from gptlib.formats.layouts import is_transposed, published_name
from gptlib.generation.beams import beam_search
from gptlib.generation.sampling import Sampling, next_token_distribution, rule_out
from gptlib.generation.writing import generate, generate_tokens
from gptlib.model.cache import KeyValueCache
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.model.presets import PRESETS
from gptlib.text.corpora import write_tokens
from gptlib.text.storyworld import Storyworld
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.config import TrainConfig
from gptlib.training.loop import train

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

TOKENIZER = Tokenizer.train(
    ["the cat sat on the mat. the dog sat on the cat! 猫は寝る。🙂 où est le chat? " * 3], 290
)
END = TOKENIZER.end_of_text
LLAMA = {"position": "rotary", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}
SMALL = GPTConfig(TOKENIZER.vocab_size, context_length=48, n_layers=2, n_heads=2, d_model=16)


def build(config, seed=0, scale=1.0):
    """A random model in which every parameter matters: norms and biases are not 1 and 0."""
    torch.manual_seed(seed)
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter)).mul_(scale)
    return model


def draw_config(seed, **settings):
    """A random small shape; head sizes, widths and lengths are seldom those that a mistake would forgive."""
    draw = random.Random(seed)
    n_heads, d_head = draw.choice([1, 2, 3, 4]), draw.choice([2, 4, 6, 10])
    return GPTConfig(
        vocab_size=TOKENIZER.vocab_size,
        context_length=draw.randint(12, 40),
        n_layers=draw.randint(1, 3),
        n_heads=n_heads,
        d_model=n_heads * d_head,
        d_mlp=draw.choice([None, draw.randint(5, 50)]),
        tie_embeddings=draw.random() < 0.5,
        **settings,
    )


def draw_llama(seed):
    config = draw_config(seed, **LLAMA)
    groups = [n for n in range(1, config.n_heads + 1) if config.n_heads % n == 0]
    return replace(config, n_kv_heads=random.Random(seed).choice(groups))


def draw_tokens(config, rows=2):
    return torch.randint(config.vocab_size, (rows, config.context_length))


def loss_of(logits, tokens):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def assert_equal_models(ours, theirs, folder):
    """Logits, logits by the cache, and the gradient of every parameter."""
    tokens = draw_tokens(ours.config)
    expected = theirs(tokens).logits
    torch.testing.assert_close(ours(tokens), expected, atol=1e-4, rtol=0)
    cache = KeyValueCache(ours.config, len(tokens))
    cut = [tokens[:, :5], tokens[:, 5:6], tokens[:, 6:]]
    pieces = torch.cat([ours(piece, cache) for piece in cut], dim=1)
    torch.testing.assert_close(pieces, expected, atol=1e-4, rtol=0)

    loss_of(ours(tokens), tokens).backward()
    loss_of(expected, tokens).backward()
    # A model that holds gradients where weights belong is saved with each of them at its place in theirs.
    gradients = copy.deepcopy(ours)
    with torch.no_grad():
        for holder, parameter in zip(gradients.parameters(), ours.parameters(), strict=True):
            holder.copy_(parameter.grad)
    save(folder / "gradients", gradients, TOKENIZER)
    saved = safetensors.torch.load_file(folder / "gradients" / "model.safetensors")
    if "embed_out.weight" in saved:  # as the files of GPT-NeoX have it; its class has another name for it
        saved["lm_head.weight"] = saved["embed_out.weight"]
    for name, parameter in theirs.named_parameters():
        if ours.config.bias or not name.endswith("bias"):
            torch.testing.assert_close(saved[name], parameter.grad, atol=1e-3, rtol=0, msg=name)


# ------------------------------------------------------------------------------------------- the same numbers


@pytest.mark.parametrize("seed", range(10))
def test_what_transformers_saved_gives_the_same_numbers_here(seed, tmp_path):
    shape = draw_config(seed)
    torch.manual_seed(seed)
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=shape.vocab_size,
            n_positions=shape.context_length,
            n_embd=shape.d_model,
            n_layer=shape.n_layers,
            n_head=shape.n_heads,
            n_inner=shape.d_mlp,
            tie_word_embeddings=shape.tie_embeddings,
        )
    ).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path, max_shard_size=["1KB", "1GB"][seed % 2])
    assert (tmp_path / "model.safetensors.index.json").exists() == (seed % 2 == 0)
    ours, tokenizer = load(tmp_path)
    assert ours.config == replace(shape, dropout=0.1) and tokenizer is None and not ours.training
    assert_equal_models(ours, theirs, tmp_path)


@pytest.mark.parametrize("seed", range(10))
def test_what_we_saved_as_gpt2_gives_the_same_numbers_there_and_back_here(seed, tmp_path):
    ours = build(draw_config(seed, bias=seed % 3 > 0), seed)
    theirs = AutoModelForCausalLM.from_pretrained(save(tmp_path / "model", ours, TOKENIZER))
    assert type(theirs) is GPT2LMHeadModel
    assert_equal_models(ours, theirs, tmp_path)
    again, tokenizer = load(tmp_path / "model")
    assert tokenizer == TOKENIZER and again.config == ours.config
    tokens = draw_tokens(ours.config)
    assert torch.equal(again(tokens), ours(tokens))


@pytest.mark.parametrize("seed", range(10))
def test_what_we_saved_as_neox_gives_the_same_numbers_there(seed, tmp_path):
    ours = build(draw_config(seed, bias=seed % 3 > 0, position="rotary"), seed)
    theirs = AutoModelForCausalLM.from_pretrained(save(tmp_path / "model", ours, TOKENIZER))
    assert type(theirs) is transformers.GPTNeoXForCausalLM
    assert_equal_models(ours, theirs, tmp_path)
    theirs.save_pretrained(tmp_path / "theirs")
    again, _ = load(tmp_path / "theirs")
    tokens = draw_tokens(ours.config)
    assert again.config == ours.config and torch.equal(again(tokens), ours(tokens))


def test_what_transformers_saved_as_neox_gives_the_same_numbers_here(tmp_path):
    shape = replace(SMALL, position="rotary", tie_embeddings=False)
    described = save(tmp_path / "described", build(shape), TOKENIZER) / "config.json"
    described.write_text(
        json.dumps({k: v for k, v in json.loads(described.read_text()).items() if k != "gptlib"})
    )
    torch.manual_seed(1)
    theirs = AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(described)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path / "theirs")
    ours, tokenizer = load(tmp_path / "theirs")
    assert ours.config == replace(shape, d_mlp=64) and tokenizer is None
    assert_equal_models(ours, theirs, tmp_path)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"use_parallel_residual": True}, "use_parallel_residual"),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}},
            "a part",
        ),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 1.0}}, "linear"),
    ],
)
def test_other_neoxes_are_refused_by_name(setting, words, tmp_path):
    """Pythia among them, whose blocks add attention and MLP side by side."""
    folder = save(tmp_path, build(replace(SMALL, position="rotary")), TOKENIZER)
    change(folder / "config.json", **setting)
    with pytest.raises(ValueError, match=words):
        load(folder)


@pytest.mark.parametrize("seed", range(10))
def test_what_we_saved_as_llama_gives_the_same_numbers_there(seed, tmp_path):
    ours = build(draw_llama(seed), seed)
    theirs = AutoModelForCausalLM.from_pretrained(save(tmp_path / "model", ours, TOKENIZER))
    assert type(theirs) is transformers.LlamaForCausalLM
    assert_equal_models(ours, theirs, tmp_path)


def test_one_file_tells_its_shape_but_for_the_heads(tmp_path):
    """Without what we note in it: as others write it, with 64 numbers to a head."""
    for tied in (True, False):
        ours = build(replace(SMALL, d_model=128, d_mlp=20, tie_embeddings=tied))
        weights = safetensors.torch.load_file(save(tmp_path / "model", ours, TOKENIZER) / "model.safetensors")
        safetensors.torch.save_file(weights, tmp_path / "alone.safetensors")
        again, tokenizer = load(tmp_path / "alone.safetensors")
        assert again.config == ours.config and tokenizer is None
        tokens = draw_tokens(SMALL)
        assert torch.equal(again(tokens), ours(tokens))


def test_the_published_names_masks_and_half_precision_are_read(tmp_path):
    """OpenAI's files have no prefix, fixed masks beside the weights, and no lm_head."""
    ours = build(SMALL)
    folder = save(tmp_path, ours, TOKENIZER)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    published = {name.removeprefix("transformer."): weight.half() for name, weight in weights.items()}
    assert set(published) == {published_name(name) for name, _ in ours.named_parameters()}
    published |= {f"h.{n}.attn.bias": torch.ones(1, 1, 48, 48) for n in range(2)}
    published |= {"h.0.attn.masked_bias": torch.tensor(-1e4)}
    safetensors.torch.save_file(published, folder / "model.safetensors")
    again, _ = load(folder)
    assert again.token_embedding.weight.dtype == torch.float32
    tokens = draw_tokens(SMALL)
    torch.testing.assert_close(again(tokens), ours(tokens), atol=0.05, rtol=0)


def test_names_are_those_of_gpt2_for_every_parameter_of_every_size():
    with torch.device("meta"):
        theirs = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=8, n_head=2, vocab_size=11)).transformer
        ours = GPT(replace(PRESETS["gpt2"], n_layers=2, d_model=8, n_heads=2, vocab_size=11))
    shapes = {name: tuple(weight.shape) for name, weight in theirs.named_parameters()}
    for name, weight in ours.named_parameters():
        published = published_name(name)
        assert shapes.pop(published) == tuple(weight.T.shape if is_transposed(published) else weight.shape)
    assert not shapes


def test_loading_draws_no_random_numbers_and_leaves_the_file_alone(tmp_path):
    folder = save(tmp_path, build(SMALL), TOKENIZER)
    before = (folder / "model.safetensors").read_bytes()
    torch.manual_seed(5)
    model, _ = load(folder)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    assert model.unembedding.weight is model.token_embedding.weight
    loss_of(model(draw_tokens(SMALL)), draw_tokens(SMALL)).backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert (folder / "model.safetensors").read_bytes() == before


# ---------------------------------------------------------------------------------------------- the same text


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def pair(request, tmp_path_factory):
    """One model with strong opinions, which ends its texts now and then: ours, and as transformers has it."""
    config = replace(SMALL, **LLAMA) if request.param == "llama" else SMALL
    ours = build(config, scale=2.0)
    with torch.no_grad():
        ours.token_embedding.weight[END] *= 2
    folder = save(tmp_path_factory.mktemp(request.param), ours, TOKENIZER)
    return ours, AutoModelForCausalLM.from_pretrained(folder)


def prompts(rows=6, seed=3):
    return torch.randint(0, END, (rows, 4), generator=torch.Generator().manual_seed(seed))


SETTINGS = {
    "greedy": ({}, {}),
    "repetition penalty": ({"repetition_penalty": 1.7}, {"repetition_penalty": 1.7}),
    "no repeated n-grams": ({"no_repeat_ngram": 2}, {"no_repeat_ngram_size": 2}),
    "minimum length": ({"min_new_tokens": 12}, {"min_new_tokens": 12}),
    "all of them": (
        {"repetition_penalty": 1.2, "no_repeat_ngram": 3, "min_new_tokens": 9},
        {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_new_tokens": 9},
    ),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_greedy_text_is_that_of_transformers(pair, setting):
    ours, theirs = pair
    our_settings, their_settings = SETTINGS[setting]
    start = prompts()
    expected = theirs.generate(start, do_sample=False, max_new_tokens=40, **their_settings)
    found = generate_tokens(ours, start, max_new_tokens=40, temperature=0.0, stop=END, **our_settings)
    assert torch.equal(found, expected)


def test_these_texts_end_early_unless_they_may_not(pair):
    """Or the tests around this one would compare less than they say."""
    plain, longer = (
        generate_tokens(
            pair[0], prompts(), max_new_tokens=40, temperature=0.0, stop=END, min_new_tokens=least
        )[:, 4:]
        for least in (0, 12)
    )
    assert plain[:, :12].eq(END).any() and not longer[:, :12].eq(END).any() and longer.eq(END).any()


@pytest.mark.parametrize(("n_beams", "n_sequences"), [(2, 1), (3, 3), (5, 2)])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_beam_search_is_that_of_transformers(pair, n_beams, n_sequences, length_penalty):
    ours, theirs = pair
    for prompt in prompts(rows=3):
        given = {"length_penalty": length_penalty, "max_new_tokens": 20}
        expected = theirs.generate(
            prompt[None], do_sample=False, num_beams=n_beams, num_return_sequences=n_sequences, **given
        )
        found = beam_search(ours, prompt[None], n_beams, n_sequences=n_sequences, stop=END, **given)
        assert torch.equal(found, expected)


def test_each_token_is_drawn_from_transformers_distribution(pair):
    """Every filter at once, as transformers itself puts them in order, step by step."""
    ours, theirs = pair
    start = prompts(rows=4)
    settings = Sampling(temperature=0.7, top_k=20, top_p=0.8, repetition_penalty=1.3, no_repeat_ngram=2)
    torch.manual_seed(0)
    run = theirs.generate(
        start,
        do_sample=True,
        max_new_tokens=12,
        min_new_tokens=5,
        temperature=0.7,
        top_k=20,
        top_p=0.8,
        repetition_penalty=1.3,
        no_repeat_ngram_size=2,
        return_dict_in_generate=True,
        output_scores=True,
    )
    for step, scores in enumerate(run.scores):
        so_far = run.sequences[:, : 4 + step]
        with torch.no_grad():
            logits = ours(so_far)[:, -1]
        logits = rule_out(logits, [END]) if step < 5 else logits
        found = next_token_distribution(logits, settings, so_far)
        torch.testing.assert_close(found, scores.softmax(dim=-1), atol=1e-5, rtol=1e-4)


def test_a_pipeline_writes_the_same_text(tmp_path):
    model, tokenizer = load("storyteller")
    folder = save(tmp_path, model, tokenizer)
    pipeline = transformers.pipeline("text-generation", model=str(folder))
    for prompt in ("Once upon a time", "Mia put the red kite <|endoftext|>"):
        [answer] = pipeline(prompt, max_new_tokens=60, do_sample=False)
        assert answer["generated_text"] == generate(
            model, tokenizer, prompt, max_new_tokens=60, temperature=0.0
        )


@pytest.mark.parametrize("layout", [{}, {"position": "rotary"}, LLAMA], ids=["gpt2", "rotary", "llama"])
def test_a_model_that_a_reader_trained_writes_the_same_text_in_a_pipeline(layout, tmp_path):
    stories = [story.text for story in Storyworld(seed=0).stories(40)]
    tokenizer = Tokenizer.train(stories, 400)
    data = write_tokens(stories, tokenizer, tmp_path / "data.npy")
    torch.manual_seed(0)
    model = GPT(GPTConfig(400, context_length=64, n_layers=2, n_heads=2, d_model=32, **layout))
    *_, last = train(model, data, None, TrainConfig(steps=40, batch_size=8, learning_rate=1e-2))
    assert last.loss < 5.2  # of ln 400 = 5.99: it has learned something that a text can show
    folder = save(tmp_path / "model", model, tokenizer)
    pipeline = transformers.pipeline("text-generation", model=str(folder))
    [answer] = pipeline("Once upon a time", max_new_tokens=40, do_sample=False)
    assert answer["generated_text"] == generate(
        model, tokenizer, "Once upon a time", max_new_tokens=40, temperature=0.0
    )


# ----------------------------------------------------------------------------------------------- broken files


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "model", build(SMALL), TOKENIZER)


def change(path, **settings):
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_every_tensor_is_accounted_for_by_name(folder):
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["transformer.h.1.mlp.c_fc.weight"] = weights["transformer.h.1.mlp.c_fc.weight"].T.contiguous()
    weights["transformer.h.0.attn.c_attn.extra"] = torch.zeros(3)
    weights["transformer.ln_f.bias"] = torch.zeros(16, dtype=torch.int64)
    del weights["transformer.h.0.ln_1.weight"], weights["transformer.wpe.weight"]
    safetensors.torch.save_file(weights, path)
    with pytest.raises(ValueError) as caught:
        load(folder)
    for words in (
        "missing wpe.weight",
        "missing h.0.ln_1.weight",
        "unexpected h.0.attn.c_attn.extra",
        "misshapen h.1.mlp.c_fc.weight: (64, 16), expected (16, 64)",
        "ln_f.bias holds torch.int64",
    ):
        assert words in str(caught.value)
    assert "h.1.ln_1" not in str(caught.value)


def test_an_unembedding_that_contradicts_the_config_is_refused(folder):
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights | {"lm_head.weight": weights["transformer.wte.weight"].clone()}, path)
    assert load(folder)[0].config.tie_embeddings
    safetensors.torch.save_file(weights | {"lm_head.weight": torch.zeros(SMALL.vocab_size, 16)}, path)
    with pytest.raises(ValueError, match="lm_head.weight is not wte.weight"):
        load(folder)
    safetensors.torch.save_file(weights, path)
    change(folder / "config.json", tie_word_embeddings=False)
    with pytest.raises(ValueError, match="missing lm_head.weight"):
        load(folder)


@pytest.mark.parametrize(
    "setting",
    [
        {"model_type": "bert"},
        {"activation_function": "relu"},
        {"activation_function": "gelu"},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"reorder_and_upcast_attn": True},
        {"add_cross_attention": True},
        {"quantization_config": {"bits": 4}},
        {"attn_pdrop": "none"},
    ],
)
def test_what_our_gpt_cannot_express_is_refused_by_name(folder, setting):
    change(folder / "config.json", **setting)
    with pytest.raises(ValueError, match=next(iter(setting))):
        load(folder)


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_is_cut_off_is_named(folder, name, kept):
    path = folder / name
    path.write_bytes(path.read_bytes().rstrip()[:kept])
    with pytest.raises(ValueError, match=rf"{name}.*cut off"):
        load(folder)


def test_a_shard_that_is_missing_is_named(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    places = {"transformer.wte.weight": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(FileNotFoundError, match="model-00002-of-00002"):
        load(folder)
    places = {"a.weight": "model-00001-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(ValueError, match="not in their files: a.weight"):
        load(folder)


def test_pickles_are_refused_unopened(folder, tmp_path):
    """The file here would leave a mark if anything opened it."""
    mark = tmp_path / "opened"

    class Trap:
        def __reduce__(self):
            return (type(mark).touch, (mark,))

    (folder / "model.safetensors").unlink()
    torch.save({"wte.weight": Trap()}, folder / "pytorch_model.bin")
    for path in (folder, folder / "pytorch_model.bin", tmp_path / "gone.pt"):
        with pytest.raises(ValueError, match="is a pickle.*runs whatever program"):
            load(path)
    assert not mark.exists()


def test_names_and_folders_that_are_not_there(folder, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="'gpt5': there is no such file.*gpt2, gpt2-medium, gpt2-large"
    ):
        load("gpt5")
    with pytest.raises(FileNotFoundError, match="config.json"):
        load(tmp_path.parent)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="neither model.safetensors nor model.safetensors.index.json"):
        load(folder)


def test_heads_that_cannot_be_told(tmp_path):
    path, weights = tmp_path / "alone.safetensors", {"wte.weight": torch.zeros(3, 16)}
    weights |= {"wpe.weight": torch.zeros(3, 16), "h.0.mlp.c_fc.weight": torch.zeros(16, 64)}
    safetensors.torch.save_file(weights, path)
    with pytest.raises(ValueError, match="d_model = 16, no multiple of 64.*give a folder with a config.json"):
        load(path)
    safetensors.torch.save_file({"wte.weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="no matrix wte.weight, wpe.weight, h.0.mlp.c_fc.weight"):
        load(path)


def test_a_tokenizer_of_another_size_is_refused(folder):
    other = TOKENIZER.with_tokens([], ["<|user|>"])
    (folder / "tokenizer.json").write_text(json.dumps(to_fast_tokenizer(other)))
    with pytest.raises(ValueError, match="tokenizer has vocab_size 291; it needs at most the model's, 290"):
        load(folder)
    (folder / "tokenizer.json").unlink()
    assert load(folder)[1] is None
