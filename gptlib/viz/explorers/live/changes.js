// What a reader does to a model, as changes.py has it: a head is removed or scaled, what A computed is patched into B.
// A change is {do: "zero" | "mean" | "scale" | "patch", layer, head, by, source, target}; the copy heads are as one
// more layer, and a patch with head null is of the residual stream that enters the layer.

const NEEDED = { zero: [], mean: [], scale: ["by"], patch: ["source", "target"] };

// Throw a sentence unless a model of this config can take the change.
function checkChange(change, config) {
  const known = change !== null && typeof change === "object" && Object.hasOwn(NEEDED, change.do);
  if (!known) throw Error(`changes holds ${pythonOf(change)}; "do" needs to be one of ${Object.keys(NEEDED).join(", ")}`);
  const missing = ["layer", "head", ...NEEDED[change.do]].find((name) => !Object.hasOwn(change, name));
  if (missing) throw Error(`changes holds ${pythonOf(change)}, which lacks '${missing}'`);
  const { do: how, layer, head, by } = change, residual = how === "patch" && head === null, rows = headsByRow(config);
  if (!isWithin(layer, rows.length) || !(residual || isWithin(head, rows[layer]))) {
    const copies = config.copy_heads ? `, and ${config.copy_heads} copy heads as layer ${config.n_layers}` : "";
    throw Error(`changes names layer ${printed(layer)} head ${printed(head)}; the model has ${config.n_layers} layers of ${config.n_heads} heads${copies}`);
  }
  if (how === "scale" && typeof by !== "number") throw Error(`changes scales by ${pythonOf(by)}; "by" needs to be a number`);
}

// How many heads each layer has; the copy heads, where there are any, are as one more layer.
function headsByRow({ n_layers, n_heads, copy_heads }) {
  return [...Array(n_layers).fill(n_heads), ...(copy_heads ? [copy_heads] : [])];
}

const isWithin = (value, count) => Number.isInteger(value) && value >= 0 && value < count;

// The name of the activation that a change touches, and what it does to it, in place, in a text of nTokens.
// activations: what A computed, for a patch. Throws a sentence when a patch names no token.
function editOf(change, { n_layers, n_heads, copy_heads, d_model, d_head }, activations, nTokens) {
  const { do: how, layer, head, by, source, target } = change, name = placeOf(change, n_layers);
  const copying = layer === n_layers, width = head === null || copying ? d_model : d_head; // of what is changed at a token
  const stride = head === null ? width : width * (copying ? copy_heads : n_heads), first = (head ?? 0) * width;
  const at = (x, token) => x.subarray(token * stride + first, token * stride + first + width); // (seq, head, width)
  const each = (x, call) => { for (let token = 0; token < nTokens; token++) call(at(x, token)); };
  if (how === "zero") return [name, (x) => each(x, (output) => output.fill(0))];
  if (how === "scale") return [name, (x) => each(x, (output) => output.forEach((value, i) => { output[i] = value * Math.fround(by); }))];
  if (how === "mean") return [name, (x) => {
    const mean = new Float64Array(width);
    each(x, (output) => output.forEach((value, i) => { mean[i] += value / nTokens; }));
    each(x, (output) => output.set(mean));
  }];
  const value = activations[name];
  for (const [text, position, length] of [["A", source, value.length / stride], ["B", target, nTokens]])
    if (!isWithin(position, length))
      throw Error(`changes patches token ${printed(position)} of text ${text}, which has ${length}; undo that change first`);
  return [name, (x) => at(x, target).set(at(value, source))];
}

function placeOf({ layer, head }, nLayers) {
  if (layer === nLayers) return head === null ? "residual_final" : "copying.heads";
  return `blocks.${layer}.${head === null ? "residual_pre" : "attention.heads"}`;
}

// Python that repeats the changes of a gptlib.GPT; "" where there are none.
function codeOf(changes, nLayers, text, textB) {
  if (!changes.length) return "";
  const calls = new Map(), sources = new Set(); // calls: by the name of the activation, in turn
  for (const change of changes) {
    const { do: how, head, by, source, target } = change, name = placeOf(change, nLayers);
    if (how === "patch") sources.add(name);
    const made = how === "scale" ? `scale_head(${head}, ${shortest(by)})`
      : how !== "patch" ? `remove_head(${head}, '${how}')`
      : head === null ? `replace_at(${target}, run['${name}'][0, ${source}])`
      : `replace_at(${target}, run['${name}'][0, ${source}, ${head}], head=${head})`;
    calls.set(name, [...(calls.get(name) ?? []), made]);
  }
  const entries = (keep) => {
    const lines = [...calls].map(([name, made]) => [name, made.filter(keep)]).filter(([, made]) => made.length)
      .map(([name, made]) => `    '${name}': ${made.length === 1 ? made[0] : `in_turn(${made.join(", ")})`},\n`);
    return lines.length ? `{\n${lines.join("")}}` : "{}";
  };
  const used = new Set([...calls.values()].flat().map((call) => call.split("(")[0])).add("edit");
  if ([...calls.values()].some((made) => made.length > 1)) used.add("in_turn");
  if (sources.size) used.add("trace");
  const encode = (read) => `torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(${pythonOf(read)})]])`;
  return [
    "import torch",
    `from gptlib.interpret.tracing import ${[...used].sort().join(", ")}`,
    "",
    ...(sources.size ? [
      `tokens_a = ${encode(text)}`,
      `tokens = ${encode(textB || text)}`,
      `on_both = ${entries((call) => !call.startsWith("replace_at"))}`,
      `with torch.no_grad(), edit(model, on_both), trace(model, ${pythonOf([...sources].sort())}) as run:`,
      "    model(tokens_a)",
    ] : [`tokens = ${encode(text)}`]),
    `changes = ${entries(() => true)}`,
    "with torch.no_grad(), edit(model, changes):",
    "    logits = model(tokens)",
  ].join("\n");
}

// A value as Python's repr writes it.
function pythonOf(value) {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return longest(value);
  if (Array.isArray(value)) return `[${value.map(pythonOf).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map((pair) => pair.map(pythonOf).join(": ")).join(", ")}}`;
  const quote = value.includes("'") && !value.includes('"') ? '"' : "'";
  const known = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", [quote]: `\\${quote}` };
  return quote + Array.from(value, (letter) => known[letter] ?? (PRINTABLE.test(letter) ? letter : escaped(letter, 8))).join("") + quote;
}

// As Python's str writes it: a text as it is.
const printed = (value) => (typeof value === "string" ? value : pythonOf(value));

// A number as Python's repr writes it, and as its format "g" does: with six digits at most.
const twoDigits = (text) => text.replace(/e([+-])(\d)$/, (_, sign, digit) => `e${sign}0${digit}`);
const longest = (value) => twoDigits(value && Math.abs(value) < 1e-4 ? value.toExponential() : `${value}`);
function shortest(value) {
  const [digits, power] = value.toExponential(5).split("e");
  return power < -4 || power >= 6 ? twoDigits(`${+digits}e${power}`) : `${+value.toFixed(5 - power)}`;
}
