// What GenerationExplorer answers in Python (generation.py), for a GPT that runs in the page.

const MOST_BARS = 10; // tokens with a bar of their own
const MOST_ROADS = 4; // likeliest tokens kept at each step behind: the one taken, and three roads not taken

class GenerationAnswers {
  constructor({ gpt, tokenizer }) {
    Object.assign(this, { gpt, tokenizer, length: gpt.config.context_length });
    this.shape = [gpt.config.n_layers, gpt.config.n_heads, gpt.config.copy_heads ?? 0];
    this.forget(false);
  }

  // What the explorer draws (`answer`, left out where it is as it was), what it says about the step that is looked at
  // (`details`), and in `traits` what it moved. Throws a sentence, on which `traits` are those of the last good answer.
  answer(asked) {
    const traits = { ...asked };
    try {
      this.check(traits);
      const answer = this.computeAnswer(traits);
      const details = this.computeDetails(traits);
      this.shown = traits;
      return { answer, details, traits: movedFrom(asked, traits) };
    } catch (error) {
      error.traits = { ...this.shown, wanted: 0 };
      throw error;
    }
  }

  check({ temperature, top_k, top_p, seed, head }) {
    const needs = (name, value, wanted) => { throw Error(`${name} is ${value}; it needs ${wanted}`); };
    if (!(temperature >= 0 && temperature < Infinity)) needs("temperature", temperature, "to be at least 0 and finite");
    if (top_k !== null && !(top_k >= 1)) needs("top_k", top_k, "to be at least 1");
    if (top_p !== null && !(top_p > 0 && top_p <= 1)) needs("top_p", top_p, "to be above 0 and at most 1 (1 keeps every token)");
    if (!(Number.isSafeInteger(seed) && seed >= 0)) needs("seed", seed, "a whole number from 0 to 2^53 - 1 in a page");
    const rows = headsByRow(this.gpt.config);
    if (head !== null && !(isWithin(head[0], rows.length) && isWithin(head[1], rows[head[0]])))
      needs("head", `(${head.join(", ")})`, `to be (layer, head), and the layers have [${rows.join(", ")}] heads`);
  }

  // Changes traits: the path grows by what is wanted, and the tree by the path.
  computeAnswer(traits) {
    const { prompt, wanted, tree } = traits, start = this.startOf(prompt);
    const path = wanted ? this.sampled(start, traits, wanted) : traits.path;
    for (const road of [path, ...tree]) this.checkRoad(start, road);
    Object.assign(traits, { path, tree: grown(tree, path), wanted: 0 });
    const rows = this.read([...start, ...path], traits.view === "attention");
    const seen = JSON.stringify([prompt, path, traits.tree]);
    if (seen === this.seen) return undefined;
    this.seen = seen;
    const places = Array.from({ length: path.length + 1 }, (_, step) => path.slice(0, step));
    return {
      prompt: start.slice(1).map((token, at) => ({ piece: this.piece(token), nats: nats(rows[at], token) })),
      path,
      vocab: this.tokenizer.vocabSize,
      shape: this.shape,
      nodes: Object.fromEntries(places.map((place, step) => {
        const last = step === path.length, row = rows[start.length - 1 + step];
        return [place.join(), this.node(traits, place, row, { n: last ? MOST_BARS : MOST_ROADS, withLogits: last })];
      })),
    };
  }

  computeDetails(traits) {
    if (traits.view !== "attention") return {};
    const { prompt, path } = traits, start = this.startOf(prompt), rows = this.read([...start, ...path], true);
    traits.head ??= this.mostToShow(rows);
    if (!isWithin(traits.step, path.length)) traits.step = -1;
    // At the end of a text, where nothing can follow, the last step is looked at.
    const step = traits.step >= 0 ? traits.step : Math.max(0, path.length - Boolean(this.note(start, path)));
    const place = path.slice(0, step), row = rows[start.length - 1 + step];
    const node = this.node(traits, place, row, { n: MOST_BARS, withLogits: true, withWeights: true });
    const written = path.at(-1) === this.tokenizer.endOfText ? path.slice(0, -1) : path;
    return { nodes: { [place.join()]: node }, text: pythonOf(prompt + this.tokenizer.decode(written)) };
  }

  // What the page knows of one place in the tree: its n likeliest tokens, and those taken from here.
  node({ prompt, tree }, path, { logits, weights, total }, { n, withLogits, withWeights = false }) {
    const order = withLogits ? fallingOrder(logits) : largestOf(logits, n), tokens = Array.from(order.slice(0, n));
    const roads = new Map(); // the latest road over each token that was taken
    tree.forEach((road, place) => { if (road.length > path.length && begins(road, path)) roads.set(road[path.length], place); });
    tokens.push(...[...roads.keys()].filter((token) => !tokens.includes(token)).sort((one, other) => logits[other] - logits[one]));
    const note = this.note(this.startOf(prompt), path), node = {
      tokens,
      pieces: tokens.map((token) => this.piece(token)),
      nats: tokens.map((token) => nats({ logits, total }, token)),
      roads: tokens.map((token) => roads.get(token) ?? null),
      note,
    };
    if (withLogits && !note) node.logits = viewOf(Float32Array.from(order, (token) => logits[token]));
    if (withWeights && !note) node.weights = viewOf(Uint16Array.from(weights, (weight) => evenly(Math.fround(weight * 65535))));
    return node;
  }

  // Why no token can follow, or nothing.
  note(start, path) {
    if (path.at(-1) === this.tokenizer.endOfText) return "The model has ended its text here. Go back to take another road.";
    if (start.length + path.length === this.length)
      return `The context is full: the model reads at most ${this.length} tokens. Go back to change it.`;
    return "";
  }

  // What the model reads before the path.
  startOf(prompt) {
    if (prompt !== this.encoded?.prompt) this.encoded = { prompt, start: [this.tokenizer.endOfText, ...this.tokenizer.encode(prompt)] };
    return this.encoded.start;
  }

  piece(token) {
    return onThePage(wordsOf(this.tokenizer, [token])[0]);
  }

  checkRoad(start, road) {
    const { endOfText } = this.tokenizer, { vocab_size } = this.gpt.config, n = start.length + road.length;
    if (n > this.length)
      throw Error(`the model reads at most ${this.length} tokens, and this text has ${n} with the end-of-text token before it; ` +
        "a shorter prompt, or a step back, would do");
    const beyond = road.find((token) => !isWithin(token, vocab_size));
    if (beyond !== undefined)
      throw Error(`tokens holds ${beyond}; vocab_size is ${vocab_size}, so tokens are 0 to ${vocab_size - 1} ` +
        "(was the text encoded with this model's tokenizer?)");
    if (road.slice(0, -1).includes(endOfText)) throw Error("path goes on after the end-of-text token, where its text has ended");
  }

  // The path and up to n tokens more, drawn as gptlib.generate draws them, to the sentence's end.
  sampled(start, { path, seed, temperature, top_k, top_p, view }, n) {
    const note = this.note(start, path), dice = new Dice(seed), longer = [...path];
    if (note) throw Error(note);
    this.checkRoad(start, path);
    for (const _ of path) dice.next(); // these were thrown, or passed over
    const room = this.length - start.length - path.length;
    for (let drawn = 0; drawn < Math.min(n, room); drawn++) {
      const { logits } = this.read([...start, ...longer], view === "attention").at(-1);
      const token = draw(distribution(logits, { temperature, top_k, top_p }), dice.next());
      longer.push(token);
      if (token === this.tokenizer.endOfText || endsSentence(this.piece(token))) break;
    }
    return longer;
  }

  // For each of these tokens what the model gives after it: {logits (vocab of the tokenizer), total: their logsumexp,
  // weights: where each head looks there, (head, key)}. Only what is new since the last time is read.
  read(tokens, record) {
    let known = 0;
    while (known < tokens.length && tokens[known] === this.tokens[known]) known++;
    if (record && !this.recorded) known = 0;
    if (known === 0 || known < this.cache.length) this.forgetFrom(known, record);
    if (known < tokens.length) {
      const { logits, activations } = this.gpt.run(tokens.slice(known), { cache: this.cache, record: this.recorded ? ["*.weights"] : [] });
      const wide = this.gpt.config.vocab_size, { vocabSize } = this.tokenizer, layers = Object.values(activations);
      for (let at = known; at < tokens.length; at++) {
        const row = logits.slice((at - known) * wide, (at - known) * wide + vocabSize), most = highestOf(row);
        if (!Number.isFinite(most)) {
          this.forgetFrom(0, record);
          throw Error("the model's logits are not numbers after this text; look at its weights, or load an earlier checkpoint of it");
        }
        const total = most + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
        this.rows.push({ logits: row, total, weights: rowOf(layers, at - known, tokens.length - known, tokens.length, at + 1) });
      }
      this.tokens = [...tokens];
    }
    return this.rows;
  }

  // Keep only what was read of the first tokens.
  forgetFrom(known, record) {
    if (known === 0) return this.forget(record);
    this.tokens.length = this.rows.length = this.cache.length = known;
  }

  forget(record) {
    Object.assign(this, { tokens: [], rows: [], cache: this.gpt.newCache(), recorded: record });
  }

  // The head that looks back most decidedly, and at other tokens from step to step: not at the start, the token itself
  // or the one before it.
  mostToShow(rows) {
    const places = headsByRow(this.gpt.config).flatMap((count, layer) => Array.from({ length: count }, (_, head) => [layer, head]));
    if (rows.length < 4) return [0, 0];
    const scores = places.map((_, at) => {
      let sum = 0;
      for (let query = 1; query < rows.length; query++) {
        const own = rows[query].weights.subarray(at * (query + 1), (at + 1) * (query + 1));
        const before = rows[query - 1].weights.subarray(at * query, (at + 1) * query);
        const decided = own.slice(1, Math.max(1, query - 1)).reduce((one, other) => Math.max(one, other), 0);
        sum += decided * (1 - before.reduce((shared, weight, key) => shared + Math.min(weight, own[key]), 0));
      }
      return sum;
    });
    return places[scores.indexOf(Math.max(...scores))];
  }
}

// --- parts ---

// The traits that are not as they were asked.
const movedFrom = (asked, traits) =>
  Object.fromEntries(Object.entries(traits).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(asked[name])));

const begins = (road, path) => path.every((token, step) => road[step] === token);

// The tree with this path on one of its roads; a road that the path goes on from is part of it now.
function grown(tree, path) {
  if (!path.length || tree.some((road) => begins(road, path) && road.length >= path.length)) return tree;
  return [...tree.filter((road) => !begins(path, road)), path];
}

const endsSentence = (piece) => /[.!?…][␣↵"'”’)]*$/.test(piece);

// Of equals the last comes first.
const fallingOrder = (logits) => Uint32Array.from(logits.keys()).sort((one, other) => logits[other] - logits[one] || other - one);

// How surprising a token is after these logits, −ln of its probability.
const nats = ({ logits, total }, token) => Math.max(0, evenly((total - logits[token]) * 1e5) / 1e5);

// Where each head of these layers (head, row, all keys) looks in one row, at its first n keys: (head, n).
function rowOf(layers, row, nRows, nKeys, n) {
  const heads = layers.flatMap((weights) => Array.from({ length: weights.length / (nRows * nKeys) }, (_, head) =>
    weights.subarray((head * nRows + row) * nKeys, (head * nRows + row) * nKeys + n)));
  const all = new Float32Array(heads.length * n);
  heads.forEach((keys, head) => all.set(keys, head * n));
  return all;
}
