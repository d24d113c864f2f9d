// A GPT that can learn: the forward pass, and the backward pass written out by hand, line for line in reverse.
//
// It is `gptlib.GPT` with rotary positions, RMS norms, a GELU, an unembedding of its own and no biases; its weights
// have the same names. Sizes in comments: N tokens of all sequences, one after the other, without
// padding; V tokens in the vocabulary; D = d_model; H heads, each d = D / H wide; T tokens in one sequence.
// Every array is flat: row n of (N, D) begins at n * D.

// Two kernels are all the linear algebra there is. Both take four rows at a time, which is what makes them fast.

// out[to + k] = x · row k, for `count` rows: the vector x begins at x[at], row k at rows[from + k * stride].
function dots(out, to, x, at, width, rows, from, stride, count) {
  let k = 0;
  for (; k + 3 < count; k += 4) {
    const a = from + k * stride, b = a + stride, c = b + stride, d = c + stride;
    let p = 0, q = 0, r = 0, s = 0;
    for (let i = 0; i < width; i++) {
      const v = x[at + i];
      p += v * rows[a + i];
      q += v * rows[b + i];
      r += v * rows[c + i];
      s += v * rows[d + i];
    }
    out[to + k] = p;
    out[to + k + 1] = q;
    out[to + k + 2] = r;
    out[to + k + 3] = s;
  }
  for (; k < count; k++) {
    const a = from + k * stride;
    let p = 0;
    for (let i = 0; i < width; i++) p += x[at + i] * rows[a + i];
    out[to + k] = p;
  }
}

// out += Σ share k · row k, for `count` rows: out begins at out[to], share k is shares[at + k * step].
function addRows(out, to, width, shares, at, step, rows, from, stride, count) {
  let k = 0;
  for (; k + 3 < count; k += 4) {
    const a = from + k * stride, b = a + stride, c = b + stride, d = c + stride, first = at + k * step;
    const p = shares[first], q = shares[first + step], r = shares[first + 2 * step], s = shares[first + 3 * step];
    for (let i = 0; i < width; i++) out[to + i] += p * rows[a + i] + q * rows[b + i] + r * rows[c + i] + s * rows[d + i];
  }
  for (; k < count; k++) {
    const a = from + k * stride, p = shares[at + k * step];
    for (let i = 0; i < width; i++) out[to + i] += p * rows[a + i];
  }
}

// y = x Wᵀ: (N, inner) and (outer, inner) -> (N, outer)
function linear(y, x, W, N, inner, outer) {
  for (let n = 0; n < N; n++) dots(y, n * outer, x, n * inner, inner, W, 0, inner, outer);
}

// From dy, the slope of the loss with respect to y, those with respect to x and W: dx += dy W and dW += dyᵀ x.
function linearBackward(dx, dW, dy, x, W, N, inner, outer) {
  for (let n = 0; n < N; n++) addRows(dx, n * inner, inner, dy, n * outer, 1, W, 0, inner, outer);
  for (let o = 0; o < outer; o++) addRows(dW, o * inner, inner, dy, o, outer, x, 0, inner, N);
}

// y = gain · x / √(mean x² + eps), row by row; keeps what each row was divided by.
function norm(y, divisors, x, gain, N, D, eps) {
  for (let n = 0; n < N; n++) {
    let squares = 0;
    for (let i = n * D; i < (n + 1) * D; i++) squares += x[i] * x[i];
    const divisor = divisors[n] = Math.sqrt(squares / D + eps);
    for (let i = 0; i < D; i++) y[n * D + i] = (gain[i] * x[n * D + i]) / divisor;
  }
}

// A longer x is divided by more: so dx loses the part that points along x.
function normBackward(dx, dgain, dy, divisors, x, gain, N, D) {
  for (let n = 0; n < N; n++) {
    const divisor = divisors[n];
    let along = 0;
    for (let i = 0, j = n * D; i < D; i++, j++) {
      along += dy[j] * gain[i] * x[j];
      dgain[i] += (dy[j] * x[j]) / divisor;
    }
    const less = along / (D * divisor * divisor);
    for (let i = 0, j = n * D; i < D; i++, j++) dx[j] += (dy[j] * gain[i] - less * x[j]) / divisor;
  }
}

// p = softmax(scale · scores), in place, over `count` numbers from `at`.
function softmax(scores, at, count, scale = 1) {
  let most = -Infinity, sum = 0;
  for (let i = at; i < at + count; i++) most = Math.max(most, scores[i]);
  for (let i = at; i < at + count; i++) sum += scores[i] = Math.exp(scale * (scores[i] - most));
  for (let i = at; i < at + count; i++) scores[i] /= sum;
}

// GELU in the tanh approximation, with tanh u = 1 − 2 / (exp 2u + 1), which is quicker than Math.tanh. The tanh is
// kept: its slope is 1 − tanh².
const BEND = Math.sqrt(2 / Math.PI);

function gelu(y, tanhs, x, count) {
  for (let i = 0; i < count; i++) {
    const v = x[i], t = tanhs[i] = 1 - 2 / (Math.exp(2 * BEND * (v + 0.044715 * v * v * v)) + 1);
    y[i] = 0.5 * v * (1 + t);
  }
}

function geluBackward(dx, dy, tanhs, x, count) {
  for (let i = 0; i < count; i++) {
    const t = tanhs[i], slope = BEND * (1 + 3 * 0.044715 * x[i] * x[i]);
    dx[i] = dy[i] * (0.5 * (1 + t) + 0.5 * x[i] * (1 - t * t) * slope);
  }
}

// The name of each parameter with its rows and columns, in the order of `GPT.named_parameters()`.
function parameterShapes({ vocab_size: V, n_layers, d_model: D }) {
  const block = (layer) => [
    [`blocks.${layer}.attention_norm.weight`, 1, D],
    [`blocks.${layer}.attention.qkv.weight`, 3 * D, D],
    [`blocks.${layer}.attention.output.weight`, D, D],
    [`blocks.${layer}.mlp_norm.weight`, 1, D],
    [`blocks.${layer}.mlp.up.weight`, 4 * D, D],
    [`blocks.${layer}.mlp.down.weight`, D, 4 * D],
  ];
  const blocks = Array.from({ length: n_layers }, (_, layer) => block(layer)).flat();
  return [["token_embedding.weight", V, D], ...blocks, ["final_norm.weight", 1, D], ["unembedding.weight", V, D]];
}

class Network {
  constructor(config) {
    this.config = config;
    this.shapes = parameterShapes(config);
    // All parameters in one array, which an optimizer walks through in one loop; `weights[name]` are views of it.
    const total = this.shapes.reduce((sum, [, rows, columns]) => sum + rows * columns, 0);
    this.parameters = new Float32Array(total);
    this.gradients = new Float32Array(total);
    this.weights = this.views(this.parameters);
    this.slopes = this.views(this.gradients);
    this.room = 0;
  }

  views(flat) {
    const found = {};
    let at = 0;
    for (const [name, rows, columns] of this.shapes) found[name] = flat.subarray(at, at += rows * columns);
    return found;
  }

  // Initial weights as those of `gptlib.GPT`: what writes into the residual stream starts smaller.
  draw(dice) {
    for (const [name, rows] of this.shapes) {
      const writes = name.endsWith("attention.output.weight") || name.endsWith("down.weight");
      const spread = writes ? 0.02 / Math.sqrt(2 * this.config.n_layers) : 0.02;
      const weight = this.weights[name];
      for (let i = 0; i < weight.length; i++) weight[i] = rows === 1 ? 1 : spread * dice.normal();
    }
  }

  // Room for N tokens and, in attention, for the squares of all sequences' lengths.
  makeRoom(N, squares) {
    const { d_model: D, n_heads: H, n_layers, vocab_size: V } = this.config;
    if (N > this.room) {
      this.room = N;
      const rows = (width) => new Float32Array(N * width);
      this.layers = Array.from({ length: n_layers }, () => ({
        before: rows(D), divisors1: rows(1), normed1: rows(D), qkv: rows(3 * D), mixed: rows(D),
        middle: rows(D), divisors2: rows(1), normed2: rows(D), up: rows(4 * D), tanhs: rows(4 * D), hidden: rows(4 * D),
        attention: new Float32Array(0),
      }));
      Object.assign(this, { last: rows(D), divisors: rows(1), final: rows(D), probabilities: rows(V), written: rows(D) });
      // Slopes of the loss, named as what they are with respect to; each layer uses the same room.
      this.d = { stream: rows(D), normed: rows(D), qkv: rows(3 * D), mixed: rows(D), up: rows(4 * D), hidden: rows(4 * D) };
    }
    if (H * squares > this.layers[0].attention.length)
      for (const layer of this.layers) layer.attention = new Float32Array(H * squares);
  }

  // Rotary positions: each pair of neighbors in every query and key turns by its angle at that position; in the
  // backward pass the slopes turn back (direction −1).
  rotate(qkv, direction) {
    const { d_model: D, n_heads: H } = this.config, d = D / H;
    for (const { start, length } of this.sequences)
      for (let position = 0; position < length; position++)
        for (let pair = 0; pair < d / 2; pair++) {
          const angle = position * 10000 ** ((-2 * pair) / d), cosine = Math.cos(angle), sine = direction * Math.sin(angle);
          for (let head = 0; head < 2 * H; head++) { // H of queries, then H of keys
            const at = (start + position) * 3 * D + head * d + 2 * pair, even = qkv[at], odd = qkv[at + 1];
            qkv[at] = even * cosine - odd * sine;
            qkv[at + 1] = even * sine + odd * cosine;
          }
        }
  }

  // Each query takes an average of the values at its own position and before, weighted by softmax(q · k / √d).
  attend({ qkv, mixed, attention }) {
    const { d_model: D, n_heads: H } = this.config, d = D / H, scale = 1 / Math.sqrt(d);
    for (const { start, length, square } of this.sequences)
      for (let head = 0; head < H; head++) {
        const queries = start * 3 * D + head * d, keys = queries + D, values = queries + 2 * D;
        for (let query = 0; query < length; query++) {
          const row = H * square + (head * length + query) * length, to = (start + query) * D + head * d;
          dots(attention, row, qkv, queries + query * 3 * D, d, qkv, keys, 3 * D, query + 1);
          softmax(attention, row, query + 1, scale);
          attention.fill(0, row + query + 1, row + length); // what comes later is not seen
          mixed.fill(0, to, to + d);
          addRows(mixed, to, d, attention, row, 1, qkv, values, 3 * D, query + 1);
        }
      }
  }

  attendBackward(dqkv, dmixed, { qkv, attention }) {
    const { d_model: D, n_heads: H } = this.config, d = D / H, scale = 1 / Math.sqrt(d);
    for (const { start, length, square } of this.sequences)
      for (let head = 0; head < H; head++) {
        const queries = start * 3 * D + head * d, keys = queries + D, values = queries + 2 * D;
        const first = H * square + head * length * length, outputs = start * D + head * d;
        const dscores = new Float32Array(length * length);
        for (let query = 0; query < length; query++) {
          const row = query * length;
          dots(dscores, row, dmixed, outputs + query * D, d, qkv, values, 3 * D, query + 1); // of the weights, so far
          let mean = 0;
          for (let key = 0; key <= query; key++) mean += attention[first + row + key] * dscores[row + key];
          for (let key = 0; key <= query; key++)
            dscores[row + key] = scale * attention[first + row + key] * (dscores[row + key] - mean); // now of the scores
          addRows(dqkv, queries + query * 3 * D, d, dscores, row, 1, qkv, keys, 3 * D, query + 1);
        }
        for (let key = 0; key < length; key++) { // down its column: from all queries that saw it
          const column = key * length + key, seen = length - key;
          addRows(dqkv, keys + key * 3 * D, d, dscores, column, length, qkv, queries + key * 3 * D, 3 * D, seen);
          addRows(dqkv, values + key * 3 * D, d, attention, first + column, length, dmixed, outputs + key * D, D, seen);
        }
      }
  }

  // Read sequences of tokens: fills `final`, from which `score` makes next-token probabilities, and each layer's
  // `attention`, (H, T, T) for each sequence, one after the other.
  forward(sequences) {
    const { d_model: D } = this.config, { weights } = this;
    let N = 0, square = 0;
    this.tokens = sequences;
    this.sequences = sequences.map(({ length }) => {
      const place = { start: N, length, square };
      N += length;
      square += length * length;
      return place;
    });
    this.N = N;
    this.makeRoom(N, square);
    const E = weights["token_embedding.weight"], add = (y, x, more) => { for (let i = 0; i < N * D; i++) y[i] = x[i] + more[i]; };
    this.eachToken((token, n) => this.layers[0].before.set(E.subarray(token * D, (token + 1) * D), n * D));
    this.layers.forEach((layer, l) => {
      const own = (name) => weights[`blocks.${l}.${name}.weight`], after = this.layers[l + 1]?.before ?? this.last;
      norm(layer.normed1, layer.divisors1, layer.before, own("attention_norm"), N, D, 1e-5);
      linear(layer.qkv, layer.normed1, own("attention.qkv"), N, D, 3 * D);
      this.rotate(layer.qkv, 1);
      this.attend(layer);
      linear(this.written, layer.mixed, own("attention.output"), N, D, D);
      add(layer.middle, layer.before, this.written);
      norm(layer.normed2, layer.divisors2, layer.middle, own("mlp_norm"), N, D, 1e-5);
      linear(layer.up, layer.normed2, own("mlp.up"), N, D, 4 * D);
      gelu(layer.hidden, layer.tanhs, layer.up, N * 4 * D);
      linear(this.written, layer.hidden, own("mlp.down"), N, 4 * D, D);
      add(after, layer.middle, this.written);
    });
    norm(this.final, this.divisors, this.last, weights["final_norm.weight"], N, D, 1e-5);
  }

  eachToken(call) {
    let n = 0;
    for (const tokens of this.tokens) for (const token of tokens) call(token, n++);
  }

  // The probability of every token after token n: row n of `probabilities`, (N, V).
  score(n) {
    const { d_model: D, vocab_size: V } = this.config, { probabilities } = this;
    dots(probabilities, n * V, this.final, n * D, D, this.weights["unembedding.weight"], 0, D, V);
    softmax(probabilities, n * V, V);
    return probabilities.subarray(n * V, (n + 1) * V);
  }

  // −log p of each token that truly follows; `targets` has one for each token read.
  surprises(targets) {
    return Float64Array.from(targets, (target, n) => -Math.log(this.score(n)[target]));
  }

  // The slope of the mean surprise with respect to every parameter, into `gradients`. Call `surprises` first.
  backward(targets) {
    const { N, d, weights, slopes, probabilities } = this, { d_model: D, vocab_size: V } = this.config;
    this.gradients.fill(0);
    for (const name of ["stream", "normed"]) d[name].fill(0);
    // Of softmax and −log together the slope with respect to the logits is p, less 1 at the target.
    for (let i = 0; i < N * V; i++) probabilities[i] /= N;
    for (let n = 0; n < N; n++) probabilities[n * V + targets[n]] -= 1 / N;
    linearBackward(d.normed, slopes["unembedding.weight"], probabilities, this.final, weights["unembedding.weight"], N, D, V);
    normBackward(d.stream, slopes["final_norm.weight"], d.normed, this.divisors, this.last, weights["final_norm.weight"], N, D);
    for (let l = this.layers.length - 1; l >= 0; l--) {
      const layer = this.layers[l], own = (name) => weights[`blocks.${l}.${name}.weight`];
      const slope = (name) => slopes[`blocks.${l}.${name}.weight`];
      // What the MLP adds to the stream; past it, the stream's own slope goes on unchanged.
      d.hidden.fill(0);
      linearBackward(d.hidden, slope("mlp.down"), d.stream, layer.hidden, own("mlp.down"), N, 4 * D, D);
      geluBackward(d.up, d.hidden, layer.tanhs, layer.up, N * 4 * D);
      d.normed.fill(0);
      linearBackward(d.normed, slope("mlp.up"), d.up, layer.normed2, own("mlp.up"), N, D, 4 * D);
      normBackward(d.stream, slope("mlp_norm"), d.normed, layer.divisors2, layer.middle, own("mlp_norm"), N, D);
      // What attention adds.
      d.mixed.fill(0);
      linearBackward(d.mixed, slope("attention.output"), d.stream, layer.mixed, own("attention.output"), N, D, D);
      d.qkv.fill(0);
      this.attendBackward(d.qkv, d.mixed, layer);
      this.rotate(d.qkv, -1);
      d.normed.fill(0);
      linearBackward(d.normed, slope("attention.qkv"), d.qkv, layer.normed1, own("attention.qkv"), N, D, 3 * D);
      normBackward(d.stream, slope("attention_norm"), d.normed, layer.divisors1, layer.before, own("attention_norm"), N, D);
    }
    const dE = slopes["token_embedding.weight"];
    this.eachToken((token, n) => { for (let i = 0; i < D; i++) dE[token * D + i] += d.stream[n * D + i]; });
  }
}
