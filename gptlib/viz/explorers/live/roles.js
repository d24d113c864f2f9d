// What heads are known to do, each as a score, as gptlib.interpret.head_roles has it: the share of attention that goes
// where the role says.

const ROLES = {
  "previous token": "the token before",
  "first token": "the very first token",
  "same token": "earlier copies of the token",
  induction: "what followed earlier copies of the token (Olsson et al. 2022)",
  "finds the name": "earlier mentions of the name that comes next",
};
const SENTENCE_ENDS = [".", "!", "?", '"', "”", "“", ":", "\n"];
const SPACES = "\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"; // Python's str.strip
const AROUND = new RegExp(`^[${SPACES}]+|[${SPACES}]+$`, "g");

const stripped = (word) => word.replace(AROUND, "");

// The words that are capitalized somewhere inside a sentence, which in English are names.
function namesIn(words) {
  const inside = words.slice(1).filter((_, at) => !SENTENCE_ENDS.some((end) => words[at].replace(/ +$/, "").endsWith(end)));
  return new Set(inside.map(stripped).filter((word) => /^\p{L}+$/u.test(word) && isTitle(word)));
}

// Python's str.istitle: each large letter begins a word, and no small one does.
function isTitle(word) {
  let within = false, any = false;
  for (const letter of word) {
    const large = /[\p{Uppercase}\p{Lt}]/u.test(letter), small = /\p{Lowercase}/u.test(letter);
    if ((large && within) || (small && !within)) return false;
    within = large || small;
    any ||= within;
  }
  return any;
}

// For each role, the keys that it says each query looks at: a list for each query.
function roleTargets(tokens, words) {
  const named = namesIn(words.slice(1)); // the first word of a text is capitalized, whatever it is
  const isName = words.map((word) => named.has(stripped(word)));
  const before = (query, fits) => Array.from({ length: query }, (_, key) => key).filter(fits);
  const each = (keysOf) => tokens.map((token, query) => keysOf(query, token));
  return {
    "previous token": each((query) => (query ? [query - 1] : [])),
    "first token": each((query) => (query ? [0] : [])),
    "same token": each((query, token) => before(query, (key) => tokens[key] === token)),
    // The key after an earlier copy. The query itself is such a key in "aa".
    induction: each((query, token) => before(query, (key) => tokens[key] === token).map((key) => key + 1)),
    "finds the name": each((query) => before(query, (key) => isName[key] && tokens[key] === tokens[query + 1])),
  };
}

// For each role, the share of each head's attention on the role's keys: the mean over queries that have any. null for
// a role that this text gives no occasion for. weights: (head, query, key).
function roleScores(weights, tokens, words) {
  const n = tokens.length, nHeads = weights.length / (n * n);
  return Object.fromEntries(Object.entries(roleTargets(tokens, words)).map(([role, targets]) => {
    const cells = targets.flatMap((keys, query) => keys.map((key) => query * n + key)), count = targets.filter((keys) => keys.length).length;
    const shareOf = (head) => cells.reduce((sum, cell) => sum + weights[head * n * n + cell], 0) / count;
    return [role, count ? Float32Array.from({ length: nHeads }, (_, head) => shareOf(head)) : null];
  }));
}

// The head to look at first: one with a telling role if there is any, else the one that shows most.
function openingHead(weights, scores, n) {
  for (const role of ["finds the name", "induction"]) {
    const best = scores[role] && Math.max(...scores[role]);
    if (best > 0.5) return scores[role].indexOf(best);
  }
  return mostToShow(weights, n);
}

// The head that looks most decidedly at something of its own choice.
//
// What counts is, in the mean over tokens, the largest weight that exceeds what its key gets from everybody (many heads
// look at the first token throughout), of keys other than the token itself and its neighbors.
function mostToShow(weights, n) {
  const step = Math.max(1, Math.floor(n / 64)), queries = []; // of a long text a sample will do
  for (let query = 0; query < n; query += step) queries.push(query);
  let best = 0, most = -Infinity;
  for (let head = 0, offset = 0; offset < weights.length; head++, offset += n * n) {
    const mean = new Float64Array(n), at = (query, key) => weights[offset + query * n + key];
    for (const query of queries) for (let key = 0; key < n; key++) mean[key] += at(query, key) / queries.length;
    let shown = 0;
    for (const query of queries) {
      let largest = 0; // what the token itself and its neighbors count
      for (let key = 0; key < n; key++) if (Math.abs(query - key) > 1) largest = Math.max(largest, at(query, key) - mean[key]);
      shown += largest;
    }
    if (shown > most) [best, most] = [head, shown];
  }
  return best;
}
