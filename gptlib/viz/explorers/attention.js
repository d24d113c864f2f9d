// The attention explorer: all heads small, one head large, the text with arcs, and what the model predicts.

const VIEWS = { weights: "weights", values: "× length of values", difference: "A − B" };
const PREDICTS = { next: "After", here: "In place of" };
const SOURCES = ["head", "residual"];
const VEIL = 0x38808080; // over what is masked in a small picture: gray, on light and dark
const MOST_PIXELS = 800; // a side of the large picture

const triangle = (n) => (n * (n + 1)) / 2;
const soft = (text) => make("span", { className: "soft" }, text);
const quoted = (word) => `“${word}”`; // a token may be a period
const emOf = (element) => parseFloat(getComputedStyle(element).fontSize) || 13; // none before it is on the page
const done = ({ do: how, by }) => (how === "scale" ? `output × ${by}` : `removed (${how})`);

// Paint the cells from `from` to `to` (query and key each) of a head into a square of `high` by `wide` pixels. Where a
// pixel holds several cells, the one farthest from 0 is seen.
function paintHead(pixels, width, left, top, [high, wide], codes, shape, table, veil = 0) {
  const { columns, causal, from, to, blank } = shape, colors = tables[table], signed = table === "difference";
  const down = Math.max(high, to[0] - from[0]), right = Math.max(wide, to[1] - from[1]);
  const strength = (code) => (signed ? Math.abs(code - 128) : code);
  const best = new Int16Array(wide);
  for (let i = 0, before = -1; i < down; i++) {
    const y = Math.floor((i * high) / down), query = from[0] + Math.floor((i * (to[0] - from[0])) / down);
    const start = causal ? triangle(query) : query * columns, line = (top + y) * width + left;
    if (y !== before) best.fill(-1);
    before = y;
    for (let j = 0; j < right; j++) {
      const x = Math.floor((j * wide) / right), key = from[1] + Math.floor((j * (to[1] - from[1])) / right);
      const code = (causal && key > query) || (signed && !codes[start + key]) || blank(query, key) ? -1 : codes[start + key];
      if (code >= 0 && strength(code) > best[x]) {
        best[x] = strength(code);
        pixels[line + x] = colors[code];
      } else if (best[x] < 0) pixels[line + x] = veil;
    }
  }
}

// A canvas of that size, painted by `paint(pixels, width)`.
function fill(canvas, width, height, paint) {
  const image = new ImageData(width, height);
  paint(new Uint32Array(image.data.buffer), width);
  set(canvas, { width, height }).getContext("2d").putImageData(image, 0, 0);
}

const GUIDE = "Bright means that the token of the row looks at that of the column. Choose a head, point at a token";
const ORDER = "All heads (row: layer, column: head)";
const SMALLEST = 18; // pixels of a tile
const LIKE = "like this head";

function render({ model, el }) {
  const get = (name) => model.get(name), given = get("answer").given;
  const stage = open(model, el, "attention", GUIDE + (given || get("answer").no_edits ? "." : ", remove the head."));
  const { layers, heads, copies, needs_target: targets, no_edits: noEdits, no_values: noValues, scores } = get("answer");
  const fixed = !stage.live || given, unchanging = fixed || Boolean(noEdits);
  const needs = given ? "needs the model; these are its weights alone" : !stage.live ? `needs ${stage.lacks}` : noEdits;
  let answer, layer, head, chosen; // what is drawn; heads are counted layer by layer, and last the copy heads
  let hovered; // {query, key} under the pointer, before it is chosen
  let center; // {query, key} in the middle of what the zoom shows
  let carried; // which of SOURCES is on its way to text B

  const across = Math.max(heads, copies), down = layers + (copies ? 1 : 0);
  const places = Array.from({ length: layers * heads + copies }, (_, at) => {
    const layer = Math.min(Math.floor(at / heads), layers);
    return { layer, head: at - layer * heads };
  });
  const byLayer = places.map(({ layer, head }) => layer * across + head);
  let spots = byLayer; // where in the grid each head stands
  const nameOf = (at) => {
    const { layer, head } = places[at];
    return layer < layers ? `layer ${layer}, head ${head}` : `copy head ${head}`;
  };
  const told = (change) => {
    const { do: how, layer, head, source, target } = change, copy = layer === layers;
    const where = copy ? "the copy heads" : `layer ${layer}`;
    if (how !== "patch") return `${copy ? `copy head ${head}` : `${where} head ${head}`}: ${done(change)}`;
    const what = head === null ? `residual stream into ${where}` : `head ${head} of ${where}`;
    return `${what}: A's token ${source} onto B's token ${target}`;
  };
  const isOf = (at) => ({ do: how, layer, head }) => how !== "patch" && layer * heads + head === at;
  const changeOf = (at) => get("changes").findLast(isOf(at));

  // The chosen head on A and on B: a matrix with its labels, and a cross at the tokens in focus; and the tokens.
  const side = (label) => {
    const canvas = make("canvas"), row = div("cursor"), column = div("cursor"), masked = div("masked", "masked: no looking ahead");
    const strip = make("div", { className: "strip", role: "group", "aria-label": label });
    const matrix = div("matrix hatched", canvas, masked, row, column), queries = div("queries"), keys = div("keys");
    const plot = div("plot", div("axis", "query: the token that looks"), queries, matrix, keys, div("axis", "key: the token looked at"));
    return { canvas, row, column, masked, strip, matrix, queries, keys, plot, tokens: [] };
  };
  const a = side("the tokens of A; choose the one that looks");
  const b = side("the tokens of B; patches land here");
  const names = { text: targets ? "Text that the encoder reads" : "Text", text_b: "Text B", target: "Text that the decoder reads" };
  const texts = Object.entries(names).map(([trait, title]) => {
    const box = make("textarea", { "aria-label": title, disabled: fixed, rows: 1, title: fixed ? `${title}: ${needs}` : trait === "text_b" ? "a text to compare with" : "type, and the picture follows" });
    box.oninput = () => stage.ask({ [trait]: box.value, query: -1 });
    stage.on("answer", () => { if (document.activeElement !== box) box.value = get(trait); });
    return set(div("", make("h2", {}, title), box), { hidden: given || trait === (targets ? "text_b" : "target") });
  });
  const views = choice("what is shown", VIEWS, get("view"), (view) => stage.ask({ view }));
  const [plain, valued, difference] = views.children;
  set(plain, { title: "how much each token looks at each other", textContent: scores ? "scores" : VIEWS.weights });
  const role = make("select", { "aria-label": "find heads by role", title: "rank all heads by what they do", onchange: drawFound },
    make("option", { value: "" }, "find heads …"), ...[...Object.keys(get("answer").roles), LIKE].map((name) => make("option", {}, name)));
  const sort = make("button", { "aria-pressed": false, onclick: toggleOrder,
    title: "put the heads in the order of how much they look like the chosen one" }, "sort by likeness");
  const order = make("h2", {}, ORDER), found = div("found"), small = make("canvas");
  const tiles = places.map((_, at) =>
    make("button", { className: "tile", onclick: () => choose(at), title: nameOf(at) }, make("span", { className: "mark" })));
  const margins = [
    ...Array.from({ length: across }, (_, head) => make("span", { className: "soft", style: { gridArea: `1 / ${head + 2}` } }, head)),
    ...Array.from({ length: down }, (_, layer) => make("span", { className: "soft row-name", style: { gridArea: `${layer + 2} / 1` } },
      layer < layers ? layer : "copy"))];
  const montage = make("div", { className: copies ? "montage copying" : "montage", role: "group",
    "aria-label": `all heads: rows are layers, ${copies ? "the last the copy heads, " : ""}columns are heads` }, ...margins, ...tiles, small);

  const title = make("h2"), part = soft("");
  const readout = make("p", { className: "readout", title: "≈: as exactly as the colors tell; choose the token for the number itself" }), says = [div("says"), div("says b")];
  const gradient = make("canvas"), legend = div("legend", gradient, div("ticks"), soft(""));
  const zoom = slider("zoom", { min: 0, max: 5, step: 1, value: 0, show: (at) => (at ? `${2 ** at}×` : "all") }, () => { center = null; drawMatrices(); drawFocus(); });
  zoom.querySelector("input").title = "show a part of the picture; click in it to move there";
  const search = make("input", { type: "text", placeholder: "find a token", "aria-label": "find a token", title: "the next token that has these letters; Enter for the one after it",
    oninput: () => seek(0), onkeydown: ({ key }) => key === "Enter" && seek(1) });
  const arcs = svg("svg", { class: "arcs", role: "img", "aria-label": "arrows from the token in focus to those that it looks at" });
  const seen = div("strip keys-only"), over = div("over"), most = make("table");
  const removals = Object.entries({ zero: "its output becomes 0", mean: "its output becomes its mean over the text" }).map(([how, what]) =>
    make("button", { value: how, disabled: unchanging, title: needs || `${what}; again: back`,
      onclick: () => alter(changeOf(chosen)?.do === how ? null : { do: how }) }, `remove (${how})`));
  const scale = slider("output ×", { min: -1, max: 3, step: 0.25, value: 1, show: number }, (by) =>
    alter(by === 1 ? null : { do: "scale", by }));
  set(scale.querySelector("input"), { disabled: unchanging, title: needs || "multiply what this head writes" });
  const undo = make("button", { title: needs || "take the last change back (Ctrl+Z)", onclick: () => put(get("changes").slice(0, -1)) }, "undo");
  const list = make("ol", { className: "changes" });
  const doing = make("div", { className: "row", role: "group", "aria-label": "change this head" }, ...removals, scale, undo);
  const code = make("pre", { tabIndex: 0, "aria-label": "the changes as code" });
  const codeBox = make("details", {}, make("summary", { title: "Python that does the same without this page" }, code.ariaLabel), code);
  const chips = SOURCES.map((value) => make("button", { className: "chip", value, draggable: true,
    title: "copy this from A into B: drag it onto a token of B, or press it and choose the token",
    ondragstart(event) { event.dataTransfer.setData("text/plain", value); carry(value); },
    ondragend: () => carry(null),
    onclick() { carry(carried === value ? null : value); if (carried) b.tokens[0].focus(); } }));
  const patching = div("row carry", make("span", {}, "Patch into B:"), ...chips,
    soft("drag one onto a token of B, or press it and choose the token (Escape: never mind)"));

  doing.hidden = given;
  stage.root.append(
    div("texts", ...texts),
    div("main-view",
      div("row line", views, search, make("h2", {}, "Where the token looks:"), readout), over,
      div("columns",
        div("all", div("row", order), div("scrolled", montage), doing, div("row", role, sort), found),
        div("one", div("row", title, part, zoom), a.plot, legend),
        says[0],
        div("other", make("h2", {}, "The same head on B"), b.plot), says[1], div("top", most, list))),
    patching, b.strip, codeBox);

  // Changing the model.
  function put(changes) {
    stage.ask({ changes });
    stage.announce(changes.map(told).join("; ") || "the model is as it was");
  }
  // Do this to the chosen head instead of what was done to it.
  function alter(change) {
    const others = get("changes").filter((one) => !isOf(chosen)(one));
    put(change ? [...others, { ...change, layer, head }] : others);
  }
  function carry(value) {
    carried = value;
    for (const chip of chips) chip.ariaPressed = chip.value === value;
    b.strip.classList.toggle("ready", Boolean(value));
  }
  function drop(target) {
    if (!carried || target < 0) return;
    put([...get("changes"), { do: "patch", layer, head: carried === "head" ? head : null, source: get("query"), target }]);
    carry(null);
  }

  function draw() {
    const news = answer !== (answer = get("answer")), { rows, columns, whole, words, predicts } = answer;
    [layer, head] = [get("layer"), get("head")];
    chosen = layer * heads + head;
    if (news) drawAnswer();
    const { place, cells, cells_b: cellsB, next, next_b: nextB } = get("details"), change = changeOf(chosen);
    const here = place[0] * heads + place[1] === chosen, length = answer.causal ? triangle(rows) : rows * columns;
    a.codes = whole ? bytesOf(answer.cells).subarray(chosen * length, (chosen + 1) * length)
      : here && cells ? bytesOf(cells) : answer.rest && restOf(chosen);
    b.codes = here && cellsB && bytesOf(cellsB);
    title.textContent = nameOf(chosen).replace(/^./, (letter) => letter.toUpperCase());
    const known = Object.entries(answer.roles).flatMap(([role, ranked]) => ranked.filter((one) => one.layer === layer && one.head === head)
      .map(({ score }) => ({ role, score }))).filter(({ score }) => score > 0.25).sort((one, other) => other.score - one.score)[0];
    const does = known ? `on average ${percent(known.score)} on ${answer.meaning[known.role]}` : "";
    part.textContent = whole || (here && cells) || !answer.rest ? does : answer.rest.told;
    part.title = does && `${known.role}: ${does}`;
    tiles.forEach((tile, at) => {
      const change = changeOf(at), label = change ? `${nameOf(at)}, ${done(change)}` : nameOf(at);
      set(tile, { tabIndex: at === chosen ? 0 : -1, "aria-pressed": at === chosen, "aria-label": label });
      tile.classList.toggle("changed", Boolean(change));
      const name = spots !== byLayer && `${places[at].layer < layers ? places[at].layer : "c"}.${places[at].head}`;
      tile.firstChild.textContent = !change ? name || "" : change.do === "scale" ? `×${change.by}` : "✕";
    });
    for (const button of removals) button.ariaPressed = change?.do === button.value;
    scale.show(change?.do === "zero" ? 0 : change?.by ?? 1);
    if (change?.do === "mean") scale.lastElementChild.textContent = "mean";
    const sources = { head: "this head",
      residual: `the residual stream into ${layer < layers ? "this layer" : "the copy heads"}` };
    for (const chip of chips) chip.textContent = `${sources[chip.value]} at ${quoted(words[place[2]])}`;
    const predicted = (where, rows = []) => (rows.length ? [make("h2", {}, where), bars(rows)] : []);
    says[0].replaceChildren(...predicted(`${PREDICTS[predicts]} ${quoted(words[place[2]])}`, next));
    says[1].replaceChildren(...predicted("At the end of B", nextB));
    drawMatrices();
    drawFocus();
  }

  function drawAnswer() {
    const { words, keys, words_b: wordsB, view, rows, columns, causal, padding, table, largest } = answer, changes = get("changes");
    const blank = { queries: new Set(padding.queries), keys: new Set(padding.keys) };
    a.shape = { rows, columns, causal, blank: (query, key) => blank.queries.has(query) || blank.keys.has(key) };
    b.shape = { rows: wordsB.length, columns: keys ? columns : wordsB.length, causal, blank: () => false };
    for (const [side, texts, name] of [[a, words, "token"], [b, wordsB, "token of B"]]) {
      side.words = texts;
      // In a difference a row may stand for two tokens.
      if (side === a && view === "difference") side.words = texts.map((text, at) => (at >= wordsB.length || text === wordsB[at] ? text : `${text}|${wordsB[at]}`));
      side.seen = side === a && keys ? keys : side.words;
      side.tokens = tokensOf(texts, name);
      side.strip.replaceChildren(...side.tokens);
    }
    a.looked = keys ? tokensOf(keys, "key") : a.tokens;
    seen.replaceChildren(...(keys ? a.looked : []));
    over.replaceChildren(make("div", {}, ...(keys ? [a.strip, arcs, seen] : [arcs, a.strip])));
    search.hidden = Math.max(rows, columns) <= 40;
    zoom.hidden = Math.max(rows, columns) <= 32;
    patching.hidden = b.strip.hidden = !wordsB[0] || unchanging;
    carry(null);
    views.show(view);
    set(valued, { disabled: Boolean(noValues) || given, title: noValues || (given ? needs : "the weight times the length of the vector that it brings") });
    set(difference, { disabled: !wordsB[0], textContent: wordsB[0] ? VIEWS.difference : "A − B: needs a second text",
      title: wordsB[0] ? "weights on A minus weights on B, position by position" : "needs a second text" });
    b.plot.hidden = !wordsB[0] || view === "difference";
    drawTiles();
    drawLegend(table, largest);
    undo.disabled = unchanging || !changes.length;
    list.replaceChildren(...changes.map((change, at) => make("li", {}, `${told(change)} `, make("button", { title: "take this change back",
      disabled: unchanging, "aria-label": `take back: ${told(change)}`, onclick: () => put(changes.toSpliced(at, 1)) }, "✕"))));
    codeBox.hidden = !answer.code;
    code.textContent = answer.code;
    drawFound();
    reveal();
  }

  const tokensOf = (texts, name) => texts.map((text, at) =>
    make("button", { className: "token", tabIndex: at ? -1 : 0, title: `${name} ${at}` }, text));

  // All heads on one grid: tiles and picture are placed by the same numbers.
  const boxes = [over, a.matrix, stage.root, montage.parentElement], sizes = () => boxes.map((box) => box.clientWidth).join();
  let drawn; // at which sizes that was
  function drawTiles() {
    drawn = sizes();
    const { cells, small: [rows, columns], table, causal, whole } = answer, room = montage.parentElement;
    const em = emOf(stage.root), names = (copies ? 3.2 : 2) * em;
    const fits = Math.min((room.clientWidth - names) / across, (20 * em) / down);
    const tile = Math.max(SMALLEST, Math.floor(fits)), pixels = Math.round(tile * devicePixelRatio);
    const every = Math.ceil((1.6 * em) / tile), length = causal ? triangle(rows) : rows * columns, all = bytesOf(cells);
    set(montage, { style: { gridTemplate: `1.4em repeat(${down}, ${tile}px) / ${names}px repeat(${across}, ${tile}px)` } });
    margins.forEach((margin, at) => {
      margin.style.visibility = spots !== byLayer || (at < across ? at : at - across) % every ? "hidden" : "";
    });
    const shape = { ...a.shape, rows, columns, from: [0, 0], to: [rows, columns], blank: whole ? a.shape.blank : () => false };
    set(small, { style: { left: `${names}px`, width: `${across * tile}px`, height: `${down * tile}px` } });
    fill(small, across * pixels, down * pixels, (image, width) => spots.forEach((spot, at) => {
      const [row, column] = [Math.floor(spot / across), spot % across];
      tiles[at].style.gridArea = `${row + 2} / ${column + 2}`;
      paintHead(image, width, column * pixels, row * pixels, [pixels, pixels], all.subarray(at * length, (at + 1) * length), shape, table, VEIL);
    }));
  }

  // The part of a head's rows that a file holds of it.
  function restOf(at) {
    const { rows, columns, causal, rest: { count, codes, keys } } = answer, [values, places] = [codes, keys].map(bytesOf);
    const all = new Uint8Array(causal ? triangle(rows) : rows * columns).fill(answer.table === "difference" ? 128 : 0);
    for (let query = 0; query < rows; query++) for (let i = 0; i < count; i++) {
      const from = (at * rows + query) * count + i, key = places[2 * from] + 256 * places[2 * from + 1];
      if (!causal || key <= query) all[(causal ? triangle(query) : query * columns) + key] = values[from];
    }
    return all;
  }

  function drawMatrices() {
    const level = +zoom.querySelector("input").value, middle = center ?? { query: get("query"), key: get("query") };
    for (const side of [a, b]) {
      const { plot, canvas, masked, codes, shape, words, seen } = side;
      plot.hidden = !codes;
      if (!codes) continue;
      const part = (at, all) => {
        const n = Math.max(Math.min(8, all), Math.ceil(all / 2 ** level)), from = Math.max(0, Math.min(all - n, Math.round(at - n / 2)));
        return [from, from + n];
      };
      const [queries, keys] = [part(middle.query, shape.rows), part(middle.key, shape.columns)];
      Object.assign(shape, { from: [queries[0], keys[0]], to: [queries[1], keys[1]] });
      const size = [queries, keys].map(([from, to]) => Math.min(to - from, MOST_PIXELS));
      fill(canvas, size[1], size[0], (pixels, width) => paintHead(pixels, width, 0, 0, size, codes, shape, answer.table));
      masked.hidden = !answer.causal || level > 0 || shape.rows < 8;
      label(side.queries, words, queries, "top");
      label(side.keys, seen, keys, "left");
    }
  }

  // The tokens along an axis, as many as there is room for; the last of the labels is for the one in focus.
  function label(axis, texts, [from, to], edge) {
    const n = to - from, em = emOf(axis);
    const room = (edge === "top" ? axis.clientHeight : axis.clientWidth) || 300, every = Math.ceil((n * (edge === "top" ? 1.03 : 1.6) * em) / room);
    const at = (index) => {
      const place = (100 * (index + 0.5 - from)) / n;
      return make("span", { style: edge === "top" ? { top: `${place}%` } : { right: `${100 - place}%` } }, texts[index]);
    };
    axis.at = (index) => {
      const mark = at(Math.max(from, Math.min(to - 1, index)));
      mark.className = "here";
      axis.querySelector(".here")?.remove();
      if (index >= from && index < to) axis.append(mark);
    };
    axis.replaceChildren(...Array.from({ length: Math.ceil(n / every) }, (_, i) => at(from + i * every)));
  }

  // Which color is which number, spaced as the colors are: by the square root.
  function drawLegend(table, largest) {
    const signed = table === "difference", [, ticks, words] = legend.children;
    fill(gradient, 256, 1, (pixels) => pixels.set(tables[table]));
    const shares = signed ? [-1, -0.25, 0, 0.25, 1] : [0, 0.05, 0.25, 0.5, 1];
    ticks.replaceChildren(...shares.map((share) => {
      const root = Math.sign(share) * Math.sqrt(Math.abs(share));
      return make("span", { style: { left: `${100 * (signed ? (1 + root) / 2 : root)}%` } }, `${+(share * largest).toPrecision(2)}`.replace("-", "−"));
    }));
    words.textContent = answer.view === "difference" ? "weight on A minus weight on B" : scores ? "score before the softmax"
      : answer.view === "values" ? "weight × length of value" : "weight";
    const [inA, inB] = [answer.words.length, answer.words_b.length];
    words.textContent += ` (colors follow its square root)${answer.view === "difference" && inA !== inB ? `. A has ${inA} tokens and B ${inB}: compared are the first ${Math.min(inA, inB)}` : ""}`;
  }

  // How alike two heads are: the overlap of their rows (Bhattacharyya). The codes are square roots already.
  function likeness() {
    const { cells, small: [rows, columns], causal, table } = answer, length = causal ? triangle(rows) : rows * columns, all = bytesOf(cells);
    const middle = table === "difference" ? 128 : 0, of = (at) => Float32Array.from(all.subarray(at * length, (at + 1) * length), (x) => x - middle);
    const dot = (one, other) => one.reduce((sum, x, i) => sum + x * other[i], 0), mine = of(chosen), norm = Math.sqrt(dot(mine, mine)) || 1;
    return places.map((_, at) => { const other = of(at); return dot(mine, other) / (norm * (Math.sqrt(dot(other, other)) || 1)); });
  }

  function toggleOrder() {
    const alike = spots === byLayer && likeness();
    if (alike && !alike.some((score, at) => at !== chosen && score > 0)) return void (order.textContent = `Nothing here is like ${nameOf(chosen)}`);
    set(sort, { ariaPressed: Boolean(alike), textContent: alike ? "back to layers" : "sort by likeness" });
    order.textContent = alike ? `All heads (layer.head), most like ${nameOf(chosen)} first` : ORDER;
    spots = byLayer;
    if (alike) {
      spots = [];
      [...places.keys()].sort((one, other) => alike[other] - alike[one]).forEach((at, spot) => { spots[at] = spot; });
    }
    draw();
    drawTiles();
    stage.announce(alike ? `sorted by likeness to ${nameOf(chosen)}` : "sorted by layer");
  }

  function drawFound() {
    const alike = role.value === LIKE && likeness().map((score, at) => ({ ...places[at], score }));
    const ranked = alike ? alike.sort((one, other) => other.score - one.score).slice(1, 6) : answer.roles[role.value] ?? [];
    const caption = alike ? `overlap with ${nameOf(chosen)}: 100% is the same picture`
      : ranked.length ? `mean share of attention on ${answer.meaning[role.value]}` : "this text gives no occasion for it";
    found.hidden = !role.value;
    found.replaceChildren(soft(caption), bars(ranked.map(({ layer, head, score }) => {
      const at = layer * heads + head;
      return { at, token: nameOf(at), p: Math.max(0, score), title: `choose ${nameOf(at)}` };
    }), { clicked: ({ at }) => choose(at) }));
  }

  // The token in focus: what it looks at, and how much. Gives that as a sentence.
  function drawFocus() {
    const { rows, causal, table, largest, view, words, padding, predicts } = answer, { place, row } = get("details");
    const asked = hovered?.query ?? get("query"), query = asked < 0 || asked >= rows ? rows - 1 : asked;
    const rowOf = ({ codes, shape }, at) => {
      const start = shape.causal ? triangle(at) : at * shape.columns;
      return codes ? codes.slice(start, start + (shape.causal ? at + 1 : shape.columns)) : [];
    };
    const decode = (code) => {
      const share = table === "attention" ? code / 255 : code ? (code - 128) / 127 : NaN;
      return largest * share * Math.abs(share);
    };
    const exact = `${place}` === `${[layer, head, query]}`; // whether Python sent the very numbers of this row
    const weights = exact ? floatsOf(row) : Array.from(rowOf(a, query), decode);
    const written = (key) => `${exact ? "" : "≈ "}${number(weights[key], Math.abs(weights[key]) < 10 ? 4 : 1)}`;
    const keys = [...weights.keys()].filter((key) => isFinite(weights[key])).sort((one, other) => Math.abs(weights[other]) - Math.abs(weights[one]));
    const shown = hovered?.key ?? keys[0];
    for (const side of [a, b]) {
      if (!side.codes) continue;
      const { shape: { from, to, columns }, row: line, column, queries } = side, n = [0, 1].map((axis) => to[axis] - from[axis]);
      const at = Math.min(query, side.words.length - 1), codes = rowOf(side, at), looked = side.looked ?? side.tokens;
      const part = (count, axis) => `${(100 * count) / n[axis]}%`, inside = (index, axis) => index >= from[axis] && index < to[axis];
      set(line, { hidden: !inside(at, 0), style: { top: part(at - from[0], 0), height: part(1, 0), left: 0, width: "100%" } });
      set(column, { hidden: !inside(shown, 1), style: { left: part(shown - from[1], 1), width: part(1, 1), top: 0, height: "100%" } });
      queries.at(at);
      side.keys.at(shown);
      looked.forEach((token, key) => {
        const [background, ink] = key < codes.length ? [color, inkOn].map((of) => of(table, codes[key] / 255)) : ["", ""];
        set(token, { style: { background, color: ink } });
      });
      side.tokens.forEach((token, key) => {
        token.classList.toggle("focus", key === at);
        if (side === a) set(token, { tabIndex: key === at ? 0 : -1, "aria-pressed": key === at });
      });
    }
    const strong = (key) => (answer.keys || key !== query) && Math.abs(weights[key]) > 0.03 * largest;
    arcs.replaceChildren(...keys.slice(0, 12).filter(strong).map((key) => arc(query, key, weights[key] / largest, written(key))));
    const after = says[0].querySelector("h2"); // the prediction is that after the token that was chosen
    if (after) after.textContent = `${PREDICTS[predicts]} ${quoted(words[place[2]])}${query === place[2] ? "" : `; choose ${quoted(words[query])} to see it there`}`;
    const empty = padding.queries.includes(query) ? "is padding, and looks at nothing" : padding.keys.includes(shown) ? `→ ${quoted(a.seen[shown])}: no token looks there` : "";
    const told = empty || (causal && shown > query ? "cannot look ahead" : `→ ${quoted(a.seen[shown])}: ${isFinite(weights[shown]) ? written(shown) : "masked"}`);
    readout.textContent = shown === undefined ? "" : `${quoted(words[query])} ${told}`;
    const listed = [["token", "at", scores ? "score" : VIEWS[view]], ...keys.slice(0, 5).map((key) => [a.seen[key], key, written(key)])];
    most.replaceChildren(make("caption", {}, `${quoted(words[query])} (token ${query}) looks at`),
      ...listed.map((texts, at) => make("tr", {}, ...texts.map((text, column) => {
        if (!at) return make("th", { scope: "col" }, text);
        const share = column === 2 ? (100 * Math.abs(weights[texts[1]])) / largest : 0;
        return make("td", { className: column ? "" : "token", style: { backgroundImage: share && `linear-gradient(to right, var(--bar) ${share}%, transparent 0)` } }, text);
      }))));
    return `${quoted(words[query])} looks at ${keys.slice(0, 3).map((key) => `${quoted(a.seen[key])} ${number(weights[key])}`).join(", ")}`;
  }

  // An arrow from a token to one that it looks at: over their line, or from its line to the other.
  function arc(query, key, strength, weight) {
    const [x, toX] = [a.tokens[query], a.looked[key]].map((token) => token.offsetLeft + token.offsetWidth / 2), high = arcs.clientHeight || 60;
    const rise = Math.min(high - 4, 14 + Math.abs(x - toX) / 5) / 0.75;
    const d = answer.keys ? `M${x} 1 C${x} ${high / 2} ${toX} ${high / 2} ${toX} ${high - 8}`
      : `M${x} ${high} C${x} ${high - rise} ${toX} ${high - rise} ${toX} ${high - 7}`;
    const text = `${quoted(a.words[query])} → ${quoted(a.seen[key])}: ${weight}`;
    const group = svg("g", { class: strength < 0 ? "less" : "more" }, svg("title", {}, text),
      svg("path", { class: "near", d }), svg("path", { d, "stroke-width": 0.75 + 4 * Math.abs(strength) }),
      svg("path", { class: "head", d: `M${toX - 4} ${high - 8} h8 l-4 7 z` }));
    group.onpointerenter = () => { readout.textContent = text; };
    return group;
  }
  // Where the line of the text is longer than the page, the token in focus is to be seen.
  function reveal(room = 40) {
    const { offsetLeft, offsetWidth } = a.tokens[get("query")] ?? over;
    over.scrollLeft += Math.min(0, offsetLeft - over.scrollLeft - room) + Math.max(0, offsetLeft + offsetWidth + room - over.scrollLeft - over.clientWidth);
  }

  function choose(at) {
    stage.ask(places[at]);
    stage.announce(tiles[at].ariaLabel);
  }
  // Look at a token of A: with a click or a key to stay, else for as long as the pointer is there.
  function look(type, query, key) {
    if (query < 0 || query >= answer.rows) return;
    hovered = { query, key };
    const said = drawFocus();
    if (type !== "click") return;
    center = { query, key: key ?? query };
    hovered = null;
    stage.ask({ query });
    stage.announce(said);
    if (zoom.querySelector("input").value > 0) drawMatrices();
    reveal(type === "click" ? 0 : 40);
  }
  function seek(step) {
    const from = get("query") + step, { rows, words } = answer;
    const at = Array.from({ length: rows }, (_, i) => (from + i) % rows).find((i) => words[i].toLowerCase().includes(search.value.toLowerCase()));
    if (search.value && at !== undefined) { look("click", at); reveal(); }
  }
  over.onclick = over.onpointerover = ({ type, target }) => {
    const key = answer.keys ? a.looked.indexOf(target) : -1;
    if (key >= 0) look(type === "click" ? "" : type, get("query"), key);
    else look(type, a.tokens.indexOf(target));
  };
  a.matrix.onclick = a.matrix.onpointermove = ({ type, clientX, clientY }) => {
    const { left, top, width, height } = a.matrix.getBoundingClientRect(), { from, to } = a.shape;
    const at = (share, axis) => Math.max(from[axis], Math.min(to[axis] - 1, from[axis] + Math.floor(share * (to[axis] - from[axis]))));
    look(type, at((clientY - top) / height, 0), at((clientX - left) / width, 1));
  };
  a.matrix.onpointerleave = over.onpointerleave = () => {
    hovered = null;
    drawFocus();
  };
  b.strip.ondragover = (event) => { if (carried) event.preventDefault(); };
  b.strip.onclick = b.strip.ondrop = (event) => {
    event.preventDefault();
    drop(b.tokens.indexOf(event.target));
  };
  stage.root.onkeydown = (event) => {
    const { key, target } = event, typing = target.matches("textarea, input[type=text]");
    if (key === "Escape" && carried) carry(null);
    else if (key === "z" && (event.ctrlKey || event.metaKey) && !typing) undo.click();
    else if (["Delete", "Backspace"].includes(key) && tiles.includes(target)) removals[0].click();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const inGrid = () => {
    const grid = [];
    tiles.forEach((tile, at) => { grid[spots[at]] = tile; });
    return grid;
  };
  roving(montage, inGrid, () => across, (spot) => choose(spots.indexOf(spot)));
  roving(a.strip, () => a.tokens, () => a.tokens.length, (at) => look("click", at));
  roving(b.strip, () => b.tokens, () => b.tokens.length);

  stage.on("answer details layer head query", draw);
  const resized = new ResizeObserver(() => {
    if (drawn === sizes()) return;
    drawTiles();
    drawMatrices();
    drawFocus();
    reveal();
  });
  for (const box of boxes) resized.observe(box);
  stage.signal.addEventListener("abort", () => resized.disconnect());
  return () => stage.close();
}

export default { render };
