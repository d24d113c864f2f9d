// What AttentionExplorer answers in Python (attention.py), for a GPT that runs in the page.

const MOST_CELLS = 6_000_000; // up to this many cells every head is sent whole
const THUMBNAIL = 64; // a small picture of a long text is at most this many cells high and wide
const CROWD = 576; // with more heads than this, half of it
const N_BARS = 8;
const ANSWERED_BY = ["text", "text_b", "view", "changes"], DETAILED_BY = ["layer", "head", "query"];

class AttentionAnswers {
  constructor({ gpt, tokenizer }) {
    Object.assign(this, { gpt, tokenizer, config: gpt.config, rows: headsByRow(gpt.config) });
    this.places = this.rows.flatMap((count, layer) => Array.from({ length: count }, (_, head) => ({ layer, head })));
    this.kept = new Map(); // {key, reading} of each text, with and without the changes
    this.seen = {}; // the traits that the last answer was for, as JSON
  }

  // What the explorer draws (`answer`, left out where it is as it was), what it says about what is chosen (`details`),
  // and in `traits` what it moved to where there is something to choose. Throws a sentence that says what would do.
  answer(asked) {
    const traits = { ...asked }, isNew = (names) => names.some((name) => JSON.stringify(traits[name]) !== this.seen[name]);
    this.check(traits);
    const answer = isNew(ANSWERED_BY) ? this.computeAnswer(traits) : undefined;
    if (answer || isNew(DETAILED_BY)) this.details = this.computeDetails(traits);
    for (const name of [...ANSWERED_BY, ...DETAILED_BY]) this.seen[name] = JSON.stringify(traits[name]);
    const moved = DETAILED_BY.filter((name) => traits[name] !== asked[name]).map((name) => [name, traits[name]]);
    return { answer, details: this.details, traits: Object.fromEntries(moved) };
  }

  check({ layer, head, changes }) {
    const { rows } = this, opens = layer == null && head == null;
    if (!opens && !isWithin(layer, rows.length))
      throw Error(`layer is ${printed(layer)}; the model has ${rows.length}, so 0 to ${rows.length - 1} would do`);
    // A head that stays while the layer changes moves to one that is there: copy heads may be fewer, or more.
    if (!opens && JSON.stringify(head) !== this.seen.head && !isWithin(head, rows[layer]))
      throw Error(`head is ${printed(head)}; layer ${layer} has ${rows[layer]}, so 0 to ${rows[layer] - 1} would do`);
    for (const change of changes) checkChange(change, this.config);
  }

  // --- reading ---

  encode(text, name) {
    if (!text) throw Error(`${name} is empty; type a few words`);
    const { tokens, words } = readWords(this.tokenizer, text), limit = this.config.context_length;
    if (tokens.length > limit)
      throw Error(`${name} has ${tokens.length} tokens; the model reads at most ${limit}: shorten it by ${tokens.length - limit}`);
    return { tokens, words };
  }

  // A reading with changes, kept in its slot until the texts or the changes differ.
  read(slot, tokens, changes, a) {
    const patched = a && changes.some(({ do: how }) => how === "patch"), key = JSON.stringify([tokens, changes, patched && a.tokens]);
    if (this.kept.get(slot)?.key === key) return this.kept.get(slot).reading;
    const edits = {};
    for (const change of changes) {
      const [name, edit] = editOf(change, this.config, a?.after.activations, tokens.length);
      (edits[name] ??= []).push(edit);
    }
    this.kept.delete(slot); // not two at once: at a thousand tokens a reading fills half a gigabyte
    const reading = readingOf(this.gpt, tokens, edits);
    this.kept.set(slot, { key, reading });
    return reading;
  }

  // One text as the model reads it: as it is, and with the changes.
  side(traits, text, name, a) {
    const { tokens, words } = this.encode(text, name), changes = traits.changes.filter(({ do: how }) => a || how !== "patch");
    const before = this.read(`${name} before`, tokens, [], null);
    const after = changes.length ? this.read(`${name} after`, tokens, changes, a) : before;
    return { tokens, words, before, after };
  }

  // Changes traits where nothing is chosen yet, and where a text has no such token.
  computeAnswer(traits) {
    const { config, places } = this, compares = Boolean(traits.text_b);
    const a = this.side(traits, traits.text, "text", null), b = compares ? this.side(traits, traits.text_b, "text_b", a) : null;
    const view = compares || traits.view !== "difference" ? traits.view : "weights", signed = view === "difference";
    const n = signed ? Math.min(a.tokens.length, b.tokens.length) : a.tokens.length;
    const shown = this.measure(a, view, b), [lowest, highest] = endsOf(shown), largest = Math.max(highest, -lowest) || 1;
    const whole = shown.length <= MOST_CELLS, [small, side] = whole ? [shown, n] : thumbnails(shown, n, signed);
    const scores = roleScores(a.after.weights, a.tokens, a.words);
    if (!isWithin(traits.query, n)) traits.query = n - 1;
    if (traits.layer == null) Object.assign(traits, places[openingHead(a.after.weights, scores, a.tokens.length)]);
    this.drawn = { a, b, view, signed, shown, n, largest };
    return {
      words: a.words.map(onThePage),
      keys: null,
      words_b: b ? b.words.map(onThePage) : [],
      layers: config.n_layers,
      heads: config.n_heads,
      copies: config.copy_heads ?? 0,
      rows: n,
      columns: n,
      causal: true,
      whole,
      view,
      largest,
      table: signed ? "difference" : "attention",
      cells: triangles(small, side, largest, signed),
      small: [side, side],
      padding: { queries: [], keys: [] },
      roles: Object.fromEntries(Object.entries(scores).map(([role, score]) => [role, this.ranked(score)])),
      meaning: ROLES,
      code: codeOf(traits.changes, config.n_layers, traits.text, traits.text_b),
      given: false,
      needs_target: false,
      no_edits: "",
      no_values: "",
      predicts: "next",
      scores: false,
    };
  }

  // What is drawn, (head, query, key): weights, weights times the length of the value they carry, or A minus B.
  measure(side, view, b) {
    const { weights } = side.after, n = side.tokens.length;
    if (view === "weights") return weights;
    if (view === "values") {
      const norms = this.valueNorms(side.after, side.tokens);
      return weights.map((weight, at) => weight * norms[Math.floor(at / (n * n)) * n + (at % n)]);
    }
    const m = Math.min(n, b.tokens.length), shown = new Float32Array(this.places.length * m * m);
    const rowOf = ({ after, tokens: { length } }, head, query) => after.weights.subarray((head * length + query) * length);
    for (let head = 0, at = 0; head < this.places.length; head++) for (let query = 0; query < m; query++) {
      const [onA, onB] = [side, b].map((one) => rowOf(one, head, query));
      for (let key = 0; key < m; key++, at++) shown[at] = onA[key] - onB[key];
    }
    return shown;
  }

  // How long each head's value of each key is once it is written into the residual stream, (head, key); of a copy head,
  // how long its gains make the unembedding's row of the token.
  valueNorms({ activations }, tokens) {
    const { config: { n_layers, n_heads, d_head, d_model, copy_heads }, gpt } = this, n = tokens.length;
    this.grams ??= Array.from({ length: n_layers }, (_, layer) => gramsOf(gpt.weights[`blocks.${layer}.attention.output.weight`], n_heads, d_head));
    const norms = new Float32Array(this.places.length * n);
    for (let layer = 0, at = 0; layer < n_layers; layer++) for (let head = 0; head < n_heads; head++) {
      const values = activations[`blocks.${layer}.attention.values`]; // (head, key, d_head)
      const gram = this.grams[layer].subarray(head * d_head * d_head, (head + 1) * d_head * d_head);
      for (let key = 0; key < n; key++) norms[at++] = lengthIn(gram, values.subarray((head * n + key) * d_head, (head * n + key + 1) * d_head));
    }
    const gains = gpt.weights["copying.0.gains"]; // (copy_head, d_model)
    for (let head = 0, at = n_layers * n_heads * n; head < (copy_heads ?? 0); head++) for (const token of tokens) {
      let sum = 0;
      for (let i = 0; i < d_model; i++) sum += (gains[head * d_model + i] * gpt.unembedding[token * d_model + i]) ** 2;
      norms[at++] = Math.sqrt(sum);
    }
    return norms;
  }

  // The five heads that score highest.
  ranked(scores) {
    const heads = [...(scores ?? []).keys()].sort((one, other) => scores[other] - scores[one]);
    return heads.slice(0, 5).map((at) => ({ ...this.places[at], score: evenly(scores[at] * 1000) / 1000 }));
  }

  computeDetails(traits) {
    const { a, b, view, signed, shown, n, largest } = this.drawn, { query } = traits;
    traits.query = query >= -n && query < n ? (query + n) % n : n - 1;
    traits.head = Math.min(traits.head, this.rows[traits.layer] - 1);
    const chosen = this.places.findIndex(({ layer, head }) => layer === traits.layer && head === traits.head);
    const headOf = (x, n) => x.subarray(chosen * n * n, (chosen + 1) * n * n);
    const start = traits.query * n, details = {
      row: viewOf(headOf(shown, n).slice(start, start + traits.query + 1)),
      place: [traits.layer, traits.head, traits.query],
      next: this.bars(a, Math.min(traits.query, a.tokens.length - 1)),
    };
    if (b) {
      const last = b.tokens.length - 1;
      details.next_b = this.bars(b, last);
      if (!signed) details.cells_b = triangles(headOf(this.measure(b, view), last + 1), last + 1, largest, signed);
    }
    if (shown.length > MOST_CELLS) details.cells = triangles(headOf(shown, n), n, largest, signed);
    return details;
  }

  // The likeliest tokens after a position, with and without the changes.
  bars({ before, after }, position) {
    const { vocab_size } = this.config;
    const [now, was] = [after, before].map(({ logits }) => {
      const chances = logits.slice(position * vocab_size, (position + 1) * vocab_size);
      softmax(chances, 0, vocab_size);
      return chances;
    });
    const top = largestOf(now, N_BARS), [likeliest] = largestOf(was, 1);
    if (!top.includes(likeliest)) top[top.length - 1] = likeliest; // what the model said before should be seen to fall
    const changed = after === before ? () => ({}) : (token) => ({ was: was[token] });
    return top.map((token) => ({ token: onThePage(wordOf(this.tokenizer, token)), p: now[token], ...changed(token) }));
  }
}

// --- one run ---

// A run over the tokens: the weights of all heads, (head, query, key), those of each layer in turn, then the copy heads;
// the logits; and what a patch or a view may need later.
function readingOf(gpt, tokens, edits) {
  const { n_layers, copy_heads } = gpt.config, layers = Array.from({ length: n_layers }, (_, layer) => `blocks.${layer}`);
  const looked = [...layers.map((layer) => `${layer}.attention.weights`), ...(copy_heads ? ["copying.weights"] : [])];
  const kept = layers.flatMap((layer) => ["residual_pre", "attention.values", "attention.heads"].map((part) => `${layer}.${part}`));
  const ofCopies = copy_heads ? ["residual_final", "copying.heads"] : [];
  const { logits, activations } = gpt.run(tokens, { edits, record: [...looked, ...kept, ...ofCopies] });
  const weights = new Float32Array(gpt.config.n_rows * tokens.length ** 2);
  let end = 0;
  for (const name of looked) {
    weights.set(activations[name], end);
    end += activations[name].length;
    delete activations[name];
  }
  if (!weights.every(isFinite) || !logits.every(isFinite))
    throw Error("model gives numbers that are not finite (NaN or infinity) on this text; look at its weights, or train it with a lower learning rate");
  return { weights, logits, activations };
}

// WᵀW of each head's part W of a projection (d_model, head, d_head): |Wv|² is vᵀ(WᵀW)v.
function gramsOf(projection, nHeads, d) {
  const grams = new Float64Array(nHeads * d * d);
  for (let row = 0; row < projection.length; row += nHeads * d) for (let head = 0; head < nHeads; head++) {
    const part = projection.subarray(row + head * d, row + (head + 1) * d);
    for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) grams[(head * d + i) * d + j] += part[i] * part[j];
  }
  return grams;
}

function lengthIn(gram, value) {
  const d = value.length;
  let sum = 0;
  for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) sum += value[i] * gram[i * d + j] * value[j];
  return Math.sqrt(Math.max(0, sum));
}

// --- numbers as Python packs them (coding.py) ---

// The causal triangle of each matrix (head, n, n), row by row, as bytes: numbers from 0 to `largest` as their square
// roots, so that small ones can be told apart; signed ones around 128.
function triangles(x, n, largest, signed) {
  const codes = new Uint8Array((x.length / (n * n)) * ((n * (n + 1)) / 2)), scale = Math.fround(largest);
  let at = 0;
  for (let head = 0; head < x.length; head += n * n) for (let query = 0; query < n; query++) for (let key = 0; key <= query; key++) {
    const share = Math.max(-1, Math.min(1, Math.fround(x[head + query * n + key] / scale))), root = Math.fround(Math.sqrt(Math.abs(share)));
    codes[at++] = signed ? evenly(Math.fround(128 + Math.sign(share) * Math.fround(root * 127))) : evenly(Math.fround(root * 255));
  }
  return viewOf(codes);
}

// The nearest whole number; halfway between two, the even one.
function evenly(x) {
  const below = Math.floor(x), over = x - below;
  return over > 0.5 || (over === 0.5 && below % 2) ? below + 1 : below;
}

// Matrices (head, n, n) shrunk to a few cells a side, each of which keeps what is farthest from 0 in its block. Gives
// them and how many cells a side has.
function thumbnails(x, n, signed) {
  const nHeads = x.length / (n * n), block = Math.ceil(n / (nHeads <= CROWD ? THUMBNAIL : THUMBNAIL / 2)), side = Math.ceil(n / block);
  const small = new Float32Array(nHeads * side * side), seen = (value) => (signed ? Math.abs(value) : value);
  for (let head = 0; head < nHeads; head++) for (let query = 0; query < n; query++) for (let key = 0; key < n; key++) {
    const at = (head * side + Math.floor(query / block)) * side + Math.floor(key / block), value = x[(head * n + query) * n + key];
    if (seen(value) > seen(small[at]) || (seen(value) === seen(small[at]) && value > 0)) small[at] = value;
  }
  return [small, side];
}

const viewOf = ({ buffer, byteOffset, byteLength }) => new DataView(buffer, byteOffset, byteLength);

function endsOf(x) {
  let [lowest, highest] = [Infinity, -Infinity];
  for (const value of x) {
    if (value < lowest) lowest = value;
    if (value > highest) highest = value;
  }
  return [lowest, highest];
}

// Where the largest numbers are, the largest first.
function largestOf(x, count) {
  const top = [];
  x.forEach((value, at) => {
    if (top.length === count && !(value > x[top.at(-1)])) return;
    const place = top.findIndex((other) => x[other] < value);
    top.splice(place < 0 ? top.length : place, 0, at);
    top.length = Math.min(top.length, count);
  });
  return top;
}
