// From logits to the next token, as gptlib.generation.sampling: the same filters in the same order, the same dice.

// The probabilities that the next token is drawn from. previous: the tokens so far, which the first two filters look at.
// barred: tokens that may not come now, such as those that would end a text too early.
function distribution(logits, sampling = {}, previous = [], barred = []) {
  const { temperature = 1, top_k = null, top_p = null, repetition_penalty = 1, no_repeat_ngram = null } = sampling;
  const kept = Float32Array.from(logits);
  if (!Number.isFinite(highestOf(kept))) throw Error(`logits hold ${highestOf(kept)} at their highest; they need to be finite`);
  if (repetition_penalty !== 1) penalizeRepetition(kept, previous, Math.fround(repetition_penalty));
  if (no_repeat_ngram !== null) {
    forbidRepeatedNgrams(kept, previous, no_repeat_ngram);
    if (highestOf(kept) === -Infinity) throw Error(`no_repeat_ngram is ${no_repeat_ngram} and leaves no token to choose`);
  }
  for (const token of barred) kept[token] = -Infinity;
  if (highestOf(kept) === -Infinity) throw Error(`min_new_tokens keeps out the tokens [${barred.join(", ")}] and leaves none to choose`);
  applyTemperature(kept, temperature);
  if (top_k !== null) keepTopK(kept, top_k);
  if (top_p !== null) keepTopP(kept, top_p);
  softmax(kept, 0, kept.length);
  return kept;
}

const highestOf = (logits) => logits.reduce((a, b) => Math.max(a, b), -Infinity); // nan where one is nan

// Divide the logits of tokens that were there before by the penalty; a negative one times it, which makes that smaller.
function penalizeRepetition(logits, previous, penalty) {
  for (const token of new Set(previous)) logits[token] = logits[token] < 0 ? logits[token] * penalty : logits[token] / penalty;
}

// Rule out each token that would complete n tokens in a row that were there before.
function forbidRepeatedNgrams(logits, previous, n) {
  const beginning = previous.length - (n - 1); // of the n - 1 tokens that the next one would follow
  for (let at = 0; at + n <= previous.length; at++) {
    let same = true;
    for (let i = 0; i < n - 1; i++) same &&= previous[at + i] === previous[beginning + i];
    if (same) logits[previous[at + n - 1]] = -Infinity;
  }
}

function applyTemperature(logits, temperature) {
  const highest = highestOf(logits);
  if (temperature === 0) {
    const likeliest = logits.indexOf(highest); // the first of them, if several are equal
    logits.fill(-Infinity);
    logits[likeliest] = 0;
  } else if (Number.isFinite(Math.fround(highest / Math.fround(temperature)))) {
    for (let i = 0; i < logits.length; i++) logits[i] /= Math.fround(temperature);
  } else { // so cold that the quotients overflow: what counts is how far each lies below the highest
    const divisor = Math.max(temperature, 2 ** -126);
    for (let i = 0; i < logits.length; i++) logits[i] = Math.fround(logits[i] - highest) / divisor;
  }
}

// Rule out all but the k highest logits, and those equal to the lowest of them.
function keepTopK(logits, k) {
  const falling = Float32Array.from(logits).sort().reverse(), lowest = falling[Math.min(k, logits.length) - 1];
  for (let i = 0; i < logits.length; i++) if (logits[i] < lowest) logits[i] = -Infinity;
}

// Rule out all but the fewest likeliest tokens whose probabilities add up to at least p.
function keepTopP(logits, p) {
  const order = Uint32Array.from(logits.keys()).sort((a, b) => logits[a] - logits[b]); // from the least likely up
  const chances = logits.slice();
  softmax(chances, 0, chances.length);
  let sum = 0;
  for (const token of order.subarray(0, -1)) { // the likeliest always stays
    sum += chances[token];
    if (Math.fround(sum) <= Math.fround(1 - p)) logits[token] = -Infinity;
  }
}

// The token on which a place from 0 to 1 falls, with the probabilities laid end to end.
function draw(probabilities, place) {
  let total = 0, end = 0;
  for (const probability of probabilities) total += probability;
  for (let token = 0; token < probabilities.length; token++) {
    end += probabilities[token];
    if (end > place * total) return token;
  }
  return probabilities.length - 1;
}

// The tokens that a model writes after these, one at a time, without an end: as long as the caller asks for more.
// Past the context it goes on, reading only the last context_length tokens. The sampling's seed says which dice are
// thrown, ends the tokens that may not come among the first min_new_tokens.
function* newTokens(gpt, tokenizer, prompt, { seed = 0, min_new_tokens = 0, ...sampling } = {}, ends = [tokenizer.endOfText]) {
  const tokens = [...prompt], dice = new Dice(seed), { context_length, vocab_size } = gpt.config, cache = gpt.newCache();
  const last = (read, options) => gpt.run(read, options).logits.slice(-vocab_size);
  for (let written = 0; ; written++) {
    const logits = tokens.length > context_length ? last(tokens.slice(-context_length))
      : written ? gpt.next(cache, tokens.at(-1)) : last(tokens, { cache });
    const known = logits.subarray(0, tokenizer.vocabSize); // the rest of a larger table is padding
    // The token that says where a document starts is no part of the text, and may come again at its end.
    const chances = distribution(known, sampling, tokens.slice(1), written < min_new_tokens ? ends : []);
    tokens.push(sampling.temperature === 0 ? chances.indexOf(1) : draw(chances, dice.next()));
    yield tokens.at(-1);
  }
}

// What torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) gives, call after call: the
// Mersenne Twister of Matsumoto and Nishimura 1998. Of a seed, which may be a BigInt, torch takes the lowest 32 bits.
class Dice {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = Number(BigInt.asUintN(32, BigInt(seed)));
    for (let i = 1; i < 624; i++) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, before) + i;
    }
    this.used = 624;
  }

  // A number of at least 0 and below 1, a multiple of 2^-53.
  next() {
    const high = this.bits(), low = this.bits();
    return ((high & 0x1fffff) * 2 ** 32 + low) * 2 ** -53;
  }

  // 32 random bits.
  bits() {
    if (this.used === 624) this.twist();
    let bits = this.state[this.used++];
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return (bits ^ (bits >>> 18)) >>> 0;
  }

  twist() {
    const { state } = this;
    for (let i = 0; i < 624; i++) {
      const joined = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
      state[i] = state[(i + 397) % 624] ^ (joined >>> 1) ^ (joined & 1 ? 0x9908b0df : 0);
    }
    this.used = 0;
  }
}
