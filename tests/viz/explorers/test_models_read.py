"""What explorers can do with which model, and that it is what the model does.

Where a family keeps the matrix that writes its heads into the stream is named here for each, and is not named
in what is tested: heads are removed by hand, and lengths of values taken, at that place.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoConfig

from gptlib import GPT, GPTConfig
from gptlib.interpret.tracing import remove_head
from gptlib.viz.explorers.adapters import GivenAttention, adapt, attention_of

TABLE = Path(__file__).parents[3] / "docs" / "explorers" / "models.md"
TOKENS, OTHERS, SOURCE = [5, 6, 7, 8, 9, 6, 4], [9, 8, 5, 5, 6, 7, 3], [11, 12, 13, 14, 15]
SPECIAL = {"vocab_size": 48, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
USUAL = {
    "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 40,
    "max_position_embeddings": 16,
}  # fmt: skip
GROUPED = USUAL | {"num_key_value_heads": 2}
WIDE = GROUPED | {"head_dim": 12}
GPT2 = {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 16}
BART = {
    "d_model": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_layers": 2,
    "decoder_layers": 2, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "max_position_embeddings": 16,
    "decoder_start_token_id": 2,
}  # fmt: skip
T5 = {
    "d_model": 32, "d_kv": 8, "num_heads": 4, "num_layers": 2, "d_ff": 40, "decoder_start_token_id": 0,
}  # fmt: skip
BERT, LLAMA = "bert.encoder.layer.{}.attention.output.dense", "model.layers.{}.self_attn.o_proj"


@dataclass(frozen=True)
class Family:
    """A kind of model: its class and sizes, where its heads are written into the stream, what it predicts."""

    shown: str
    build: str
    kind: str
    sizes: dict
    written: str = LLAMA  # where, {} being the layer; empty where an explorer cannot tell
    predicts: str = "next"
    part: str = ""


FAMILIES = [
    Family("GPT-2", "GPT2LMHeadModel", "gpt2", GPT2, "transformer.h.{}.attn.c_proj"),
    Family("GPT-2, bare", "GPT2Model", "gpt2", GPT2, "h.{}.attn.c_proj", ""),
    Family(
        "GPT-Neo", "GPTNeoForCausalLM", "gpt_neo",
        {"hidden_size": 32, "num_heads": 4, "num_layers": 2, "max_position_embeddings": 16, "window_size": 4,
         "attention_types": [[["global", "local"], 1]]},
        "transformer.h.{}.attn.attention.out_proj",
    ),
    Family("GPT-J", "GPTJForCausalLM", "gptj", GPT2 | {"rotary_dim": 4}, "transformer.h.{}.attn.out_proj"),
    Family("GPT-NeoX, Pythia", "GPTNeoXForCausalLM", "gpt_neox", USUAL, "gpt_neox.layers.{}.attention.dense"),
    Family(
        "OPT", "OPTForCausalLM", "opt", USUAL | {"ffn_dim": 40, "word_embed_proj_dim": 32},
        "model.decoder.layers.{}.self_attn.out_proj",
    ),
    Family(
        "BLOOM", "BloomForCausalLM", "bloom", {"hidden_size": 32, "n_head": 4, "n_layer": 2},
        "transformer.h.{}.self_attention.dense",
    ),
    Family("MPT", "MptForCausalLM", "mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 16},
           "transformer.blocks.{}.attn.out_proj"),
    Family("Falcon", "FalconForCausalLM", "falcon", USUAL, "transformer.h.{}.self_attention.dense"),
    Family("Phi-2", "PhiForCausalLM", "phi", USUAL, "model.layers.{}.self_attn.dense"),
    Family("Phi-3", "Phi3ForCausalLM", "phi3", GROUPED),
    Family("Llama", "LlamaForCausalLM", "llama", GROUPED),
    Family("Mistral", "MistralForCausalLM", "mistral", GROUPED | {"sliding_window": 3}),
    Family("Mixtral", "MixtralForCausalLM", "mixtral", GROUPED | {"num_local_experts": 3}),
    Family("Qwen2", "Qwen2ForCausalLM", "qwen2", GROUPED),
    Family("Qwen3", "Qwen3ForCausalLM", "qwen3", WIDE),
    Family("Gemma", "GemmaForCausalLM", "gemma", WIDE),
    Family("Gemma 2", "Gemma2ForCausalLM", "gemma2", WIDE),
    Family("Gemma 3", "Gemma3ForCausalLM", "gemma3_text", WIDE),
    Family("GPT-OSS", "GptOssForCausalLM", "gpt_oss", WIDE | {"num_local_experts": 4}),
    Family("DeepSeek-V3", "DeepseekV3ForCausalLM", "deepseek_v3", USUAL | {
        "num_key_value_heads": 4, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "v_head_dim": 8,
        "qk_nope_head_dim": 4, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2,
        "moe_intermediate_size": 16}, ""),
    Family("BERT", "BertForMaskedLM", "bert", USUAL, BERT, "here"),
    Family("BERT, bare", "BertModel", "bert", USUAL, BERT.removeprefix("bert."), ""),
    Family("RoBERTa", "RobertaForMaskedLM", "roberta", USUAL, BERT.replace("bert", "roberta", 1), "here"),
    Family("ELECTRA", "ElectraForMaskedLM", "electra", USUAL | {"embedding_size": 16},
           BERT.replace("bert", "electra", 1), "here"),
    Family("DistilBERT", "DistilBertForMaskedLM", "distilbert",
           {"dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 40, "max_position_embeddings": 16},
           "distilbert.transformer.layer.{}.attention.out_lin", "here"),
    Family("ALBERT", "AlbertForMaskedLM", "albert", USUAL | {"embedding_size": 16},
           "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.dense", "here"),
    Family("DeBERTa", "DebertaV2ForMaskedLM", "deberta-v2", USUAL,
           BERT.replace("bert", "deberta", 1), "here"),
    Family("ModernBERT", "ModernBertForMaskedLM", "modernbert",
           USUAL | {"cls_token_id": 1, "sep_token_id": 2}, "model.layers.{}.attn.Wo", "here"),
    Family("XLNet", "XLNetLMHeadModel", "xlnet", {"d_model": 32, "n_head": 4, "n_layer": 2, "d_inner": 40},
           "", "here"),
    *(
        Family(f"{shown}, {told}", build, kind, sizes, written, predicts, part)
        for shown, build, kind, sizes, layer, names in (
            ("T5", "T5ForConditionalGeneration", "t5", T5, "{}.block.{{}}.layer.",
             ("0.SelfAttention.o", "0.SelfAttention.o", "1.EncDecAttention.o")),
            ("BART", "BartForConditionalGeneration", "bart", BART, "model.{}.layers.{{}}.",
             ("self_attn.out_proj", "self_attn.out_proj", "encoder_attn.out_proj")),
            ("Marian", "MarianMTModel", "marian", BART, "model.{}.layers.{{}}.",
             ("self_attn.out_proj", "self_attn.out_proj", "encoder_attn.out_proj")),
        )
        for part, told, side, predicts, name in zip(
            ("encoder", "decoder", "cross"), ("encoder", "decoder", "cross-attention"),
            ("encoder", "decoder", "decoder"), ("", "next", "next"), names, strict=True,
        )
        for written in (layer.format(side) + name,)
    ),
]  # fmt: skip


def model_of(family, dtype=torch.float32):
    """A small one, whose heads differ and look at something."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family.kind, **SPECIAL | family.sizes)
    model = getattr(transformers, family.build)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(4)
            else:  # of biases that are 0, as they are at first, nobody would miss one
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().to(dtype)


def read(adapter, tokens=TOKENS, edits=None):
    return adapter.read(tokens, edits or {}, SOURCE if adapter.needs_target else None)


def attention_and_logits(model, part, tokens=TOKENS):
    """What transformers itself says, of all layers: (head, query, key)."""
    for module in model.modules():  # with Falcon's usual implementation it says what the model does not do
        if hasattr(module, "config"):
            module.config._attn_implementation = "eager"
    given = {"input_ids": torch.tensor([SOURCE if part in ("decoder", "cross") else tokens])}
    if part:
        given["decoder_input_ids"] = torch.tensor([tokens])
    with torch.no_grad():
        output = model(**given, output_attentions=True)
    name = f"{part}_attentions" if part else "attentions"
    return torch.cat([layer[0] for layer in output[name]]), getattr(output, "logits", None)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.shown)
def test_every_family_is_read_as_it_is(family):
    model = model_of(family)
    chosen = model.config._attn_implementation
    adapter = adapt(model, family.part)
    reading = read(adapter)
    assert model.config._attn_implementation == chosen
    weights, logits = attention_and_logits(model, family.part)
    torch.testing.assert_close(reading.weights, weights)
    assert (adapter.n_layers, adapter.n_heads, adapter.copy_heads) == (2, 4, 0)
    assert adapter.causal == (family.predicts == "next" and family.part != "cross" or family.part == "decoder"
                              or "GPT-2" in family.shown)  # fmt: skip
    assert adapter.needs_target == (family.part in ("decoder", "cross"))
    assert adapter.predicts == family.predicts
    if family.predicts:
        torch.testing.assert_close(reading.logits, logits[0])
    else:
        assert reading.logits.shape == (len(TOKENS), 0)
    assert adapter.context_length in (2048, 16, 15)  # RoBERTa counts from the number of the padding on
    read(adapter, (TOKENS * 3)[: min(adapter.context_length, 20)])
    assert bool(family.written) == (not adapter.no_edits) == (not adapter.no_values)
    if not family.written:
        assert family.build in adapter.no_edits and family.build in adapter.no_values
        assert reading.value_norms is None and reading.activations == {}
        with pytest.raises(ValueError, match=f"In a {family.build} no place was found"):
            read(adapter, edits={"blocks.0.attention.heads": remove_head(0)})
        return
    removed_as_by_hand(model, adapter, family)
    patched_as_a_whole(adapter)
    lengths_as_by_hand(model, adapter, family)


def removed_as_by_hand(model, adapter, family):
    """A head that is removed says what it says when nothing of it is written into the stream."""
    found = read(adapter, edits={"blocks.1.attention.heads": remove_head(2)})
    by_hand = copy.deepcopy(model)
    module = by_hand.get_submodule(family.written.format(1))
    calls = []

    def forget(module, inputs):
        calls.append(inputs)
        if len(calls) % 2 and "{}" not in family.written:  # its one module is in both layers
            return inputs
        heads = inputs[0].unflatten(-1, (4, -1)).clone()
        heads[:, :, 2] = 0
        return (heads.flatten(-2), *inputs[1:])

    with module.register_forward_pre_hook(forget):
        weights, logits = attention_and_logits(by_hand, family.part)
    torch.testing.assert_close(found.weights, weights)
    if family.predicts:
        torch.testing.assert_close(found.logits, logits[0], atol=1e-4, rtol=1e-4)
        assert (found.logits - read(adapter).logits).abs().max() > 1e-3


def patched_as_a_whole(adapter):
    """With the stream of another text in the first layer, nothing of this one is left."""
    other = read(adapter, OTHERS)
    stream = other.activations["blocks.0.residual_pre"]
    edits = {"blocks.0.residual_pre": lambda x: stream[None]}
    torch.testing.assert_close(read(adapter, edits=edits).weights, other.weights)


def lengths_as_by_hand(model, adapter, family):
    """A text of one token: it can look at nothing but itself, so what a head gives is its value."""
    adapter.read([5], {}, [7] if adapter.needs_target else None)
    for layer in range(2):
        given = []
        module = model.get_submodule(family.written.format(layer))
        with module.register_forward_pre_hook(lambda module, inputs, given=given: given.append(inputs[0])):
            reading = adapter.read([5], {}, [7] if adapter.needs_target else None)
        value = given[layer if "{}" not in family.written else 0][0, 0].unflatten(-1, (4, -1))
        value = value / reading.weights[4 * layer : 4 * layer + 4, 0]  # GPT-OSS may look at nothing, too
        matrix = module.weight.T if family.kind == "gpt2" else module.weight
        written = torch.einsum("hd,mhd->hm", value, matrix.detach().unflatten(1, (4, -1))).norm(dim=-1)
        found = reading.value_norms[4 * layer : 4 * layer + 4, 0]
        torch.testing.assert_close(found, written, atol=1e-4, rtol=1e-3)


# ---------------------------------------------------------------------------------------- what else there is

REFUSED = [
    ("Mamba", "MambaForCausalLM", "mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
     "returns no attention weights"),
    ("RWKV", "RwkvForCausalLM", "rwkv",
     {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
     r"gives attention of shape \(1, 5, 32\)"),
    ("ViT", "ViTModel", "vit", USUAL | {"image_size": 8, "patch_size": 4}, "reads pixel_values"),
    ("Whisper", "WhisperForConditionalGeneration", "whisper", BART, "reads input_features"),
    ("CLIP", "CLIPModel", "clip", {"text_config": USUAL, "vision_config": USUAL}, "reads more than tokens"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "build", "kind", "sizes", "told"), REFUSED, ids=[row[0] for row in REFUSED]
)
def test_what_has_no_attention_over_tokens_is_refused_with_a_sentence(shown, build, kind, sizes, told):
    config = AutoConfig.for_model(kind, **sizes if kind == "clip" else SPECIAL | sizes)
    with pytest.raises(TypeError, match=f"model is a {build}, .*{told}"):
        adapt(getattr(transformers, build)(config))


def yes(answer):
    return "yes" if answer else "no"


def table():
    """What an explorer does with which model, as the page in docs/ has it."""
    predicts = {"next": "the next token", "here": "the token there (a masked word)", "": "–"}
    rows = [("`gptlib.GPT`", "yes", "yes", "yes", predicts["next"])]
    rows += [
        (family.shown, "yes", *[yes(family.written)] * 2, predicts[family.predicts]) for family in FAMILIES
    ]
    rows += [(shown, "no", "no", "no", predicts[""]) for shown, *_ in REFUSED]
    head = ("model", "heat maps", "removing, scaling, patching", "weights × values", "bars show")
    return "".join("| " + " | ".join(row) + " |\n" for row in [head, ("---",) * len(head), *rows])


def test_the_page_on_models_has_this_table():
    print(table())
    assert table() in TABLE.read_text(encoding="utf-8")


def test_gptlib_models_say_what_they_can():
    torch.manual_seed(0)
    adapter = adapt(GPT(GPTConfig(48, context_length=16, n_layers=2, n_heads=4, d_model=32)))
    assert (adapter.causal, adapter.predicts, adapter.needs_target) == (True, "next", False)
    assert adapter.no_edits == adapter.no_values == ""
    with pytest.raises(ValueError, match=r"part is 'cross'; a gptlib\.GPT has no encoder"):
        adapt(adapter.model, "cross")
    with pytest.raises(ValueError, match="source is given; only a decoder needs"):
        adapter.read([1, 2], {}, [3])


def test_parts_that_a_model_does_not_have():
    both, one = model_of(FAMILIES[-1]), model_of(FAMILIES[0])
    assert adapt(both).part == "encoder"
    with pytest.raises(ValueError, match="part is 'middle'; it needs to be one of encoder, decoder, cross"):
        adapt(both, "middle")
    with pytest.raises(ValueError, match="part is 'encoder'; a GPT2LMHeadModel has no encoder beside"):
        adapt(one, "encoder")
    with pytest.raises(ValueError, match="source is missing; a decoder needs"):
        adapt(both, "cross").read(TOKENS, {})
    assert adapt(both, "decoder").start == 2 and adapt(both).start is None


@pytest.mark.parametrize("part", ["encoder", "decoder", "cross"])
def test_an_encoder_and_a_decoder_that_were_put_together(part):
    encoder = AutoConfig.for_model("bert", **SPECIAL | USUAL)
    decoder = AutoConfig.for_model("bert", is_decoder=True, add_cross_attention=True, **SPECIAL | USUAL)
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = config.pad_token_id = 0
    torch.manual_seed(0)
    model = transformers.EncoderDecoderModel(config=config).eval()
    adapter = adapt(model, part)
    reading = read(adapter)
    torch.testing.assert_close(reading.weights, attention_and_logits(model, part)[0])
    assert not adapter.no_edits and not adapter.no_values
    assert (adapter.causal, adapter.predicts) == (part == "decoder", "" if part == "encoder" else "next")


@pytest.mark.parametrize(
    "build", ["GPT2ForTokenClassification", "GPT2ForSequenceClassification", "GPT2ForQuestionAnswering"]
)
def test_what_a_classifier_gives_are_no_tokens(build):
    config = AutoConfig.for_model("gpt2", num_labels=3, **SPECIAL | GPT2)
    adapter = adapt(getattr(transformers, build)(config))
    assert adapter.predicts == "" and read(adapter).logits.shape == (len(TOKENS), 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shown", ["GPT-2", "Qwen3", "BERT", "T5, cross-attention"])
def test_another_precision_and_training_change_nothing_of_what_can_be_done(shown, dtype):
    family = next(family for family in FAMILIES if family.shown == shown)
    model = model_of(family, dtype).train()
    model.set_attn_implementation("sdpa")
    adapter = adapt(model, family.part)
    reading = read(adapter)
    assert model.training and not adapter.no_edits and not adapter.no_values
    assert {x.dtype for x in (reading.weights, reading.logits, reading.value_norms)} == {torch.float32}
    weights, logits = attention_and_logits(model.eval(), family.part)
    torch.testing.assert_close(reading.weights, weights.float())
    torch.testing.assert_close(reading.logits, logits[0].float())


def test_a_model_on_meta_is_told_of():
    with torch.device("meta"):
        model = transformers.GPT2LMHeadModel(AutoConfig.for_model("gpt2", **SPECIAL | GPT2))
    with pytest.raises(ValueError, match="is on the device 'meta', where it has shapes and no numbers"):
        adapt(model)


def test_layers_without_attention_are_left_out():
    sizes = {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "mamba_d_state": 4}
    config = AutoConfig.for_model("jamba", **SPECIAL | GROUPED | sizes | {"num_hidden_layers": 4})
    torch.manual_seed(0)
    model = transformers.JambaForCausalLM(config).eval()
    adapter = adapt(model)
    assert (adapter.n_layers, adapter.no_edits, adapter.no_values) == (2, "", "")
    found = read(adapter, edits={"blocks.1.attention.heads": remove_head(2)})
    reader = model.model.layers[3].self_attn.o_proj  # the second that has attention
    with torch.no_grad():
        reader.weight[:, 16:24] = 0
        logits = model(torch.tensor([TOKENS])).logits[0]
    torch.testing.assert_close(found.logits, logits)


def test_layers_of_unlike_heads_are_refused():
    model = model_of(FAMILIES[0])
    part = model.transformer.h[1].attn
    part.num_heads, part.head_dim = 2, 16
    with pytest.raises(
        TypeError, match=r"gives attention of shape \(1, 2, 5, 5\) for 5 tokens; .*\(1, 4, 5, 5\)"
    ):
        adapt(model)


def test_a_model_that_mixes_its_heads_otherwise_is_only_looked_at():
    """A gate between heads and projection, as some have: then what that reads is not what the heads gave."""
    model = model_of(next(family for family in FAMILIES if family.shown == "Llama"))
    for block in model.model.layers:
        block.self_attn.o_proj.register_forward_pre_hook(lambda module, inputs: (inputs[0].tanh(),))
    adapter = adapt(model)
    assert "heads can be looked at here" in adapter.no_edits and "is not known" in adapter.no_values
    assert read(adapter).weights.shape == (8, 7, 7)
    with pytest.raises(ValueError, match="In a LlamaForCausalLM no place was found"):
        adapter.read(TOKENS, {"blocks.0.attention.heads": remove_head(0)})


def test_nothing_is_left_on_the_model():
    model = model_of(FAMILIES[0])
    model(torch.tensor([TOKENS]), output_attentions=True)  # transformers keeps hooks of its own from then on
    hooks = [dict(each) for m in model.modules() for each in (m._forward_hooks, m._forward_pre_hooks)]
    read(adapt(model), edits={"blocks.0.attention.heads": remove_head(0)})
    assert hooks == [dict(each) for m in model.modules() for each in (m._forward_hooks, m._forward_pre_hooks)]


# --------------------------------------------------------------------------------- attention without a model


def rows(*shape, causal=False, seed=0):
    weights = torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
    weights = weights.tril() if causal else weights
    return weights / weights.sum(dim=-1, keepdim=True)


WORDS, KEYS = ["a", "b", "c", "d"], ["x", "y", "z"]
WINDOW = rows(2, 3, 4, 4) * torch.ones(4, 4).tril().triu(-1)
UNSEEN = torch.cat([rows(1, 2, 4, 3), torch.zeros(1, 2, 4, 1)], dim=-1)  # nobody looks at the last
PADDING = torch.cat([rows(1, 2, 3, 4), torch.zeros(1, 2, 1, 4)], dim=-2)  # the last looks at nothing


@pytest.mark.parametrize(
    ("weights", "keys", "causal"),
    [
        (rows(2, 3, 4, 4, causal=True), None, True),
        (rows(2, 3, 4, 4), None, False),
        (WINDOW / WINDOW.sum(dim=-1, keepdim=True), None, True),
        (rows(2, 3, 4, 3), KEYS, False),
        (rows(2, 3, 4, 4, causal=True), WORDS, False),  # keys that are other tokens, though as many
        (UNSEEN, None, False),
        (PADDING, None, False),
        (rows(2, 3, 4, 4, causal=True).bfloat16(), None, True),
        (rows(2, 3, 4, 4, causal=True).half().requires_grad_(), None, True),
        (torch.eye(4, dtype=torch.int64)[None, None], None, True),
    ],
    ids=["causal", "bidirectional", "window", "cross", "square cross", "unseen key", "padded query",
         "bfloat16", "half with gradients", "integers"],
)  # fmt: skip
def test_attention_of_any_mask(weights, keys, causal):
    given = GivenAttention(attention_of(weights), WORDS, keys)
    reading = given.read(given.tokens, {})
    assert given.causal == causal and given.keys == keys and not given.scores
    assert torch.equal(reading.weights, weights.detach().float().flatten(0, 1))
    assert reading.value_norms is None and reading.logits.shape == (4, 0)
    assert given.no_edits and given.no_values and not given.needs_target and given.predicts == ""


@pytest.mark.parametrize("causal", [True, False])
def test_scores_may_be_anything_but_nan_and_infinity(causal):
    scores = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    if causal:
        scores = scores.masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
    given = GivenAttention(scores, WORDS, scores=True)
    assert given.scores and given.causal == causal
    for wrong in (torch.nan, torch.inf):
        scores[0, 1, 2, 1] = wrong
        with pytest.raises(ValueError, match="layer 0, head 1, query 2 hold NaN or infinity; scores need"):
            GivenAttention(scores, WORDS, scores=True)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (torch.nan, "layer 1, head 2, query 3 hold a number that is not finite"),
        (-torch.inf, "layer 1, head 2, query 3 hold a number that is not finite"),
        (-1.0, r"layer 1, head 2, query 3 hold a number below 0; .*scores=True"),
        (2.0, r"layer 1, head 2, query 3 sum to 2\.\d+; each row needs to sum to 1, or to be all 0"),
    ],
)
def test_rows_that_are_no_shares_are_refused_by_place(wrong, told):
    weights = rows(2, 3, 4, 4)
    weights[1, 2, 3, 0] = wrong
    with pytest.raises(ValueError, match=told):
        GivenAttention(weights, WORDS)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 1, 4, 3\); for 4 tokens it needs .*keys=… names them"):
        GivenAttention(rows(1, 1, 4, 3), WORDS)
    with pytest.raises(ValueError, match=r"for 4 tokens and 3 keys it needs \(layer, head, 4, 3\)$"):
        GivenAttention(rows(1, 1, 4, 4), WORDS, KEYS)
    with pytest.raises(ValueError, match=r"layers of the shapes \(1, 2, 4, 4\), \(1, 4, 4, 4\); all need"):
        attention_of((rows(1, 2, 4, 4), rows(1, 4, 4, 4)))
    with pytest.raises(ValueError, match="changes needs a model"):
        GivenAttention(rows(1, 1, 4, 4), WORDS).read([0], {"blocks.0.attention.heads": remove_head(0)})
