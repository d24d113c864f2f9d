// What the page asks its GPT, in the worker: a text read once with every activation kept, and for one position of it
// the numbers of each stage from token to probability. A change of position, head or sampling needs no new run.

const MOST_WEIGHTS = 2 ** 25; // attention weights that one run may record, over all heads

class PageAnswers {
  constructor({ gpt, tokenizer }) {
    Object.assign(this, { gpt, tokenizer, read: { key: "" } });
    const { n_layers: L, n_heads: H, copy_heads: copies } = gpt.config;
    this.rows = [...Array(L).fill(H), ...(copies ? [copies] : [])]; // heads in each layer, then the copy heads
    this.n_heads = this.rows.reduce((sum, n) => sum + n, 0);
  }

  // traits: prompt, path (tokens taken after it), keep (so many tokens of the text, the start's counted; null: all),
  // take (a token to put behind those; null: none), wanted (how many to draw), temperature, top_k, top_p, seed, place
  // (of the token whose prediction is looked at; -1: the last), layer, head, opened ({name, at} or null).
  answer(traits) {
    const { tokenizer } = this;
    let { prompt, path, place, layer, head } = traits, start = [tokenizer.endOfText, ...tokenizer.encode(prompt)];
    if (traits.keep !== null) ({ prompt, path, start } = this.cut(start, path, prompt, traits.keep));
    if (traits.take !== null) path = [...path, traits.take];
    if (traits.wanted) path = this.written(start, { ...traits, path });
    this.readTokens([...start, ...path]);
    const T = this.read.tokens.length;
    if (!(place >= 0 && place < T - 1)) place = -1;
    const at = place < 0 ? T - 1 : place;
    if (!(head < this.rows[layer])) [layer, head] = this.mostToShow(at);
    const answer = this.textAnswer(start.length, path, prompt), same = answer === this.given;
    this.given = answer;
    return {
      answer: same ? undefined : answer, // the page has it
      details: this.placeDetails({ ...traits, path }, at, start.length, layer, head),
      traits: { prompt, path, keep: null, take: null, wanted: 0, place, layer, head },
    };
  }

  // The text's first `keep` tokens; what is left of the prompt becomes another prompt, where that has the same tokens.
  cut(start, path, prompt, keep) {
    if (keep >= start.length) return { prompt, start, path: path.slice(0, keep - start.length) };
    const tokens = start.slice(1, keep), text = this.tokenizer.decode(tokens);
    return this.tokenizer.encode(text).join() === tokens.join() ? { prompt: text, start: start.slice(0, keep), path: [] }
      : { prompt: "", start: start.slice(0, 1), path: tokens };
  }

  // Up to `wanted` tokens more, from the same dice as gptlib.generate's; the path alone where nothing can follow.
  written(start, { path, wanted, seed, ...sampling }) {
    const { context_length } = this.gpt.config, dice = new Dice(seed), written = [...path];
    for (const token of path) dice.next(); // for these they were thrown, or passed over
    while (written.length < path.length + wanted && start.length + written.length < context_length && written.at(-1) !== this.tokenizer.endOfText) {
      this.readTokens([...start, ...written]);
      written.push(draw(distribution(this.logitsAt(this.read.tokens.length - 1), sampling), dice.next()));
    }
    return written;
  }

  // The logits after one token, of the tokenizer's tokens: models are often wider, for speed.
  logitsAt(at) {
    const { vocab_size } = this.gpt.config;
    return this.read.logits.subarray(at * vocab_size, at * vocab_size + this.tokenizer.vocabSize);
  }

  readTokens(tokens) {
    const { context_length } = this.gpt.config, key = tokens.join();
    if (this.read.key === key) return;
    const most = Math.min(context_length, Math.floor(Math.sqrt(MOST_WEIGHTS / this.n_heads)));
    if (tokens.length > most)
      throw Error(`This page reads at most ${most} tokens, and this text has ${tokens.length} with the one that marks its start; a shorter text would do.`);
    const { logits, activations } = this.gpt.run(tokens, { record: ["*"] });
    if (!logits.every(Number.isFinite)) throw Error("The model’s logits are not finite, so there is no next token to show.");
    this.read = { key, tokens, logits, activations };
    this.text = null;
  }

  get(name) {
    return this.read.activations[name];
  }

  // (head, query, key) of a layer; the copy heads count as one more.
  weightsOf(layer) {
    return this.get(layer < this.gpt.config.n_layers ? `blocks.${layer}.attention.weights` : "copying.weights");
  }

  // The head with which the token looks back most decidedly at something of its own choice: what counts is its largest
  // weight beyond what all tokens give that key in the mean, of keys other than the start, itself and the one before.
  mostToShow(at) {
    const T = this.read.tokens.length;
    let best = [0, 0], most = 0;
    this.rows.forEach((heads, layer) => {
      const weights = this.weightsOf(layer);
      for (let head = 0; head < heads; head++)
        for (let key = 1; key < at - 1; key++) {
          let mean = 0;
          for (let query = key; query < T; query++) mean += weights[(head * T + query) * T + key] / T;
          const own = weights[(head * T + at) * T + key] - mean;
          if (own > most) [best, most] = [[layer, head], own];
        }
    });
    return best;
  }

  // The tokens, what each costs in nats, and all heads small: {tokens, pieces, nats, start: how many are the prompt's,
  // text, end: why no token can follow, side: of a small picture, small: its bytes for each head, by the root of weights}
  textAnswer(start, path, prompt) {
    const { tokens } = this.read, { tokenizer, gpt: { config } } = this, T = tokens.length;
    if (this.text?.start === start) return this.text;
    const nats = tokens.map((token, at) => (at ? this.nats(this.logitsAt(at - 1), token) : null));
    const ended = path.at(-1) === tokenizer.endOfText, full = T === config.context_length;
    return this.text = {
      read: this.read.key, tokens, nats, start,
      pieces: [START_WORD, ...wordsOf(tokenizer, tokens.slice(1)).map(onThePage)].map((piece, at) =>
        at && tokens[at] === tokenizer.endOfText ? END_WORD : piece),
      text: prompt + tokenizer.decode(ended ? path.slice(0, -1) : path),
      end: ended ? "The model has ended its text here." : full ? `The context is full: this model reads at most ${T} tokens.` : "",
      rows: this.rows,
      config,
      ...this.smallHeads(),
    };
  }

  nats(logits, token) {
    let highest = -Infinity, sum = 0;
    for (const logit of logits) highest = Math.max(highest, logit);
    for (const logit of logits) sum += Math.exp(logit - highest);
    return highest + Math.log(sum) - logits[token];
  }

  // Every head as a small square, a pixel for one cell or the highest of several.
  smallHeads() {
    const T = this.read.tokens.length, side = Math.min(T, 48), small = new Uint8Array(this.n_heads * side * side);
    let square = 0;
    this.rows.forEach((heads, layer) => {
      const weights = this.weightsOf(layer);
      for (let head = 0; head < heads; head++, square += side * side)
        for (let query = 0; query < T; query++) {
          const row = square + Math.floor((query * side) / T) * side, from = (head * T + query) * T;
          for (let key = 0; key <= query; key++) {
            const pixel = row + Math.floor((key * side) / T), code = Math.round(255 * Math.sqrt(weights[from + key]));
            if (code > small[pixel]) small[pixel] = code;
          }
        }
    });
    return { side, small: this.view(small) };
  }

  // Numbers as they cross to the page.
  view(numbers) {
    const own = numbers.slice();
    return new DataView(own.buffer);
  }

  // A row of a recorded activation of (seq, width) numbers.
  row(name, at) {
    const all = this.get(name), width = all.length / this.read.tokens.length;
    return all.subarray(at * width, (at + 1) * width);
  }

  // All that the stages show of the position `at`.
  placeDetails(traits, at, start, layer, head) {
    const { n_layers: L, d_model: D } = this.gpt.config, T = this.read.tokens.length, { positions } = this.gpt;
    const vector = (name) => this.view(this.row(name, at));
    const looks = new Float32Array(this.n_heads * (at + 1)); // (head, key): all heads' weights of this query
    let to = 0;
    this.rows.forEach((heads, row) => {
      for (let h = 0; h < heads; h++, to += at + 1) looks.set(this.weightsOf(row).subarray((h * T + at) * T, (h * T + at) * T + at + 1), to);
    });
    const layers = Array.from({ length: L }, (_, l) => ({ experts: this.expertsOf(l, at), ...Object.fromEntries(
      ["residual_pre", "attention_norm", "attention.heads", "attention.output", "residual_mid", "mlp_norm", "mlp.hidden", "mlp.output", "residual_post"]
        .filter((name) => this.get(`blocks.${l}.${name}`)).map((name) => [name, vector(`blocks.${l}.${name}`)])) }));
    const copies = this.rows.length > L, end = at === T - 1;
    return {
      read: this.read.key, // for which answer this is
      at,
      looks: this.view(looks),
      layers,
      token_embedding: vector("token_embedding"),
      position: positions && this.view(positions.subarray(at * D, (at + 1) * D)),
      embedding: vector("embedding"),
      residual_final: vector("residual_final"),
      final_norm: vector("final_norm"),
      ...(copies && { copied: vector("copying.heads"), copying_output: vector("copying.output") }),
      head: this.headDetails(layer, head, at),
      opened: traits.opened && new OpenedNumber(this, traits.opened, at, layer, head).told,
      next: this.nextTokens(traits, this.logitsAt(at), at, end, start),
    };
  }

  // Which experts the token went to, with the share of each; null where there is one MLP for all.
  expertsOf(layer, at) {
    const { n_experts, n_active } = this.gpt.config, read = this.row(`blocks.${layer}.mlp_norm`, at);
    if (!n_experts) return null;
    const router = this.gpt.weights[`blocks.${layer}.mlp.router.scores.weight`];
    const chances = Array.from({ length: n_experts }, (_, e) => Math.exp(read.reduce((sum, x, i) => sum + x * router[e * read.length + i], 0)));
    const chosen = [...chances.keys()].sort((a, b) => chances[b] - chances[a]).slice(0, n_active);
    const whole = chosen.reduce((sum, e) => sum + chances[e], 0);
    return chosen.map((expert) => ({ expert, share: chances[expert] / whole }));
  }

  // One head at this query: its numbers for each key, and its whole picture.
  headDetails(layer, head, at) {
    const { n_layers: L } = this.gpt.config, T = this.read.tokens.length, all = this.weightsOf(layer);
    const details = { layer, head, map: this.view(all.subarray(head * T * T, (head + 1) * T * T)) };
    if (layer === L) return details;
    const part = (name) => this.get(`blocks.${layer}.attention.${name}`), d = this.gpt.config.d_head;
    const keys = (name) => this.view(part(name).subarray(head * T * d, (head * T + at + 1) * d)); // (key, d_head)
    const scores = part("scores").subarray((head * T + at) * T, (head * T + at) * T + at + 1);
    return {
      ...details,
      query: this.view(part("queries").subarray((head * T + at) * d, (head * T + at + 1) * d)),
      keys: keys("keys"),
      values: keys("values"),
      scores: this.view(scores),
    };
  }

  // The likeliest tokens with what sampling makes of them, and where the dice fall.
  nextTokens({ path, seed, temperature, top_k, top_p }, logits, at, end, start) {
    const sampling = { temperature, top_k, top_p }, p = distribution(logits, sampling);
    const own = distribution(logits, { temperature: 1, top_k: null, top_p: null });
    const order = highestTokens(logits, 12);
    const follows = end ? null : this.read.tokens[at + 1];
    if (follows !== null && !order.includes(follows)) order.push(follows);
    let place = null, drawn = null;
    const step = at + 1 - start;
    if (step >= 0) { // the prompt was given, not drawn
      const dice = new Dice(seed);
      for (let i = 0; i < step; i++) dice.next();
      place = dice.next();
      drawn = draw(p, place);
      if (!order.includes(drawn)) order.push(drawn);
    }
    let kept = 0;
    for (const one of p) kept += one > 0;
    const before = drawn === null ? 0 : p.subarray(0, drawn).reduce((sum, one) => sum + one, 0);
    return {
      rows: order.map((token) => ({ token, piece: onThePage(wordOf(this.tokenizer, token)), logit: logits[token], p: p[token], own: own[token] })),
      vocab: logits.length, kept, follows, drawn, place, before,
    };
  }
}

// The n tokens with the highest logits, falling.
function highestTokens(logits, n) {
  const best = [];
  for (let token = 0; token < logits.length; token++) {
    if (best.length === n && logits[token] <= logits[best[n - 1]]) continue;
    const place = best.findIndex((other) => logits[other] < logits[token]);
    best.splice(place < 0 ? best.length : place, 0, token);
    best.length = Math.min(n, best.length);
  }
  return best;
}
