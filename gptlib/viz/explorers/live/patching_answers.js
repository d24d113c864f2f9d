// What PatchingExplorer answers in Python (patching.py), for a GPT that runs in the page.

const PATCHED_PARTS = { residual_pre: "stream", "attention.output": "attention", "mlp.output": "MLP", "attention.heads": "heads" };
const MOST_TOKENS = 40, MOST_SAID = 5;
const MOST_NAMED = 6; // tokens that a sentence spells out

class PatchingAnswers {
  constructor({ gpt, tokenizer }) {
    Object.assign(this, { gpt, tokenizer });
  }

  // The map (`answer`, left out where it is as it was). Throws a sentence where there can be none.
  answer({ clean, corrupted, part }) {
    const seen = JSON.stringify([clean, corrupted, part]);
    if (seen === this.seen) return { details: {}, traits: {} };
    const answer = this.computeAnswer(clean, corrupted, part);
    this.seen = seen;
    return { answer, details: {}, traits: {} };
  }

  computeAnswer(cleanText, corruptedText, part) {
    const clean = this.tokens("clean", cleanText), corrupted = this.tokens("corrupted", corruptedText);
    if (clean.length !== corrupted.length) throw Error(this.unequal(clean, corrupted));
    const runs = this.bothRead(clean, corrupted), [right, wrong] = runs.whole.map((logits) => largestOf(logits, 1)[0]);
    if (right === wrong)
      throw Error(`clean and corrupted are both followed by “${this.word(right)}”; the two need to lead to different next ` +
        "tokens, so end both where the word that differs would come again");
    const gap = (logits) => Math.fround(logits[right] - logits[wrong]), [top, bottom] = runs.whole.map(gap);
    const { n_layers, n_heads } = this.gpt.config, ofHeads = part === "attention.heads", n = ofHeads ? n_heads : clean.length;
    runs[part] ??= Array.from({ length: n_layers }, (_, layer) => this.eachPatch(runs, corrupted, part, layer, n)).flat();
    const whole = chancesAfter(runs.whole[1]);
    return {
      of: { clean: cleanText, corrupted: corruptedText, part },
      columns: ofHeads ? Array.from({ length: n }, (_, head) => `head ${head}`) : [START_WORD, ...this.pieces(corrupted.slice(1))],
      clean: [START_WORD, ...this.pieces(clean.slice(1))],
      rows: n_layers,
      cells: runs[part].map((logits) => Math.fround((gap(logits) - bottom) / (top - bottom))),
      differs: clean.map((token, at) => token !== corrupted[at]),
      words: [this.word(right), this.word(wrong)],
      parts: PATCHED_PARTS,
      says: runs[part].map((logits) => this.says(logits, whole)),
      whole: runs.whole.map((logits) => this.says(logits)),
    };
  }

  tokens(name, text) {
    const tokens = this.tokenizer.encode(text);
    if (!tokens.length) throw Error(`${name} is empty; type a few words`);
    if (tokens.length >= MOST_TOKENS)
      throw Error(`${name} has ${tokens.length} tokens; at most ${MOST_TOKENS - 1} can be patched here`);
    return [this.tokenizer.endOfText, ...tokens];
  }

  pieces(tokens) {
    return wordsOf(this.tokenizer, tokens).map(onThePage);
  }

  word(token) {
    return token === this.tokenizer.endOfText ? END_WORD : this.pieces([token])[0];
  }

  // --- runs ---

  // Both texts as the model reads them: the logits after each (`whole`), and what is patched out of the clean one into
  // the corrupted one. Kept until a text differs, with the runs of each part.
  bothRead(clean, corrupted) {
    const key = JSON.stringify([clean, corrupted]), vocab = this.gpt.config.vocab_size;
    if (this.runs?.key === key) return this.runs;
    const parts = Object.keys(PATCHED_PARTS).map((part) => `blocks.*.${part}`), cache = this.gpt.newCache();
    const [from, into] = [this.gpt.run(clean, { record: parts }), this.gpt.run(corrupted, { record: parts, cache })];
    const whole = [from, into].map(({ logits }) => logits.slice(-vocab));
    if (!whole.every((logits) => Number.isFinite(highestOf(logits))))
      throw Error("the model's logits are not numbers after these texts; look at its weights, or load an earlier checkpoint of it");
    this.runs = { key, whole, from: from.activations, into: into.activations, cache };
    return this.runs;
  }

  // The logits at the end of the corrupted text, each time with another column of this layer's part out of the clean
  // text: a head at all positions, or all that there is at one. What comes before, in layers or positions, stays as it
  // was, so a run begins at the patch; where both texts have begun alike, nothing changes and there is none. Positions
  // are patched from the last to the first, because a run leaves its own keys and values behind: those of later
  // positions are never looked at again.
  eachPatch({ from, into, cache, whole }, tokens, part, layer, nColumns) {
    const ofHeads = part === "attention.heads", { d_head, d_model, n_heads } = this.gpt.config;
    const [clean, corrupted] = [from, into].map((run) => run[`blocks.${layer}.${part}`]), stream = into[`blocks.${layer}.residual_pre`];
    const own = structuredClone(cache), all = [];
    for (let column = nColumns - 1; column >= 0; column--) {
      const start = ofHeads ? 0 : column, first = ofHeads ? column * d_head : column * d_model;
      const patch = (x) => {
        if (!ofHeads) return x.set(clean.subarray(first, first + d_model)); // of all in x the first position
        for (let at = first; at < x.length; at += n_heads * d_head) x.set(clean.subarray(at, at + d_head), at);
      };
      const alike = !ofHeads && corrupted.subarray(first, first + d_model).every((value, at) => value === clean[first + at]);
      all[column] = alike ? whole[1] : this.runOn(stream.slice(start * d_model), tokens, start, layer, own, new Watch({ [part]: [patch] }));
    }
    return all;
  }

  // From the stream before a layer (seq from start, d_model) to the logits (vocab) at the end.
  runOn(x, tokens, start, layer, cache, watch) {
    const { config, blocks, copying, weights, unembedding } = this.gpt, T = tokens.length - start;
    for (let at = layer; at < blocks.length; at++) blocks[at].run(x, T, start, cache.layers[at], at === layer ? watch : new Watch());
    let read = norm(x, config, part(weights, "final_norm."));
    if (copying) read = copying.run(read, tokens.slice(start), start, cache.copies, new Watch());
    const logits = linear(read.slice(-config.d_model), 1, unembedding);
    if (config.logit_cap !== null) softCap(logits, config.logit_cap);
    return logits;
  }

  // --- words ---

  // The likeliest next tokens, and how likely each was before.
  says(logits, before) {
    const now = chancesAfter(logits);
    return largestOf(now, MOST_SAID).map((token) => ({ token: this.word(token), p: now[token], ...(before && { was: before[token] }) }));
  }

  // Which text has how many tokens, and where they part: a name may be one token and another three.
  unequal(clean, corrupted) {
    const [many, few] = [clean.length - 1, corrupted.length - 1];
    const places = gapsBetween(clean, corrupted).find(([start, stop, from, to]) => stop - start !== to - from);
    const [inClean, inCorrupted] = [[clean, places[0], places[1]], [corrupted, places[2], places[3]]].map(([tokens, start, stop]) => {
      const pieces = this.pieces(tokens.slice(start, stop)), rest = pieces.length > MOST_NAMED ? "…" : "";
      return pieces.length ? `“${pieces.slice(0, MOST_NAMED).join("|")}${rest}” (${pieces.length})` : "nothing (0)";
    });
    const [more, fewer] = many > few ? ["clean", "corrupted"] : ["corrupted", "clean"];
    return `clean has ${many} tokens and corrupted ${few}; patching needs the same number: take ${Math.abs(many - few)} from ${more}, ` +
      `or add as many to ${fewer}. Where clean has ${inClean}, corrupted has ${inCorrupted}`;
  }
}

// The softmax of these logits.
function chancesAfter(logits) {
  const chances = logits.slice();
  softmax(chances, 0, chances.length);
  return chances;
}

// Where two lists differ, [start, stop, start, stop]: what is between the longest run that both have (the earliest of
// several) and the longest before and after it, and so on, as Python's SequenceMatcher has it.
function gapsBetween(a, b, [start, stop, from, to] = [0, a.length, 0, b.length]) {
  let longest = 0, atA, atB;
  for (let i = start; i < stop; i++) for (let j = from; j < to; j++) {
    let n = 0;
    while (i + n < stop && j + n < to && a[i + n] === b[j + n]) n++;
    if (n > longest) [longest, atA, atB] = [n, i, j];
  }
  if (!longest) return start < stop || from < to ? [[start, stop, from, to]] : [];
  return [...gapsBetween(a, b, [start, atA, from, atB]), ...gapsBetween(a, b, [atA + longest, stop, atB + longest, to])];
}
