// How one number of a run came about, in the worker: the sum that it is, with its largest terms.

const MOST_TERMS = 8;
const shortNumber = (x) => x.toFixed(4).replace("-", "−");

// For the number `at` of the activation `name` at a position: {title, value, say, terms: [{label, left, right,
// product}], rest: {count, sum}}. Inside attention it is one of the chosen head; `at` of scores and
// weights is a key, that of keys and values counts through (key, d_head).
class OpenedNumber {
  constructor(page, { name, at }, place, layer, head) {
    const T = page.read.tokens.length, { config, weights } = page.gpt, part = name.replace(/^blocks\.\d+\./, "");
    Object.assign(this, { page, config, weights, at, place, head, T, block: name.slice(0, name.length - part.length), d: config.d_head });
    const { value, say, terms = [], title = `${part}[${at}]` } = this[part.replace(".", "_")]();
    terms.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
    const others = terms.slice(MOST_TERMS), rest = { count: others.length, sum: others.reduce((sum, { product }) => sum + product, 0) };
    this.told = { title, value, say, terms: terms.slice(0, MOST_TERMS), rest };
  }

  row(name) {
    return this.page.row(name, this.place);
  }

  // Row `out` of a matrix times x, number by number, and its sum with the bias.
  product(x, matrix, out, bias, label = String) {
    const weight = matrix.subarray(out * x.length, (out + 1) * x.length), b = bias ? bias[out] : 0;
    const terms = Array.from(x, (left, i) => ({ label: label(i), left, right: weight[i], product: left * weight[i] }));
    if (bias) terms.push({ label: "bias", product: b });
    return { terms, sum: terms.reduce((sum, { product }) => sum + product, 0) };
  }

  sum(name, parts) {
    return { value: this.row(name)[this.at], say: `${parts.map(([label]) => label).join(" plus ")}.`.replace(/^./, (letter) => letter.toUpperCase()),
      terms: parts.map(([label, numbers]) => ({ label, product: numbers[this.at] })) };
  }

  embedding() {
    const { d_model: D } = this.config, { positions } = this.page.gpt;
    return this.sum("embedding", [["the token’s number", this.row("token_embedding")], ["the position’s", positions.subarray(this.place * D)]]);
  }

  residual_mid() {
    const { block } = this;
    return this.sum(`${block}residual_mid`, [["the stream before", this.row(`${block}residual_pre`)], ["what attention adds", this.row(`${block}attention.output`)]]);
  }

  residual_post() {
    const { block } = this;
    return this.sum(`${block}residual_post`, [["the stream before", this.row(`${block}residual_mid`)], ["what the MLP adds", this.row(`${block}mlp.output`)]]);
  }

  normed(name, from) {
    const x = this.row(from), { at, weights, config } = this, scale = weights[`${name}.weight`][at], shift = weights[`${name}.bias`]?.[at];
    const mean = config.norm === "rmsnorm" ? 0 : x.reduce((sum, one) => sum + one, 0) / x.length;
    const size = Math.sqrt(x.reduce((sum, one) => sum + (one - mean) ** 2, 0) / x.length + config.norm_eps);
    const less = config.norm === "rmsnorm" ? shortNumber(x[at]) : `(${shortNumber(x[at])} − ${shortNumber(mean)})`;
    return { value: this.row(name)[at], say: `The number before, ${config.norm === "rmsnorm" ? "" : "less the mean of all, "}divided by their ${config.norm === "rmsnorm" ? "root mean square" : "standard deviation"}, times a learned scale${shift === undefined ? "" : " plus a learned shift"}: `
      + `${less} / ${shortNumber(size)} × ${shortNumber(scale)}${shift === undefined ? "" : ` + ${shortNumber(shift)}`}.` };
  }

  mlp_norm() { return this.normed(`${this.block}mlp_norm`, `${this.block}residual_mid`); }
  final_norm() { return this.normed("final_norm", "residual_final"); }

  // A number of the chosen head's queries, keys or values, of the token `from`: a row of the matrix qkv, in which all
  // queries stand first, then all keys, then all values.
  projected(kind, from, i) {
    const { block, head, d, config: { n_heads, kv_heads, qk_norm, position }, T } = this, value = this.page.get(`${block}attention.${kind}`)[(head * T + from) * d + i];
    const shared = Math.floor((head * kv_heads) / n_heads), first = { queries: head, keys: n_heads + shared, values: n_heads + kv_heads + shared }[kind];
    const { terms, sum } = this.product(this.page.row(`${block}attention_norm`, from), this.weights[`${block}attention.qkv.weight`], first * d + i, this.weights[`${block}attention.qkv.bias`]);
    const then = kind === "values" ? [] : [qk_norm && "brought to one size with the rest of it", position === "rotary" && "turned by its position together with its neighbor"].filter(Boolean);
    return { title: `${{ queries: "Query", keys: "Key", values: "Value" }[kind]} of “${this.page.text.pieces[from]}”[${i}]`, value, terms,
      say: `What attention reads there, times a row of the matrix for ${kind}: ${shortNumber(sum)}${then.length ? `; then ${then.join(" and ")}, which makes it ${shortNumber(value)}` : ""}.` };
  }

  attention_queries() { return this.projected("queries", this.place, this.at); }
  attention_keys() { return this.projected("keys", Math.floor(this.at / this.d), this.at % this.d); }
  attention_values() { return this.projected("values", Math.floor(this.at / this.d), this.at % this.d); }

  attention_weights() {
    const { block, head, at: key, place, T } = this, row = (name) => this.page.get(`${block}attention.${name}`).subarray((head * T + place) * T, (head * T + place) * T + place + 1);
    const scores = row("scores"), highest = Math.max(...scores), raised = Math.exp(scores[key] - highest), sum = scores.reduce((all, one) => all + Math.exp(one - highest), 0);
    return { title: `Weight of “${this.page.text.pieces[key]}”`, value: row("weights")[key],
      say: `e to the power of its score less the highest, e^(${shortNumber(scores[key])} − ${shortNumber(highest)}) = ${shortNumber(raised)}, divided by the sum of all of these, ${shortNumber(sum)}.` };
  }

  attention_scores() {
    const { block, head, d, at: key, config, place, T } = this, part = (name, row) => this.page.get(`${block}attention.${name}`).subarray((head * T + row) * d, (head * T + row + 1) * d);
    const [q, k] = [part("queries", place), part("keys", key)], value = this.page.get(`${block}attention.scores`)[(head * T + place) * T + key];
    const terms = Array.from(q, (left, i) => ({ label: `${i}`, left, right: k[i], product: left * k[i] })), sum = terms.reduce((all, { product }) => all + product, 0);
    const then = [config.score_cap && `kept below ${config.score_cap}`, config.position === "alibi" && `less ${place - key} steps of distance`].filter(Boolean);
    return { title: `Score of “${this.page.text.pieces[key]}”`, value, terms, say: `Query times key, number by number, adds up to ${shortNumber(sum)}; divided by √${d} that is ${shortNumber(sum / Math.sqrt(d))}${then.map((text) => `, ${text}`).join("")}.` };
  }

  attention_heads() {
    const { block, head, d, at, place, T } = this, words = this.page.text.pieces;
    const weights = this.page.get(`${block}attention.weights`), values = this.page.get(`${block}attention.values`);
    const terms = Array.from({ length: place + 1 }, (_, key) => [weights[(head * T + place) * T + key], values[(head * T + key) * d + at], words[key]])
      .map(([left, right, label]) => ({ label, left, right, product: left * right }));
    return { value: this.row(`${block}attention.heads`)[head * d + at], terms, say: "The values’ numbers at this place, each times the weight of its token." };
  }

  attention_output() {
    const { block, d, at } = this;
    const { terms } = this.product(this.row(`${block}attention.heads`), this.weights[`${block}attention.output.weight`], at, this.weights[`${block}attention.output.bias`], (i) => `head ${Math.floor(i / d)} [${i % d}]`);
    return { value: this.row(`${block}attention.output`)[at], terms, say: "What the heads found, side by side, times a row of the output matrix." };
  }

  mlp_hidden() {
    const { block, at, config: { mlp } } = this, x = this.row(`${block}mlp_norm`), value = this.row(`${block}mlp.hidden`)[at];
    const through = (name) => this.product(x, this.weights[`${block}mlp.${name}.weight`], at, this.weights[`${block}mlp.${name}.bias`]);
    const { terms, sum } = through("up"), bend = { gelu: "GELU", squared_relu: "its square if it is above 0" }[mlp];
    return { value, terms, say: mlp === "swiglu" ? `What the MLP reads, times this neuron’s row: ${shortNumber(sum)}; times its gate, which is silu(${shortNumber(through("gate").sum)}).`
      : `What the MLP reads, times this neuron’s row: ${shortNumber(sum)}; then ${bend} makes it ${shortNumber(value)}.` };
  }

  mlp_output() {
    const { block, at } = this, value = this.row(`${block}mlp.output`)[at], down = this.weights[`${block}mlp.down.weight`];
    if (!down) return { value, say: "The outputs of the experts, each times its share." };
    return { value, terms: this.product(this.row(`${block}mlp.hidden`), down, at, this.weights[`${block}mlp.down.bias`], (i) => `neuron ${i}`).terms, say: "All neurons, each times what it writes to this place of the stream." };
  }

  copying_output() {
    const { d_model: D, copy_heads } = this.config, heads = this.row("copying.heads");
    return this.sum("copying.output", [["the normed stream", this.row("final_norm")], ...Array.from({ length: copy_heads }, (_, head) => [`copy head ${head}`, heads.subarray(head * D, (head + 1) * D)])]);
  }

  logits() {
    const { at, config: { logit_cap: cap, vocab_size, copy_heads } } = this, value = this.page.read.logits[this.place * vocab_size + at];
    const word = onThePage(wordOf(this.page.tokenizer, at));
    const { terms, sum } = this.product(this.row(copy_heads ? "copying.output" : "final_norm"), this.page.gpt.unembedding, at);
    return { title: `Logit of “${word}”`, value, terms, say: `What the unembedding reads, times the row of “${word}”${cap ? `: ${shortNumber(sum)}, kept below ${cap}` : ""}.` };
  }
}
