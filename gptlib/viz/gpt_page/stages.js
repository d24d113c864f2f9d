// The walk from a token to the next: its stages in order, each with a place in the flow, a sentence that says what
// happens there with the numbers of this very run, and a panel in which they can be opened.

const POSITIONS = {
  rotary: "Nothing is added for its position: this model turns queries and keys by it (rotary positions).",
  alibi: "Nothing is added for its position: this model lowers scores with distance (ALiBi).",
  none: "This model is told nothing about positions.",
};
const POSITION_ROWS = { learned: "the row that was learned for position", sinusoidal: "the waves of position" };
const MOST_KEYS = 18; // rows of a head's table
const many = (n) => n.toLocaleString("en");
const quote = (piece) => `“${spaced(piece).trim() || piece}”`;
const few = (view, n = 3) => Array.from(floatsOf(view).slice(0, n), signed).join(", ");

// [{key, spot, after, title, caption, panel(tools)}]; `tools` has read(text) and open({name, at}).
function stagesOf(answer, details) {
  const { config, pieces, tokens, rows } = answer, { at, layers, head: chosen, next } = details, { n_layers: L, d_model: D, d_head } = config;
  const word = quote(pieces[at]), n = at + 1, looks = floatsOf(details.looks);
  const rowOf = (layer, head) => {
    const from = (rows.slice(0, layer).reduce((sum, heads) => sum + heads, 0) + head) * n;
    return looks.subarray(from, from + n);
  };
  const topOf = (numbers) => numbers.indexOf(Math.max(...numbers));
  const stages = [
    { key: "tokens", spot: "tokens", title: "Text to tokens",
      caption: `A token is a word, a part of one or a sign. This text is cut into ${many(pieces.length - 1)}, after one that marks its start. All that the model is given are their numbers: … ${tokens.slice(Math.max(0, at - 2), n).join(", ")}.`,
      panel: () => tokenTable(answer, at) },
    { key: "embedding", spot: "embedding", title: "Embedding",
      caption: `${word} is token ${tokens[at]}, so row ${many(tokens[at])} of a learned table stands for it: ${D} numbers (${few(details.token_embedding)}, …), with which the stream begins. `
        + (details.position ? `To it is added ${POSITION_ROWS[config.position]} ${at}.` : POSITIONS[config.position]),
      panel: (tools) => panelOf(tools, details.position ? [
        { name: "token", numbers: floatsOf(details.token_embedding) },
        { name: "position", numbers: floatsOf(details.position), sign: "+" },
        { name: "embedding", of: "embedding", numbers: floatsOf(details.embedding), sign: "=" },
      ] : [{ name: "embedding", numbers: floatsOf(details.embedding) }], { together: true }) },
  ];
  for (let layer = 0; layer < L; layer++) {
    const here = layers[layer], H = rows[layer], [before, middle, after] = ["residual_pre", "residual_mid", "residual_post"].map((name) => floatsOf(here[name]));
    if (chosen.layer === layer) stages.push(...headStages(answer, details));
    const best = Array.from({ length: H }, (_, head) => rowOf(layer, head)).map((row) => ({ key: topOf(row), weight: Math.max(...row) }));
    const most = best.indexOf(best.reduce((a, b) => (b.weight > a.weight ? b : a)));
    stages.push({ key: `attention ${layer}`, spot: `attention ${layer}`, after: true, title: `Layer ${layer}: attention adds to the stream`,
      caption: (chosen.layer === layer ? "" : `Heads fetch what is useful from the tokens so far. Head ${most} is the most decided: ${number(best[most].weight)} of its weight is on ${quote(pieces[best[most].key])}. `)
        + `What the ${H} heads found, side by side, passes through one matrix and is added to the stream, whose length goes from ${number(lengthOf(before))} to ${number(lengthOf(middle))}.`,
      panel: (tools) => panelOf(tools, [
        { name: "stream before", numbers: before },
        { name: "attention", of: `blocks.${layer}.attention.output`, numbers: floatsOf(here["attention.output"]), sign: "+" },
        { name: "stream after", of: `blocks.${layer}.residual_mid`, numbers: middle, sign: "=" },
      ], { together: true, more: [headOutputs(tools, answer, layer, floatsOf(here["attention.heads"]), best)] }) });
    const hidden = here["mlp.hidden"] && floatsOf(here["mlp.hidden"]);
    const strongest = hidden && [...hidden.keys()].sort((a, b) => Math.abs(hidden[b]) - Math.abs(hidden[a]));
    const experts = here.experts?.map(({ expert, share }) => `expert ${expert} (${percent(share)})`).join(" and ");
    stages.push({ key: `mlp ${layer}`, spot: `mlp ${layer}`, title: `Layer ${layer}: the MLP`,
      caption: (hidden ? `No other token is looked at here: ${many(hidden.length)} neurons read the stream of ${word}, and the strongest, neuron ${strongest[0]}, answers ${signed(hidden[strongest[0]])}. ` : `A router sends ${word} to ${experts}. `)
        + `What they write is added: the stream’s length goes from ${number(lengthOf(middle))} to ${number(lengthOf(after))}.`,
      panel: (tools) => panelOf(tools, [
        { name: "what it reads", of: `blocks.${layer}.mlp_norm`, numbers: floatsOf(here.mlp_norm), note: "normed" },
        ...(hidden ? [{ name: "neurons", of: `blocks.${layer}.mlp.hidden`, numbers: hidden, note: `${hidden.filter((x) => Math.abs(x) > 0.1).length} of ${hidden.length} beyond 0.1` }] : []),
        { name: "stream before", numbers: middle },
        { name: "MLP", of: `blocks.${layer}.mlp.output`, numbers: floatsOf(here["mlp.output"]), sign: "+" },
        { name: "stream after", of: `blocks.${layer}.residual_post`, numbers: after, sign: "=" },
      ], { more: [hidden && chips("The strongest neurons", strongest.slice(0, 12).map((at) => ({ label: `${at}`, value: hidden[at], open: () => tools.open({ name: `blocks.${layer}.mlp.hidden`, at }) })))] }) });
  }
  const normed = floatsOf(details.final_norm), final = floatsOf(details.residual_final);
  stages.push({ key: "norm", spot: "norm", title: "The last norm",
    caption: `Before the tokens are scored, a norm brings the stream to one size: its length goes from ${number(lengthOf(final))} to ${number(lengthOf(normed))}.`,
    panel: (tools) => panelOf(tools, [{ name: "stream", numbers: final }, { name: "normed", of: "final_norm", numbers: normed }]) });
  if (config.copy_heads) {
    const best = Array.from({ length: rows[L] }, (_, head) => rowOf(L, head)).map((row) => ({ key: topOf(row), weight: Math.max(...row) }));
    stages.push({ key: "copy", spot: "copy", title: "Copy heads",
      caption: `Copy head 0 looks at ${quote(pieces[best[0].key])} (${number(best[0].weight)}). Copy heads make the tokens they look at likelier: each adds those tokens’ own rows of the unembedding, times a learned gain.`,
      panel: (tools) => panelOf(tools, [{ name: "normed", numbers: normed },
        ...best.map(({ key, weight }, head) => ({ name: `copy head ${head}`, numbers: floatsOf(details.copied).subarray(head * D, (head + 1) * D), sign: "+", note: `looks at ${quote(pieces[key])}: ${number(weight)}` })),
        { name: "together", of: "copying.output", numbers: floatsOf(details.copying_output), sign: "=" }], { together: true }) });
  }
  const byLogit = [...next.rows].sort((a, b) => b.logit - a.logit), [first, second] = byLogit;
  stages.push({ key: "logits", spot: "logits", title: "Logits",
    caption: `Each of the ${many(next.vocab)} tokens is scored: its row of a last table, the unembedding, times the stream is its logit. The highest are those of ${quote(first.piece)}, ${signed(first.logit)}, and ${quote(second?.piece ?? "")}, ${signed(second?.logit ?? 0)}.`,
    panel: (tools) => panelOf(tools, [{ name: "what is read", numbers: floatsOf(details.copying_output ?? details.final_norm) }],
      { more: [chips("The highest logits", byLogit.slice(0, 12).map(({ piece, token, logit }) => ({ label: piece, value: logit, open: () => tools.open({ name: "logits", at: token }) })))] }) });
  const [likeliest] = [...next.rows].sort((a, b) => b.own - a.own);
  stages.push({ key: "probabilities", spot: "next", title: "Probabilities",
    caption: `A softmax turns logits into probabilities: e to the power of each, divided by the sum of all. ${quote(likeliest.piece)} has ${percent(likeliest.own)}${likeliest.own === likeliest.p ? "." : `; with these sampling settings ${percent(likeliest.p)}, and ${many(next.kept)} of ${many(next.vocab)} tokens can be drawn.`}`,
    panel: () => chanceTable(next) });
  const drawn = next.rows.find(({ token }) => token === next.drawn), follows = next.rows.find(({ token }) => token === next.follows);
  stages.push({ key: "draw", spot: "next", title: "The next token",
    caption: drawn ? `The next token is drawn: the dice show ${number(next.place, 4)}, and with all probabilities laid end to end that falls on ${quote(drawn.piece)}${follows ? `; in this text ${quote(follows.piece)} follows.` : "."}`
      : `The text goes on with ${quote(follows?.piece ?? "")}, to which the model gave ${percent(follows?.own ?? 0)}.`,
    panel: () => dicePanel(next) });
  return stages;
}

// A head's three steps: scores, weights, the mix of values. One table for all, in which the step's columns stand out.
function headStages(answer, details) {
  const { pieces, config } = answer, { at, head } = details, { layer, head: index } = head, name = `Layer ${layer}, head ${index}`;
  const scores = floatsOf(head.scores), word = quote(pieces[at]), map = floatsOf(head.map), T = pieces.length, weights = map.subarray(at * T, at * T + at + 1);
  const order = [...weights.keys()].sort((a, b) => weights[b] - weights[a]), [first, second] = order;
  const other = pieces[first] === pieces[second] ? "another " : "";
  const mixed = floatsOf(details.layers[layer]["attention.heads"]).subarray(index * config.d_head, (index + 1) * config.d_head);
  const how = `q·k / √${config.d_head}` + (config.score_cap ? `, kept below ${config.score_cap}` : "") + (config.position === "alibi" ? ", less the farther away the key is" : "");
  const turned = config.position === "rotary" ? " Both are turned by their positions." : "";
  const stage = (step, title, caption) => ({ key: step, spot: `attention ${layer}`, title: `${name}: ${title}`, caption,
    panel: (tools) => keyTable(tools, answer, details, { step, weights, scores, mixed, order }) });
  return [
    stage("scores", "scores", `What does the head look for, and where is it? The query of ${word} meets the key of each token up to itself: ${how}.${turned} It fits ${quote(pieces[first])} best, with ${number(scores[first])}.`),
    stage("weights", "weights", `A softmax turns the scores into weights that add up to 1: ${quote(pieces[first])} gets ${number(weights[first], 3)}`
      + (second === undefined ? "." : `, ${other}${quote(pieces[second])} ${number(weights[second], 3)}.`)),
    stage("mix", "the mix of values", `What the head takes along is the average of the values with these weights: ${number(weights[first], 2)} × the value of ${quote(pieces[first])}`
      + (second === undefined ? "." : ` + ${number(weights[second], 2)} × that of ${other}${quote(pieces[second])} + …`)),
  ];
}

function panelOf(tools, parts, { together, more = [] } = {}) {
  return [stripsOf(parts, { ...tools, together }), ...more.filter(Boolean), tableOf(parts)];
}

// Small numbers that can be opened, side by side: [{label, value, open}].
function chips(title, items) {
  return div("chips", make("h3", {}, title), ...items.map(({ label, value, open }) =>
    make("button", { onclick: open, title: "How this number comes about" }, make("span", { className: "token" }, label), ` ${signed(value)}`)));
}

function tokenTable({ pieces, tokens, nats }, at) {
  const from = Math.max(0, at - 11), shown = pieces.map((_, token) => token).slice(from, at + 1);
  const row = (name, cell, className = "") => make("tr", { className }, make("th", { scope: "row" }, name), ...shown.map((token) => make("td", { className: token === at ? "here" : "" }, cell(token))));
  return [div("scrolled", make("table", { className: "tokens" }, row("token", (token) => pieces[token], "token"), row("number", (token) => tokens[token]), row("position", (token) => token),
    row("surprise", (token) => (nats[token] === null ? "–" : number(nats[token]))))), make("p", { className: "soft" }, "Surprise is −ln of the probability the model gave to the token, in nats.")];
}

function headOutputs(tools, answer, layer, heads, best) {
  const d = heads.length / best.length;
  return div("", make("h3", {}, "What each head found"), stripsOf(best.map(({ key, weight }, head) => ({
    name: `head ${head}`, numbers: heads.subarray(head * d, (head + 1) * d), note: `most at ${quote(answer.pieces[key])}: ${number(weight)}` })), tools));
}

function keyTable(tools, answer, details, { step, weights, scores, mixed, order }) {
  const { pieces, config: { d_head: d } } = answer, { head: { query, keys, values, layer, head: index }, at } = details;
  const [q, k, v] = [query, keys, values].map(floatsOf), scale = [scaleOf(k), scaleOf(v)];
  const shown = order.slice(0, MOST_KEYS).sort((a, b) => a - b), most = Math.max(...weights);
  const part = (all, key) => all.subarray(key * d, (key + 1) * d), name = `blocks.${layer}.attention`;
  const head = (text, ...of) => make("th", { scope: "col", className: of.includes(step) ? "now" : "" }, text);
  const cell = (of, ...content) => make("td", { className: of.includes(step) ? "now" : "" }, ...content);
  const opening = (what, of, key, text) => make("button", { title: `How this ${what} comes about`, tabIndex: key === order[0] && what === "weight" ? 0 : -1, onclick: () => tools.open({ name: `${name}.${of}`, at: key }) }, text);
  const cells = (what, all, key, scale) => strip(`${what} of ${quote(pieces[key])}`, part(all, key), { scale, read: tools.read, thin: true,
    open: (at) => tools.open({ name: `${name}.${what}s`, at: key * d + at }) });
  const table = make("table", { className: "keys" },
    make("tr", {}, make("th", { scope: "col" }, "token"), head("key", "scores"), head(`q·k / √${d}`, "scores", "weights"), head("weight", "weights", "mix"), head("value", "mix")),
    ...shown.map((key) => make("tr", {}, make("th", { scope: "row", className: "token" }, pieces[key]),
      cell(["scores"], cells("key", k, key, scale[0])),
      cell(["scores", "weights"], opening("score", "scores", key, number(scores[key]))),
      cell(["weights", "mix"], div("track", make("i", { style: { width: `${(100 * weights[key]) / most}%` } })), opening("weight", "weights", key, number(weights[key], 3))),
      cell(["mix"], cells("value", v, key, scale[1])))));
  roving(table, () => [...table.querySelectorAll("button")], () => 2);
  const parts = [{ name: "query", of: `${name}.queries`, numbers: q }, { name: "mix of values", of: `${name}.heads`, numbers: mixed }];
  return [stripsOf(step === "mix" ? parts.reverse() : parts, tools), div("scrolled", table),
    order.length > shown.length && make("p", { className: "soft" }, `The ${shown.length} tokens with the highest weights; ${order.length - shown.length} more share the rest.`),
    tableOf([...parts, ...shown.slice(0, 12).flatMap((key) => [{ name: `key ${pieces[key]}`, numbers: part(k, key) }, { name: `value ${pieces[key]}`, numbers: part(v, key) }])])].filter(Boolean);
}

function chanceTable({ rows }) {
  const most = Math.max(...rows.map(({ p, own }) => Math.max(p, own)));
  const bar = (share) => div("track", make("i", { style: { width: `${(100 * share) / most}%` } }));
  return [div("scrolled", make("table", { className: "chances" },
    make("tr", {}, ...["token", "logit", "probability", "with sampling"].map((text) => make("th", { scope: "col" }, text))),
    ...rows.map(({ piece, logit, own, p }) => make("tr", { className: p ? "" : "out" }, make("th", { scope: "row", className: "token" }, piece),
      make("td", {}, signed(logit)), make("td", {}, bar(own), number(own, 4)), make("td", {}, bar(p), p ? number(p, 4) : "ruled out")))))];
}

// All probabilities laid end to end, in the order of the tokens' numbers, and where the dice fall.
function dicePanel({ rows, drawn, place, before }) {
  if (drawn === null) return [make("p", {}, "The tokens of the prompt were given, so no dice were thrown for them.")];
  const { piece, p } = rows.find(({ token }) => token === drawn);
  return [div("dice", make("i", { className: "part", style: { left: `${100 * before}%`, width: `max(2px, ${100 * p}%)` } }), make("i", { className: "at", style: { left: `${100 * place}%` } })),
    make("p", { className: "soft" }, `The bar is all tokens in the order of their numbers, each as wide as its probability; ${quote(piece)} takes from ${number(before, 4)} to ${number(before + p, 4)}. The same seed throws the same dice again, here as in gptlib.generate.`)];
}
