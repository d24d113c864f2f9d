// Text to tokens and back, as gptlib.text: byte-level byte-pair encoding, or a token for each character.

function openTokenizer({ kind, tokens, special_tokens, pattern }) {
  if (kind === "byte-level BPE") return new BytePairTokenizer(tokens, special_tokens, pattern);
  if (kind === "characters") return new SingleCharacters(tokens, special_tokens);
  throw Error(`The model's tokenizer is of the kind ${JSON.stringify(kind)}, which this page does not know.`);
}

// What both kinds share. bytes: those of each token by its id, undefined for an id that no token has.
class TokenBytes {
  constructor(bytes, specialTokens) {
    this.bytes = bytes;
    this.specialTokens = specialTokens;
    for (const [name, id] of Object.entries(specialTokens)) bytes[id] = new TextEncoder().encode(name);
    this.vocabSize = bytes.length;
    this.endOfText = specialTokens["<|endoftext|>"];
  }

  bytesOf(id) {
    const bytes = this.bytes[id];
    if (!bytes) throw Error(`token ${id} is not in the vocabulary: ids go from 0 to ${this.vocabSize - 1}`);
    return bytes;
  }

  // A character may be spread over several tokens; where only some of its bytes are there, U+FFFD stands for it.
  decode(ids) {
    const parts = Array.from(ids, (id) => this.bytesOf(id));
    const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
    let end = 0;
    for (const part of parts) { whole.set(part, end); end += part.length; }
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(whole);
  }
}

// tokens: by id, what each stands for, a character from U+0000 to U+00FF for each byte; null for an id of none.
// pattern: a regular expression of JavaScript's that cuts a text into the pieces which merges never cross.
class BytePairTokenizer extends TokenBytes {
  constructor(tokens, specialTokens, pattern) {
    super(tokens.map((token) => (token === null ? undefined : Uint8Array.from(token, (one) => one.charCodeAt(0)))), specialTokens);
    this.ids = new Map(tokens.map((token, id) => [token, id]).filter(([token]) => token !== null));
    this.pattern = new RegExp(pattern, "gu");
  }

  encode(text) {
    checkWhole(text);
    const pieces = Array.from(text.matchAll(this.pattern), ([piece]) => piece);
    if (pieces.join("") !== text) throw Error("pattern cuts no piece from a part of the text; every character needs to be in one");
    return pieces.map((piece) => this.encodePiece(piece)).flat();
  }

  // Of all neighbors whose join is a token, those with the lowest id are joined first, again and again.
  encodePiece(piece) {
    const bytes = String.fromCharCode(...new TextEncoder().encode(piece));
    if (this.ids.has(bytes)) return [this.ids.get(bytes)];
    const parts = [...bytes];
    const joined = (at) => (at >= 0 && at + 1 < parts.length ? this.ids.get(parts[at] + parts[at + 1]) : undefined) ?? Infinity;
    const ranks = parts.map((_, at) => joined(at)); // the id of each part joined with the one after it
    for (;;) {
      let lowest = 0;
      for (let at = 1; at < ranks.length; at++) if (ranks[at] < ranks[lowest]) lowest = at;
      if (ranks[lowest] === Infinity) return parts.map((part) => this.ids.get(part));
      parts.splice(lowest, 2, parts[lowest] + parts[lowest + 1]);
      ranks.splice(lowest, 1);
      ranks[lowest] = joined(lowest);
      if (lowest > 0) ranks[lowest - 1] = joined(lowest - 1);
    }
  }
}

// tokens: by id, the character that each stands for.
class SingleCharacters extends TokenBytes {
  constructor(tokens, specialTokens) {
    super(tokens.map((character) => new TextEncoder().encode(character)), specialTokens);
    this.ids = new Map(tokens.map((character, id) => [character, id]));
  }

  encode(text) {
    checkWhole(text);
    return Array.from(text, (character, position) => {
      if (this.ids.has(character)) return this.ids.get(character);
      throw Error(`text holds ${shownInQuotes(character)} at position ${position}, which this tokenizer has never seen; it knows ` +
        `${this.ids.size} characters: train it on text that has this one, or use Tokenizer`);
    });
  }
}

// As Python shows a character in a message.
const shownInQuotes = (character) =>
  character === "'" ? `"'"` : `'${character === '"' ? '"' : JSON.stringify(character).slice(1, -1)}'`;

// A string of JavaScript's may hold half of a character, which no UTF-8 can express.
function checkWhole(text) {
  let position = 0;
  for (const character of text) {
    const half = character.codePointAt(0);
    if (half >= 0xd800 && half <= 0xdfff)
      throw Error(`text holds half of a surrogate pair, U+${half.toString(16).toUpperCase()}, at position ${position}: it is no ` +
        "character and UTF-8 cannot express it; read the text with the right encoding, or remove it");
    position++;
  }
}
