// What stands for a token on a page, as words.py and reading.py have it for the course's tokenizers: its text; of
// several tokens that make up one character, that character and which part of it each is (猫¹⁄₃); "(start)" and
// "(end)". Which letters print, and which make up one character, the browser's Unicode says here and Python's there. They
// part where a letter is newer than the older of the two, and where a sign that joins two letters of an Indic script
// follows no letter: Python joins what comes next to it, the browser does not.

const START_WORD = "(start)", END_WORD = "(end)";
const GRAPHEMES = new Intl.Segmenter("en", { granularity: "grapheme" });
const PRINTABLE = /^(?: |[^\p{C}\p{Z}])$/u; // Python's str.isprintable
const VISIBLE = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍" };

// What a reader takes for one character: a letter with its accents, an emoji with all that is joined to it.
function charactersOf(text) {
  const characters = [];
  for (const { segment } of GRAPHEMES.segment(text)) {
    if (segment === "\r\n") characters.push("\r", "\n");
    else characters.push(segment);
  }
  return characters;
}

// A token's text as a page shows it; a joiner inside a character stays where it is.
function onThePage(piece) {
  const shown = charactersOf(piece).map((character) => {
    const letters = [...character], joined = letters.length > 1 && letters[0] !== " " && PRINTABLE.test(letters[0]);
    return joined ? character : letters.map((letter) => VISIBLE[letter] ?? (PRINTABLE.test(letter) ? letter : escaped(letter))).join("");
  });
  return shown.join("") || "(empty)";
}

// A letter as Python writes it in an escape, \xe4 or \u200d; `widest` is for how many digits a \U has at least.
function escaped(letter, widest = 0) {
  const code = letter.codePointAt(0), digits = (least) => code.toString(16).padStart(least, "0");
  return code < 0x100 ? `\\x${digits(2)}` : code < 0x10000 ? `\\u${digits(4)}` : `\\U${digits(widest)}`;
}

// The text's tokens as a GPT reads them, after an end of text, and what stands for each.
function readWords(tokenizer, text) {
  const tokens = tokenizer.encode(text);
  return { tokens: [tokenizer.endOfText, ...tokens], words: [START_WORD, ...wordsOf(tokenizer, tokens)] };
}

// What stands for one token by itself. One that is a part of some character shows its bytes, as \xe4.
const wordOf = (tokenizer, token) => (token === tokenizer.endOfText ? END_WORD : wordsOf(tokenizer, [token])[0]);

// What stands for each of these tokens, where they follow each other.
function wordsOf(tokenizer, tokens) {
  return sharedWords(tokens.map((token) => {
    try {
      return tokenizer.bytesOf(token);
    } catch { // models are often wider than their tokenizer, for speed
      return new TextEncoder().encode(`(token ${token})`);
    }
  }));
}

// The text of each piece of bytes; where pieces share a character, each has it, with the part that it holds.
function sharedWords(pieces) {
  const text = textOrHalves(pieces.flatMap((piece) => [...piece])), words = pieces.map(() => ""), ends = [];
  for (const piece of pieces) ends.push((ends.at(-1) ?? 0) + piece.length);
  let at = 0, start = 0; // the piece in which a character starts, and where in the bytes that is
  for (const character of charactersOf(text)) {
    const letters = [...character], stop = start + letters.reduce((sum, letter) => sum + bytesIn(letter), 0);
    const shown = letters.map((letter) => (isHalf(letter) ? `\\x${(letter.codePointAt(0) - 0xdc00).toString(16)}` : letter)).join("");
    while (ends[at] <= start) at += 1;
    let last = at;
    while (ends[last] < stop) last += 1;
    const holders = [];
    for (let piece = at; piece <= last; piece++) if (pieces[piece].length) holders.push(piece);
    holders.forEach((piece, part) => {
      words[piece] += shown + (holders.length > 1 ? shareOf(part + 1, holders.length) : "");
    });
    [at, start] = [last, stop];
  }
  return words;
}

function shareOf(part, whole) {
  const written = (count, digits) => Array.from(`${count}`, (digit) => digits[digit]).join("");
  return `${written(part, "⁰¹²³⁴⁵⁶⁷⁸⁹")}⁄${written(whole, "₀₁₂₃₄₅₆₇₈₉")}`;
}

// The text of UTF-8 bytes. A byte that is no text becomes half of a surrogate pair, U+DC80 and on, which no text holds.
function textOrHalves(bytes) {
  const letters = [];
  for (let at = 0; at < bytes.length; ) {
    const code = codeAt(bytes, at);
    letters.push(String.fromCodePoint(code ?? 0xdc00 + bytes[at]));
    at += code === null ? 1 : bytesIn(letters.at(-1));
  }
  return letters.join("");
}

// The code point whose UTF-8 starts there, or null where none does.
function codeAt(bytes, at) {
  const first = bytes[at], more = first < 0x80 ? 0 : first < 0xc0 ? -1 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf8 ? 3 : -1;
  if (more <= 0) return more ? null : first;
  let code = first & (0x3f >> more);
  for (let next = at + 1; next <= at + more; next++) {
    if ((bytes[next] & 0xc0) !== 0x80) return null; // beyond the end, too
    code = (code << 6) | (bytes[next] & 0x3f);
  }
  const least = [0, 0x80, 0x800, 0x10000][more]; // what is less has a shorter spelling, the only one that counts
  return code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? null : code;
}

const isHalf = (letter) => letter >= "\udc80" && letter <= "\udcff" && letter.length === 1;

// How many bytes of UTF-8 a letter has, or stands for.
function bytesIn(letter) {
  const code = letter.codePointAt(0);
  return code < 0x80 || isHalf(letter) ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}
