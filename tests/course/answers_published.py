"""Answers to the exercises on published weights as readers write them, right and wrong."""

import torch

from gptlib.formats.layouts import is_transposed

NAMES = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}


def by_adding_up(n_parameters, dtype, training):
    number = torch.zeros((), dtype=dtype).element_size()
    total = n_parameters * number
    if training:
        total += n_parameters * number  # gradients
        total += 2 * n_parameters * number  # means
    return total


def by_real_tensors(n_parameters, dtype, training):
    return sum(torch.zeros(n_parameters, dtype=dtype).nbytes for _ in range(4 if training else 1))


def by_pieces(name, names=NAMES, layers="h", keep_layer=True, keep_kind=True):
    pieces = name.split(".")
    kind = f".{pieces[-1]}" if keep_kind else ""
    if pieces[0] != "blocks":
        return {"token_embedding": "wte", "position": "wpe", "final_norm": "ln_f"}[pieces[0]] + kind
    layer = f".{pieces[1]}" if keep_layer else ""
    return f"{layers}{layer}.{names['.'.join(pieces[2:-1])]}{kind}"


def by_replacing(name):
    for ours, theirs in (
        ("blocks", "h"),
        ("attention.output", "attn.c_proj"),
        ("attention.qkv", "attn.c_attn"),
        ("attention_norm", "ln_1"),
        ("mlp_norm", "ln_2"),
        ("mlp.up", "mlp.c_fc"),
        ("mlp.down", "mlp.c_proj"),
        ("final_norm", "ln_f"),
        ("token_embedding", "wte"),
        ("position.embedding", "wpe"),
    ):
        name = name.replace(ours, theirs)
    return name


def by_chunks(weight, n_heads):
    parts = [part.chunk(n_heads, dim=1) for part in weight.chunk(3, dim=1)]
    return torch.stack([torch.stack([head.T for head in part]) for part in parts])


def by_view_and_permute(weight, n_heads):
    return weight.view(len(weight), 3, n_heads, -1).permute(1, 2, 3, 0)


def by_state_dict(model, tensors, names=by_replacing, kept=lambda name: True, turned=is_transposed):
    state = model.state_dict()
    for ours in [name for name, _ in model.named_parameters()]:
        theirs = names(ours)
        if kept(theirs):
            state[ours] = tensors[theirs].T if turned(theirs) else tensors[theirs]
    state["unembedding.weight"] = state["token_embedding.weight"]
    model.load_state_dict(state)
    return model


def by_data(model, tensors):
    for name, parameter in model.named_parameters():
        tensor = tensors[by_pieces(name)]
        turn = name.startswith("blocks") and tensor.ndim == 2
        parameter.data[:] = tensor.t() if turn else tensor
    return model


def by_shape(model, tensors, change):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            tensor = tensors[by_replacing(name)]
            parameter[:] = tensor if tensor.shape == parameter.shape else change(tensor, parameter)
    return model


def by_rebinding(model, tensors):
    for name, parameter in model.named_parameters():
        parameter = tensors[by_replacing(name)]  # noqa: F841, PLW2901
    return model


RIGHT = {
    "gpt2.bytes_needed": [by_adding_up, by_real_tensors],
    "gpt2.published_name": [by_pieces, by_replacing],
    "gpt2.split_c_attn": [by_chunks, by_view_and_permute],
    "gpt2.fill": [by_state_dict, by_data],
}

WRONG = {
    "gpt2.bytes_needed": {
        "bits": lambda n, dtype, training: n * 8 * dtype.itemsize * (1 + 3 * training),
        "weights_alone": lambda n, dtype, training: by_real_tensors(n, dtype, False),
        "no_means": lambda n, dtype, training: n * dtype.itemsize * (1 + training),
        "weights_forgotten": lambda n, dtype, training: n * dtype.itemsize * (1 + 2 * training),
        "always_float32": lambda n, dtype, training: n * (16 if training else 4),
    },
    "gpt2.published_name": {
        "kind_dropped": lambda name: by_pieces(name, keep_kind=False),
        "layer_dropped": lambda name: by_pieces(name, keep_layer=False),
        "blocks_kept": lambda name: by_pieces(name, layers="blocks"),
        "projections_alike": lambda name: by_pieces(
            name, NAMES | {"attention.output": "c_proj", "mlp.down": "c_proj"}
        ),
        "norms_swapped": lambda name: by_pieces(name, NAMES | {"attention_norm": "ln_2", "mlp_norm": "ln_1"}),
    },
    "gpt2.split_c_attn": {
        "read_across": lambda weight, n_heads: weight.flatten().unflatten(0, (3, n_heads, -1, len(weight))),
        "heads_first": lambda weight, n_heads: weight.view(len(weight), n_heads, 3, -1).permute(2, 1, 3, 0),
        "each_on_its_side": lambda weight, n_heads: by_chunks(weight, n_heads).mT,
        "heads_interleaved": lambda weight, n_heads: weight.view(len(weight), 3, -1, n_heads).permute(
            1, 3, 2, 0
        ),
    },
    "gpt2.fill": {
        "square_not_turned": lambda model, tensors: by_shape(model, tensors, lambda tensor, _: tensor.T),
        "reshaped": lambda model, tensors: by_shape(
            model, tensors, lambda tensor, parameter: tensor.flatten().view_as(parameter)
        ),
        "biases_forgotten": lambda model, tensors: by_state_dict(
            model, tensors, kept=lambda name: "bias" not in name
        ),
        "matrices_alone": lambda model, tensors: by_state_dict(
            model, tensors, kept=lambda name: name[:2] == "wt" or name[:2] == "wp" or is_transposed(name)
        ),
        "nothing_written": by_rebinding,
    },
}
