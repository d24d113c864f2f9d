"""Mutants that give what the solution gives wherever the task is asked, and why.

For each exercise: what differs, as `mutants` says it, or how that begins, and the reason.
"""

A_NUMBER = "Single numbers of Python, numpy and torch count as the same."
ONE_AXIS = "There is only one axis."
LAST_OF_TWO = "The last of two axes is axis 1."
LAST_BY_DEFAULT = "The last axis is what torch takes by default."
A_NEW_TENSOR = "What is written into was made a moment before, and nobody else holds it."
SAME_LENGTHS = "The lengths are the same, so `strict` has nothing to refuse."
NEVER_EQUAL = "The two numbers are never exactly equal."
EITHER_ORDER = "It is the same in either order."
ONE_TEXT = "There is one text, so the first is the last."
ANY_TOKEN = "Any other token shows as much."
LEFT_OPEN = "The task leaves the initial weights open."
EVEN = "A cosine is the same on either side of 0."

SAME_RESULTS = {
    "ngram.draw": {"return int((ends <= dice).sum()) => return (ends <= dice).sum()": A_NUMBER},
    "ngram.mean_surprise": {"np.errstate(divide='ignore') => np.errstate()": "It only spares a warning."},
    "tokenizer.naive_train": {"{piece: list(piece.encode()) for": "Bytes are read as whole numbers."},
    "tokenizer.naive_encode": {"row = list(piece.encode()) =>": "Bytes are read as whole numbers."},
    "learning.gradient_of_logits": {
        "gradient = logits.softmax(dim=-1) => gradient = logits.softmax(dim=": ONE_AXIS
    },
    "attention.look_up": {
        "return (keys @ query).softmax(dim=-1) @ values => return (keys @ query).softmax(dim=": ONE_AXIS
    },
    "attention.scaled_scores": {
        "return queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1]) => "
        "return queries @ keys.transpose(-2, -1) / math.sqrt(keys.shape[-1])": (
            "Queries and keys are equally long; otherwise they have no dot product."
        )
    },
    "causal.sees_the_future": {
        "moved.max() > 1e-05 => moved.max() >= 1e-05": NEVER_EQUAL,
        "(0, position) => (-1, position)": ONE_TEXT,
        "tokens[0, position] + 1 => tokens[0, position] + 2": ANY_TOKEN,
        "tokens[0, position] + 1 => tokens[0, position] - 1": ANY_TOKEN,
        "logits.shape[-1] => logits.shape[1]": ANY_TOKEN,
        "logits.shape[-1] => logits.shape[-2]": ANY_TOKEN,
        "(model(changed) - logits)[:, :position] => (logits - model(changed))": "The sign is taken away.",
    },
    "positions.rotate": {"even, odd = (x[..., 0::2]": "A slice begins at 0 by itself."},
    "block.layer_norm": {"torch.sqrt(variance + eps) => torch.sqrt(variance.add_(eps))": A_NEW_TENSOR},
    "gpt.count_by_hand": {"norms = 2 * 2 * d => norms = (2 + 2) * d": "Two times two is two plus two."},
    "gpt.TiedTable": {
        "nn.Parameter(0.02 * torch.randn(vocab_size, d_model)) =>": LEFT_OPEN,
        "0.02 * torch.randn(vocab_size, d_model) =>": LEFT_OPEN,
    },
    "training.clip_gradients": {
        "gradient * min(1.0, bound / norm) => gradient * min(bound / norm, 1.0)": EITHER_ORDER,
        "((gradient ** 2).sum().item() for gradient in gradients) => ((gradient ** 2).sum() for": A_NUMBER,
    },
    "training.schedule": {
        "(step - warmup) / (steps - 1 - warmup) => (warmup - step) / (steps - 1 - warmup)": EVEN,
        "(step - warmup) / (steps - 1 - warmup) => (step - warmup) / (warmup - (steps - 1))": EVEN,
    },
    "training.accumulate": {
        "zip(inputs.split(size), targets.split(size), strict=True) =>": SAME_LENGTHS,
        "for part, wanted in zip(inputs.split(size), targets.split(size), strict=True): => "
        "for part, wanted in zip(inputs.split(size), targets.split(size), strict=False):": SAME_LENGTHS,
        "share = len(part) / len(inputs) => share = len(part) / len(targets)": SAME_LENGTHS,
    },
    "generation.keep_top_k": {
        "logits.topk(min(k, logits.shape[-1]), dim=-1) => logits.topk(min(logits.shape[-1], k)": EITHER_ORDER,
        "logits.topk(min(k, logits.shape[-1]), dim=-1) => logits.topk(min(k, ": LAST_BY_DEFAULT,
    },
    "generation.keep_top_p": {
        "logits.sort(dim=-1) => logits.sort()": LAST_BY_DEFAULT,
        "below <= 1 - p => below < 1 - p": "Where the two are equal, rounding has decided it.",
        "torch.zeros_like(ruled_out).scatter => ruled_out.scatter": "Each place is written over.",
    },
    "generation.write_with_cache": {
        "chosen = model(unread, cache)[:, -1].argmax(dim=-1, keepdim=True) =>": LAST_OF_TWO
    },
    "inspecting.read_early": {
        "variance = centered.square().mean(dim=-1, keepdim=True) => "
        "variance = centered.square().mean(dim=1": LAST_OF_TWO,
        "centered = stream - stream.mean(dim=-1, keepdim=True) => "
        "centered = stream - stream.mean(dim=1": LAST_OF_TWO,
        "torch.sqrt(variance + 1e-05) => torch.sqrt(variance.add_(1e-05))": A_NEW_TENSOR,
    },
    "inspecting.head_logits": {
        "added.append(written @ reader) => added.append(reader @ written)": EITHER_ORDER
    },
    "inspecting.way_back": {
        "return ((now - bottom) / (top - bottom)).item() => return (now - bottom) / (top - bottom)": A_NUMBER,
        "(logits[right] - logits[wrong] for logits in (patched, clean, corrupted)) =>": (
            "The sign falls out of the quotient."
        ),
        "(now - bottom) / (top - bottom) => now.sub_(bottom) / (top - bottom)": A_NEW_TENSOR,
        "(now - bottom) / (top - bottom) => (now - bottom) / top.sub_(bottom)": A_NEW_TENSOR,
    },
    "modern.rms_norm": {"torch.sqrt(mean_square + eps) => torch.sqrt(mean_square.add_(eps))": A_NEW_TENSOR},
    "modern.route": {
        "shares = kept / kept.sum(dim=-1, keepdim=True) => shares = kept.div_": A_NEW_TENSOR,
        "probabilities.topk(n_active, dim=-1) => probabilities.topk(n_active)": LAST_BY_DEFAULT,
    },
    "scaling.power_law": {
        "(float(np.exp(start)), float(exponent)) => (np.exp(start), float(exponent))": A_NUMBER,
        "(float(np.exp(start)), float(exponent)) => (float(np.exp(start)), exponent)": A_NUMBER,
    },
    "accumulation.accumulate": {
        "mean += loss.item() => mean += loss": A_NUMBER,
        "(int((targets != -100).sum()) for _, targets in pieces) => ((targets != -100).sum() for": A_NUMBER,
    },
    "rivals.hide": {
        "dice < 0.9 => dice <= 0.9": NEVER_EQUAL,
        "dice < 0.8 => dice <= 0.8": NEVER_EQUAL,
    },
    "rivals.cross_attention": {
        "weights = scores.masked_fill(~is_word, -torch.inf).softmax(dim=-1) => "
        "weights = scores.masked_fill(~is_word, -torch.inf).softmax(dim=1)": LAST_OF_TWO
    },
    "myths.count_passes": {
        "passes.append(1) => passes.append(": "How many there are is counted, not what they are."
    },
    "myths.told_by_heart": {
        "return (likeliest == tokens[:, prefix:]).all(dim=1).float().mean().item() =>": A_NUMBER
    },
}
