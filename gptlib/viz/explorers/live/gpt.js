// A GPT, as gptlib.model computes it: embed the tokens, pass them through the blocks, score every token as the next one.
//
// Arrays are flat Float32Arrays; comments give their shapes, of which the last dimension runs fastest. Weights have the
// names of the model's parameters, activations those of gptlib.interpret.tracing.activation_names, without the batch:
//   gpt.run(tokens).logits                                                                        (seq, vocab)
//   gpt.run(tokens, { record: ["*.weights"] }).activations["blocks.0.attention.weights"]          (head, query, key)
//   gpt.run(tokens, { edits: { "blocks.2.attention.heads": [(heads) => { … }] } }).logits
// In a name to record or edit, * stands for any text. An edit changes the array that it gets, in place; what is recorded
// is as the edits left it.

class GPT {
  // weights: a Float32Array by the name of each parameter; that of a linear layer is (out, in).
  constructor(config, weights) {
    const { n_layers, n_heads, d_model, copy_heads } = config;
    this.config = {
      ...config,
      d_head: config.head_width ?? d_model / n_heads,
      kv_heads: config.n_kv_heads ?? n_heads,
      mlp_width: config.d_mlp ?? 4 * d_model,
      n_rows: n_layers * n_heads + (copy_heads ?? 0), // all heads there are
    };
    this.weights = weights;
    this.positions = addedPositions(config, weights["position.embedding.weight"]); // (context_length, d_model), or null
    this.unembedding = weights["unembedding.weight"] ?? weights["token_embedding.weight"]; // where they are tied, the latter
    this.blocks = Array.from({ length: n_layers }, (_, layer) => new Block(this.config, part(weights, `blocks.${layer}.`)));
    this.finalNorm = part(weights, "final_norm.");
    this.copying = copy_heads ? new CopyHeads(this.config, part(weights, "copying.0."), this.unembedding) : null;
  }

  // Logits (seq, vocab) of the token after each of these, and the activations that are to be recorded.
  // With a cache, tokens are those that follow the ones in it.
  run(tokens, { edits = {}, record = [], cache = null } = {}) {
    const { config, weights } = this, { d_model: D } = config, T = tokens.length, start = cache?.length ?? 0;
    this.check(tokens, start);
    cache ??= this.newCache(T);
    const watch = new Watch(edits, record), table = weights["token_embedding.weight"];
    const x = new Float32Array(T * D); // the residual stream (seq, d_model), which all read and add to
    for (let t = 0; t < T; t++) x.set(table.subarray(tokens[t] * D, (tokens[t] + 1) * D), t * D);
    watch.at("token_embedding", x);
    if (this.positions) add(x, this.positions.subarray(start * D, (start + T) * D));
    watch.at("embedding", x);
    this.blocks.forEach((block, layer) => block.run(x, T, start, cache.layers[layer], watch.within(`blocks.${layer}.`)));
    watch.at("residual_final", x);
    let read = watch.at("final_norm", norm(x, config, this.finalNorm));
    if (this.copying) read = this.copying.run(read, tokens, start, cache.copies, watch.within("copying."));
    const logits = linear(read, T, this.unembedding); // (seq, d_model) -> (seq, vocab)
    if (config.logit_cap !== null) softCap(logits, config.logit_cap);
    watch.at("logits", logits);
    watch.check();
    cache.length += T;
    return { logits, activations: watch.activations };
  }

  // The keys and values of every layer, so that a new token costs one row of attention, not all rows.
  newCache(capacity = this.config.context_length) {
    const { n_layers, kv_heads, copy_heads, d_head, d_model } = this.config;
    const room = (heads, width) => new Float32Array(heads * capacity * width); // (head, key, width)
    const layer = () => ({ keys: room(kv_heads, d_head), values: room(kv_heads, d_head) });
    return {
      length: 0, // tokens that were read
      layers: Array.from({ length: n_layers }, layer),
      copies: copy_heads ? { keys: room(copy_heads, d_head), values: room(1, d_model) } : null,
    };
  }

  // Logits (vocab) of the token after this one, which follows those in the cache.
  next(cache, token) {
    return this.run([token], { cache }).logits;
  }

  check(tokens, start) {
    const { context_length, vocab_size } = this.config, room = context_length - start;
    if (tokens.length < 1 || tokens.length > room)
      throw Error(`tokens has ${tokens.length} tokens${start ? ` after ${start} in the cache` : ""}; context_length is ` +
        `${context_length}, so at most ${room} fit`);
    for (const token of tokens)
      if (!(Number.isInteger(token) && token >= 0 && token < vocab_size))
        throw Error(`tokens holds ${token}; vocab_size is ${vocab_size}, so tokens are 0 to ${vocab_size - 1} ` +
          "(was the text encoded with this model's tokenizer?)");
  }
}

// Read the residual stream through a norm, add attention to it; read it again, add the MLP.
class Block {
  constructor(config, weights) {
    this.config = config;
    this.attentionNorm = part(weights, "attention_norm.");
    this.attention = new Attention(config, part(weights, "attention."));
    this.mlpNorm = part(weights, "mlp_norm.");
    this.mlp = config.n_experts ? new Experts(config, part(weights, "mlp.")) : new MLP(config, part(weights, "mlp."));
  }

  // Adds to x (seq, d_model). start: how many tokens were read before, whose keys and values are in the cache.
  run(x, T, start, cache, watch) {
    watch.at("residual_pre", x);
    const heard = watch.at("attention_norm", norm(x, this.config, this.attentionNorm));
    add(x, this.attention.run(heard, T, start, cache, watch.within("attention.")));
    watch.at("residual_mid", x);
    const read = watch.at("mlp_norm", norm(x, this.config, this.mlpNorm));
    add(x, watch.at("mlp.output", this.mlp.run(read, T, watch)));
    watch.at("residual_post", x);
  }
}

// Each position takes a weighted average of what it may look at, in every head. n_heads / kv_heads of them share keys.
class Attention {
  constructor(config, weights) {
    this.config = config;
    this.weights = weights;
    this.turns = config.position === "rotary" ? rotaryTurns(config) : null; // (context_length, d_head)
    this.slopes = config.position === "alibi" ? alibiSlopes(config.n_heads) : null; // (head,)
  }

  run(x, T, start, cache, watch) {
    const { config, weights } = this, { n_heads, kv_heads, d_head } = config, each = n_heads + 2 * kv_heads;
    const qkv = linear(x, T, weights["qkv.weight"], weights["qkv.bias"]); // (seq, n_heads + 2 kv_heads, d_head)
    const queries = headsOf(qkv, T, each, 0, n_heads); // (head, seq, d_head)
    const keys = headsOf(qkv, T, each, n_heads, kv_heads); // (kv_head, seq, d_head)
    const values = headsOf(qkv, T, each, n_heads + kv_heads, kv_heads);
    this.place(queries, weights["query_norm.weight"], T, start);
    this.place(keys, weights["key_norm.weight"], T, start);
    append(cache.keys, keys, kv_heads, T, start, d_head);
    append(cache.values, values, kv_heads, T, start, d_head);
    const mixed = attend({
      queries: watch.at("queries", queries),
      keys: shared(cache.keys, n_heads, kv_heads, start + T, d_head, "keys", watch),
      values: shared(cache.values, n_heads, kv_heads, start + T, d_head, "values", watch),
      n_heads, d_head, T, start, watch, slopes: this.slopes, cap: config.score_cap, window: config.window,
    });
    watch.at("heads", mixed); // (seq, head, d_head)
    return watch.at("output", linear(mixed, T, weights["output.weight"], weights["output.bias"])); // (seq, d_model)
  }

  // Bring queries or keys to one length where the config says so, and turn them to their positions.
  place(heads, scale, T, start) {
    const { d_head, norm_eps } = this.config;
    if (scale) rmsNorm(heads, heads, scale, norm_eps);
    if (this.turns) for (let row = 0; row * d_head < heads.length; row++)
      turn(heads, row * d_head, this.turns, (start + (row % T)) * d_head, d_head);
  }
}

// softmax(queries keysᵀ / √d_head) values, where keys come no later than the query: (head, query, d_head) in for the
// queries, (seq, head, d_value) out. Keys and values are { array, rows, group }: group heads after each other use the
// same, and the next begins so many rows further on. named: what of scores and weights is an activation with a name.
function attend({
  queries, keys, values, n_heads, d_head, d_value = d_head, T, start, watch, named = ["scores", "weights"],
  slopes = null, cap = null, window = null,
}) {
  const n = start + T, mixed = new Float32Array(T * n_heads * d_value);
  // All heads at once where somebody looks; else one after the other, which takes less memory.
  const together = named.some((name) => watch.wants(name)) ? n_heads : 1;
  const weights = new Float32Array(together * T * n); // (head, query, key), at first the scores
  for (let first = 0; first < n_heads; first += together) {
    for (let h = 0; h < together; h++) {
      const head = first + h, key = Math.floor(head / keys.group) * keys.rows * d_head;
      for (let t = 0; t < T; t++) {
        const row = (h * T + t) * n, query = (head * T + t) * d_head, position = start + t;
        const oldest = window === null ? 0 : Math.max(0, position - window + 1);
        weights.fill(-Infinity, row, row + n);
        for (let k = oldest; k <= position; k++) {
          let score = dot(queries, query, keys.array, key + k * d_head, d_head) / Math.sqrt(d_head);
          if (cap !== null) score = cap * Math.tanh(score / cap);
          weights[row + k] = slopes ? score - slopes[head] * (position - k) : score;
        }
      }
    }
    if (named.includes("scores")) watch.at("scores", weights);
    for (let row = 0; row < weights.length; row += n) softmax(weights, row, n);
    watch.at("weights", weights);
    for (let h = 0; h < together; h++) {
      const head = first + h, value = Math.floor(head / values.group) * values.rows * d_value;
      for (let t = 0; t < T; t++)
        mix(mixed, (t * n_heads + head) * d_value, weights, (h * T + t) * n, n, values.array, value, d_value);
    }
  }
  return mixed;
}

// Widen, bend, narrow: the same small network at every position.
class MLP {
  constructor(config, weights) {
    this.kind = config.mlp;
    this.weights = weights;
  }

  run(x, T, watch) {
    const { weights } = this, through = (name, y) => linear(y, T, weights[`${name}.weight`], weights[`${name}.bias`]);
    const hidden = through("up", x); // (seq, d_model) -> (seq, d_mlp)
    if (this.kind === "gelu") gelu(hidden);
    else if (this.kind === "squared_relu") squaredRelu(hidden);
    else gated(hidden, through("gate", x));
    return through("down", watch.at("mlp.hidden", hidden)); // (seq, d_mlp) -> (seq, d_model)
  }
}

// Many MLPs, of which each token uses the n_active that a router finds likeliest, in proportion to that.
class Experts {
  constructor(config, weights) {
    this.config = config;
    this.scores = weights["router.scores.weight"];
    this.experts = Array.from({ length: config.n_experts }, (_, e) => new MLP(config, part(weights, `experts.${e}.`)));
  }

  run(x, T) {
    const { d_model: D, n_experts, n_active } = this.config, mixed = new Float32Array(x.length);
    const chances = linear(x, T, this.scores); // (seq, expert)
    for (let t = 0; t < T; t++) softmax(chances, t * n_experts, n_experts);
    const chosen = Array.from({ length: T }, (_, t) => {
      const own = chances.subarray(t * n_experts, (t + 1) * n_experts);
      return [...own.keys()].sort((a, b) => own[b] - own[a]).slice(0, n_active);
    });
    this.experts.forEach((expert, e) => {
      const rows = [...chosen.keys()].filter((t) => chosen[t].includes(e)), read = new Float32Array(rows.length * D);
      rows.forEach((t, row) => read.set(x.subarray(t * D, (t + 1) * D), row * D));
      const answer = expert.run(read, rows.length, new Watch());
      rows.forEach((t, row) => {
        const share = chances[t * n_experts + e] / chosen[t].reduce((sum, other) => sum + chances[t * n_experts + other], 0);
        for (let i = 0; i < D; i++) mixed[t * D + i] += share * answer[row * D + i];
      });
    });
    return mixed;
  }
}

// Attention behind the last norm whose values are the unembedding's rows of the tokens that it looks at.
class CopyHeads {
  constructor(config, weights, unembedding) {
    this.config = config;
    this.weights = weights;
    this.unembedding = unembedding;
  }

  run(x, tokens, start, cache, watch) {
    const { copy_heads: H, d_head, d_model: D, norm_eps } = this.config, { weights } = this, T = tokens.length;
    const [queries, keys] = ["queries", "keys"].map((name) => headsOf(linear(x, T, weights[`${name}.weight`]), T, H, 0, H));
    if (weights["query_norm.weight"]) rmsNorm(queries, queries, weights["query_norm.weight"], norm_eps);
    if (weights["key_norm.weight"]) rmsNorm(keys, keys, weights["key_norm.weight"], norm_eps);
    const rows = new Float32Array(T * D);
    for (let t = 0; t < T; t++) rows.set(this.unembedding.subarray(tokens[t] * D, (tokens[t] + 1) * D), t * D);
    append(cache.keys, keys, H, T, start, d_head);
    append(cache.values, rows, 1, T, start, D);
    const heads = attend({
      queries, keys: { array: cache.keys, rows: cache.keys.length / H / d_head, group: 1 },
      values: { array: cache.values, rows: 0, group: 1 }, // all heads have the same
      n_heads: H, d_head, d_value: D, T, start, watch, named: ["weights"],
    });
    for (let i = 0; i < heads.length; i++) heads[i] *= weights.gains[i % (H * D)];
    watch.at("heads", heads); // (seq, head, d_model)
    const output = x.slice();
    for (let t = 0; t < T; t++) for (let h = 0; h < H; h++)
      add(output.subarray(t * D, (t + 1) * D), heads.subarray((t * H + h) * D, (t * H + h + 1) * D));
    return watch.at("output", output);
  }
}

// ------------------------------------------------------------------------------------------ activations by name

class Watch {
  constructor(edits = {}, record = [], prefix = "", whole = null) {
    this.prefix = prefix;
    this.whole = whole ?? {
      activations: {},
      unused: new Set([...Object.keys(edits), ...record]),
      edits: Object.entries(edits).map(([pattern, functions]) => ({ pattern, fits: fitting(pattern), functions })),
      record: record.map((pattern) => ({ pattern, fits: fitting(pattern) })),
    };
    this.idle = !this.whole.edits.length && !this.whole.record.length;
  }

  get activations() {
    return this.whole.activations;
  }

  within(prefix) {
    return new Watch(undefined, undefined, this.prefix + prefix, this.whole);
  }

  wants(name) {
    const full = this.prefix + name;
    return [...this.whole.edits, ...this.whole.record].some(({ fits }) => fits.test(full));
  }

  // Edit and record the activation of this name, and give it back.
  at(name, array) {
    if (this.idle) return array;
    const full = this.prefix + name, { edits, record, activations, unused } = this.whole;
    for (const { pattern, fits, functions } of edits) if (fits.test(full)) {
      unused.delete(pattern);
      for (const change of functions) change(array);
    }
    for (const { pattern, fits } of record) if (fits.test(full)) {
      unused.delete(pattern);
      activations[full] ??= array.slice();
    }
    return array;
  }

  check() {
    for (const pattern of this.whole.unused) throw Error(`'${pattern}' fits no activation of this model`);
  }
}

const fitting = (pattern) => RegExp(`^${pattern.split("*").map((text) => text.replace(/[.]/g, "\\.")).join(".*")}$`);

// ------------------------------------------------------------------------------------------------------- numbers

// Those weights whose names begin so, by the rest of their names.
const part = (weights, prefix) => Object.fromEntries(
  Object.entries(weights).filter(([name]) => name.startsWith(prefix)).map(([name, array]) => [name.slice(prefix.length), array]));

// x Wᵀ + b: (rows, in) and (out, in) -> (rows, out). Four rows of W at a time are read from memory once for all of x:
// in products.js where it can be, else here.
function linear(x, rows, weight, bias) {
  const width = rows ? x.length / rows : 1, n = weight.length / width, out = new Float32Array(rows * n);
  let o = multiplyFours(out, x, rows, weight, n, width);
  for (; o + 3 < n; o += 4) {
    const a = o * width, b = a + width, c = b + width, d = c + width;
    for (let row = 0; row < rows; row++) {
      const from = row * width, to = row * n + o;
      let p = 0, q = 0, r = 0, s = 0;
      for (let i = 0; i < width; i++) {
        const value = x[from + i];
        p += weight[a + i] * value;
        q += weight[b + i] * value;
        r += weight[c + i] * value;
        s += weight[d + i] * value;
      }
      out[to] = p;
      out[to + 1] = q;
      out[to + 2] = r;
      out[to + 3] = s;
    }
  }
  for (; o < n; o++) for (let row = 0; row < rows; row++) out[row * n + o] = dot(x, row * width, weight, o * width, width);
  if (bias) for (let row = 0; row < rows; row++) add(out.subarray(row * n, (row + 1) * n), bias);
  return out;
}

function dot(x, from, y, at, width) {
  let sum = 0;
  for (let i = 0; i < width; i++) sum += x[from + i] * y[at + i];
  return sum;
}

function add(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}

function norm(x, { norm: kind, d_model: D, norm_eps }, { weight, bias }) {
  const out = new Float32Array(x.length);
  if (kind === "rmsnorm") return rmsNorm(out, x, weight, norm_eps);
  for (let row = 0; row < x.length; row += D) {
    let mean = 0, variance = 0;
    for (let i = 0; i < D; i++) mean += x[row + i];
    mean /= D;
    for (let i = 0; i < D; i++) variance += (x[row + i] - mean) ** 2;
    const scale = 1 / Math.sqrt(variance / D + norm_eps);
    for (let i = 0; i < D; i++) out[row + i] = (x[row + i] - mean) * scale * weight[i] + (bias ? bias[i] : 0);
  }
  return out;
}

// Each row, as long as weight, to root mean square 1, then times weight. out may be x.
function rmsNorm(out, x, weight, eps) {
  const D = weight.length;
  for (let row = 0; row < x.length; row += D) {
    let square = 0;
    for (let i = 0; i < D; i++) square += x[row + i] ** 2;
    const scale = 1 / Math.sqrt(square / D + eps);
    for (let i = 0; i < D; i++) out[row + i] = x[row + i] * scale * weight[i];
  }
  return out;
}

// The row of n numbers that begins at `from` becomes the shares of their exponentials.
function softmax(x, from, n) {
  let highest = -Infinity, sum = 0;
  for (let i = from; i < from + n; i++) if (x[i] > highest) highest = x[i];
  for (let i = from; i < from + n; i++) sum += x[i] = x[i] === -Infinity ? 0 : Math.exp(x[i] - highest);
  for (let i = from; i < from + n; i++) x[i] /= sum;
}

// The average of n rows of values with these weights, written to out.
function mix(out, to, weights, from, n, values, value, width) {
  for (let k = 0; k < n; k++) {
    const weight = weights[from + k], at = value + k * width;
    if (weight !== 0) for (let i = 0; i < width; i++) out[to + i] += weight * values[at + i];
  }
}

function softCap(x, cap) {
  for (let i = 0; i < x.length; i++) x[i] = cap * Math.tanh(x[i] / cap);
}

// The tanh approximation, x / 2 (1 + tanh u), which is x / (1 + e^(-2u)).
function gelu(x) {
  const twice = 2 * Math.sqrt(2 / Math.PI);
  for (let i = 0; i < x.length; i++) x[i] /= 1 + Math.exp(-twice * (x[i] + 0.044715 * x[i] * x[i] * x[i]));
}

function squaredRelu(x) {
  for (let i = 0; i < x.length; i++) x[i] = Math.max(0, x[i]) ** 2;
}

// Each number times silu(gate), which is gate / (1 + e^(-gate)).
function gated(x, gate) {
  for (let i = 0; i < x.length; i++) x[i] *= gate[i] / (1 + Math.exp(-gate[i]));
}

// ------------------------------------------------------------------------------------------------------- heads

// Some of the heads that stand side by side in each row: (seq, all, d_head) -> (head, seq, d_head).
function headsOf(x, T, all, first, count) {
  const width = x.length / T / all, heads = new Float32Array(count * T * width);
  for (let h = 0; h < count; h++) for (let t = 0; t < T; t++) {
    const from = (t * all + first + h) * width;
    heads.set(x.subarray(from, from + width), (h * T + t) * width);
  }
  return heads;
}

// Put new keys or values (head, seq, width) behind the `start` that are in the cache, (head, capacity, width).
function append(cache, fresh, heads, T, start, width) {
  const room = cache.length / heads;
  for (let h = 0; h < heads; h++) cache.set(fresh.subarray(h * T * width, (h + 1) * T * width), h * room + start * width);
}

// Keys or values for each head, as attend takes them: in the cache, or where somebody looks a copy of them,
// (head, key, d_head), which edits may change.
function shared(cache, n_heads, kv_heads, n, width, name, watch) {
  const rows = cache.length / kv_heads / width, group = n_heads / kv_heads;
  if (!watch.wants(name)) return { array: cache, rows, group };
  const array = new Float32Array(n_heads * n * width);
  for (let h = 0; h < n_heads; h++) {
    const from = Math.floor(h / group) * rows * width;
    array.set(cache.subarray(from, from + n * width), h * n * width);
  }
  return { array: watch.at(name, array), rows: n, group: 1 };
}

// --------------------------------------------------------------------------------- positions, in torch's 32 bits

// What is added to the embeddings at each position: learned rows, waves, or nothing.
function addedPositions({ position, context_length, d_model: D }, learned) {
  if (position === "learned") return learned;
  if (position !== "sinusoidal") return null;
  const size = Math.fround(0.02); // of the initial weights
  return wavesOf(context_length, D, 10000).map((wave) => size * wave);
}

// By how much each pair of numbers turns at each position: its sine and cosine, (context_length, d_head).
const rotaryTurns = ({ context_length, d_head, rotary_base }) => wavesOf(context_length, d_head, rotary_base);

// Sine and cosine, side by side, of position · base^(-2i / width): (length, width).
function wavesOf(length, width, base) {
  const waves = new Float32Array(length * width);
  for (let i = 0; i < width; i += 2) {
    const frequency = Math.fround(base ** Math.fround(-i / width));
    for (let t = 0; t < length; t++) {
      const angle = Math.fround(t * frequency);
      waves[t * width + i] = Math.sin(angle);
      waves[t * width + i + 1] = Math.cos(angle);
    }
  }
  return waves;
}

// Turn the pairs of neighbors in a vector, each by its angle.
function turn(x, from, turns, at, width) {
  for (let i = 0; i < width; i += 2) {
    const even = x[from + i], odd = x[from + i + 1], sine = turns[at + i], cosine = turns[at + i + 1];
    x[from + i] = even * cosine - odd * sine;
    x[from + i + 1] = even * sine + odd * cosine;
  }
}

// How steeply each head's scores fall with distance.
function alibiSlopes(n_heads) {
  const power = 2 ** Math.floor(Math.log2(n_heads)), slopes = [];
  for (let i = 1; i <= power; i++) slopes.push(2 ** Math.fround((-8 * i) / power));
  for (let i = 1; i < 2 * power; i += 2) slopes.push(2 ** Math.fround((-4 * i) / power));
  return Float32Array.from(slopes.slice(0, n_heads));
}
