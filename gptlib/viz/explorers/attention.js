// The attention explorer: all heads small, one head large, the text with arcs, and what the model predicts.

const VIEWS = { weights: "weights", values: "× length of values", difference: "A − B" };
const SOURCES = ["head", "residual"];

const triangle = (n) => (n * (n + 1)) / 2;
const soft = (text) => make("span", { className: "soft" }, text);
const done = ({ do: how, by }) => (how === "scale" ? `output × ${by}` : `removed (${how})`);

// Paint heads of `size` tokens from their codes, each at its spot of a grid, `across` in a row.
function paintHeads(canvas, codes, size, table, spots = [0], across = 1) {
  const down = Math.floor(spots.at(-1) / across) + 1;
  const gap = Math.ceil(size / 12), pitch = size + gap, width = across * pitch - gap, height = down * pitch - gap;
  const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  spots.forEach((spot, at) => {
    const left = (spot % across) * pitch, top = Math.floor(spot / across) * pitch;
    paintTriangle(pixels, width, left, top, codes, at * triangle(size), size, tables[table]);
  });
  set(canvas, { width, height }).getContext("2d").putImageData(image, 0, 0);
}

function render({ model, el }) {
  const stage = open(model, el, "attention"), get = (name) => model.get(name);
  const { layers, heads, copies, editable, roles } = get("answer"), fixed = !stage.live || !editable;
  let answer, layer, head, chosen; // what is drawn; heads are counted layer by layer, and last the copy heads
  let hovered; // {query, key} under the pointer, before it is chosen
  let carried; // which of SOURCES is on its way to text B

  const across = Math.max(heads, copies);
  const places = Array.from({ length: layers * heads + copies }, (_, at) => {
    const layer = Math.min(Math.floor(at / heads), layers);
    return { layer, head: at - layer * heads };
  });
  const spots = places.map(({ layer, head }) => layer * across + head);
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

  // The chosen head on A and on B: a matrix with a cursor at the token in focus, and the tokens.
  const side = (label) => {
    const canvas = make("canvas"), cursor = div("cursor");
    const strip = make("div", { className: "strip", role: "group", "aria-label": label });
    return { canvas, cursor, strip, matrix: div("matrix hatched", canvas, cursor), tokens: [] };
  };
  const a = side("the tokens of A; choose the one that looks");
  const b = side("the tokens of B; patches land here");
  const texts = Object.entries({ text: "Text", text_b: "Text B, to compare with" }).map(([trait, title]) => {
    const box = make("textarea", { "aria-label": title, disabled: fixed });
    box.oninput = () => stage.ask({ [trait]: box.value, query: -1 });
    stage.on("answer", () => { if (document.activeElement !== box) box.value = get(trait); });
    return div("", make("h2", {}, title), box);
  });
  const views = choice("what is shown", VIEWS, get("view"), (view) => stage.ask({ view }));
  const role = make("select", { "aria-label": "find heads by role", onchange: drawFound },
    make("option", { value: "" }, "by role …"), ...Object.keys(roles).map((name) => make("option", {}, name)));
  const found = div("found row"), small = make("canvas");
  const tiles = places.map((_, at) =>
    make("button", { className: "tile", onclick: () => choose(at) }, make("span", { className: "mark" })));
  const rowName = (layer) => make("span", { className: "soft row-name" }, layer < layers ? layer : "copy");
  // What the canvas is not to be seen through: the ends of rows that are shorter than others.
  const gap = copies > 0 && copies !== heads && make("span", { className: "gap", style: { gridArea: copies < heads
    ? `${layers + 2} / ${copies + 2} / ${layers + 3} / ${across + 2}`
    : `2 / ${heads + 2} / ${layers + 2} / ${across + 2}` } });
  const montage = make("div", {
    className: copies ? "montage copying" : "montage", role: "group",
    "aria-label": `all heads: rows are layers, ${copies ? "the last the copy heads, " : ""}columns are heads`,
    style: { gridTemplateColumns: `var(--names) repeat(${across}, 1fr)` } },
  make("span"), ...Array.from({ length: across }, (_, head) => soft(head)),
  ...tiles.flatMap((tile, at) => (places[at].head ? [tile] : [rowName(places[at].layer), tile])), gap, small);

  const title = make("h2");
  const readout = make("p", { className: "readout" }), says = [div("says"), div("says b")];
  const arcs = svg("svg", { class: "arcs", "aria-hidden": "true" }), most = make("table", { className: "top" });
  const removals = ["zero", "mean"].map((how) => make("button", { value: how, disabled: fixed,
    onclick: () => alter(changeOf(chosen)?.do === how ? null : { do: how }) }, `remove (${how})`));
  const scale = slider("output ×", { min: -1, max: 3, step: 0.25, value: 1, show: number }, (by) =>
    alter(by === 1 ? null : { do: "scale", by }));
  scale.querySelector("input").disabled = fixed;
  const undo = make("button", { onclick: () => put(get("changes").slice(0, -1)) }, "undo");
  const list = make("ol", { className: "changes" });
  const doing = make("div", { className: "row", role: "group", "aria-label": "change this head" }, ...removals, scale, undo);
  const code = make("pre", { tabIndex: 0, "aria-label": "the changes as code" });
  const codeBox = make("details", {}, make("summary", {}, code.ariaLabel), code);
  const chips = SOURCES.map((value) => make("button", { className: "chip", value, draggable: true,
    ondragstart(event) { event.dataTransfer.setData("text/plain", value); carry(value); },
    ondragend: () => carry(null),
    onclick() { carry(carried === value ? null : value); if (carried) b.tokens[0].focus(); } }));
  const patching = div("row carry", make("span", {}, "Patch into B:"), ...chips,
    soft("drag one onto a token of B, or press it and choose the token (Escape: never mind)"));

  for (const part of [texts[1], views, doing]) part.hidden = !editable;
  stage.root.append(
    div("texts", ...texts),
    div("row", views, make("label", {}, "find heads: ", role), found),
    div("columns",
      div("all", make("h2", {}, "All heads (row: layer, column: head)"), montage),
      div("one", title, a.matrix, readout), says[0],
      div("other", make("h2", {}, "The same head on B"), b.matrix), says[1], most),
    doing, list,
    make("h2", {}, "Where the token looks"), div("over", a.strip, arcs),
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
    const news = answer !== (answer = get("answer")), { size, whole, table, words } = answer, part = triangle(size);
    [layer, head] = [get("layer"), get("head")];
    chosen = layer * heads + head;
    if (news) drawAnswer();
    const { place, cells, cells_b: cellsB, next, next_b: nextB } = get("details"), change = changeOf(chosen);
    const here = place[0] * heads + place[1] === chosen;
    a.codes = whole ? bytesOf(answer.cells).subarray(chosen * part, (chosen + 1) * part) : here && bytesOf(cells);
    b.codes = here && cellsB && bytesOf(cellsB);
    for (const { matrix, canvas, codes, size } of [a, b]) {
      matrix.hidden = !codes;
      if (codes) paintHeads(canvas, codes, size, table);
    }
    title.textContent = nameOf(chosen);
    tiles.forEach((tile, at) => {
      const change = changeOf(at), label = change ? `${nameOf(at)}, ${done(change)}` : nameOf(at);
      set(tile, { tabIndex: at === chosen ? 0 : -1, "aria-pressed": at === chosen, "aria-label": label });
      tile.classList.toggle("changed", Boolean(change));
      tile.firstChild.textContent = !change ? "" : change.do === "scale" ? `×${change.by}` : "✕";
    });
    for (const button of removals) button.ariaPressed = change?.do === button.value;
    scale.show(change?.by ?? 1);
    const sources = { head: "this head",
      residual: `the residual stream into ${layer < layers ? "this layer" : "the copy heads"}` };
    for (const chip of chips) chip.textContent = `${sources[chip.value]} at ${words[place[2]]}`;
    const predicted = (where, rows = []) => (rows.length ? [make("h2", {}, where), bars(rows)] : []);
    says[0].replaceChildren(...predicted(`After ${words[place[2]]}`, next));
    says[1].replaceChildren(...predicted("At the end of B", nextB));
    drawFocus();
  }

  function drawAnswer() {
    const { words, words_b: wordsB, thumbnail, cells, table, view } = answer, changes = get("changes");
    for (const [side, size, texts, name] of [[a, answer.size, words, "token"], [b, wordsB.length, wordsB, "token of B"]]) {
      side.size = size;
      side.tokens = texts.map((text, at) =>
        make("button", { className: "token", tabIndex: at ? -1 : 0, title: `${name} ${at}` }, text));
      side.strip.replaceChildren(...side.tokens);
    }
    patching.hidden = b.strip.hidden = !answer.patching || fixed;
    carry(null);
    views.show(view);
    set(views.lastElementChild, { disabled: !wordsB[0], title: "needs a second text" });
    paintHeads(small, bytesOf(cells), thumbnail, table, spots, across);
    undo.disabled = fixed || !changes.length;
    list.replaceChildren(...changes.map((change, at) => make("li", {}, `${told(change)} `, make("button", {
      disabled: fixed, "aria-label": `take back: ${told(change)}`, onclick: () => put(changes.toSpliced(at, 1)) }, "✕"))));
    codeBox.hidden = !answer.code;
    code.textContent = answer.code;
    drawFound();
  }

  function drawFound() {
    const ranked = answer.roles[role.value] ?? [], none = ranked.length ? "" : "this text gives no occasion for it: ";
    found.replaceChildren(...ranked.map(({ layer, head, score }) => {
      const at = layer * heads + head;
      const row = layer < layers ? layer : "copy";
      return make("button", { title: nameOf(at), onclick: () => choose(at) }, `${row}.${head}  ${number(score)}`);
    }), soft(role.value && `${none}share of attention on ${answer.meaning[role.value]}`));
  }

  // The token in focus: what it looks at, and how much. Gives that as a sentence.
  function drawFocus() {
    const { size, table, largest, view, words } = answer, { place, row } = get("details");
    const asked = hovered?.query ?? get("query"), query = asked < 0 || asked >= size ? size - 1 : asked;
    const rowOf = (codes, at) => (codes || []).slice(triangle(at), triangle(at + 1));
    for (const side of [a, b]) {
      const at = Math.min(query, side.size - 1), codes = rowOf(side.codes || a.codes, at);
      const part = (count) => `${(100 * count) / side.size}%`;
      set(side.cursor, { style: { top: part(at), height: part(1), width: part(at + 1) } });
      side.tokens.forEach((token, key) => {
        const [background, ink] = key < codes.length ? [color, inkOn].map((of) => of(table, codes[key] / 255)) : ["", ""];
        set(token, { style: { background, color: ink } }).classList.toggle("focus", key === at);
        if (side === a) set(token, { tabIndex: key === at ? 0 : -1, "aria-pressed": key === at });
      });
    }
    const decode = (code) => {
      const share = table === "attention" ? code / 255 : (code - 128) / 127;
      return largest * share * Math.abs(share);
    };
    const exact = `${place}` === `${[layer, head, query]}`; // whether Python sent the very numbers of this row
    const weights = exact ? floatsOf(row) : Array.from(rowOf(a.codes, query), decode);
    const written = (key) => `${exact ? "" : "≈ "}${number(weights[key], 4)}`;
    const keys = [...weights.keys()].sort((one, other) => Math.abs(weights[other]) - Math.abs(weights[one]));
    const strong = (key) => key !== query && Math.abs(weights[key]) > 0.03 * largest;
    arcs.replaceChildren(...keys.slice(0, 12).filter(strong).map((key) => arc(query, key, weights[key] / largest)));
    const shown = hovered?.key ?? keys[0];
    const seen = shown > query ? "cannot look ahead" : `→ ${words[shown]}: ${written(shown)}`;
    readout.textContent = shown === undefined ? "" : `${words[query]} ${seen}`;
    const rows = [["token", "at", VIEWS[view]], ...keys.slice(0, 6).map((key) => [words[key], key, written(key)])];
    most.replaceChildren(make("caption", {}, `${words[query]} (token ${query}) looks at`),
      ...rows.map((texts, at) => make("tr", {}, ...texts.map((text, column) =>
        (at ? make("td", { className: column ? "" : "token" }, text) : make("th", { scope: "col" }, text))))));
    return `${words[query]} looks at ${keys.slice(0, 3).map((key) => `${words[key]} ${number(weights[key])}`).join(", ")}`;
  }

  // From one token to another, over the lines of the text.
  function arc(query, key, strength) {
    const [x, toX] = [query, key].map((at) => a.tokens[at].offsetLeft + a.tokens[at].offsetWidth / 2);
    const [y, toY] = [query, key].map((at) => a.tokens[at].offsetTop + 2);
    const rise = 8 + Math.min(18, Math.abs(x - toX) / 6);
    return svg("path", { class: strength < 0 ? "less" : "more", "stroke-width": 0.75 + 4 * Math.abs(strength),
      d: `M${x} ${y} C${x} ${y - rise} ${toX} ${toY - rise} ${toX} ${toY}` });
  }

  function choose(at) {
    stage.ask(places[at]);
    stage.announce(tiles[at].ariaLabel);
  }
  // Look at a token of A: with a click or a key to stay, else for as long as the pointer is there.
  function look(type, query, key) {
    if (query < 0 || query >= a.size) return;
    hovered = { query, key };
    const said = drawFocus();
    if (type !== "click") return;
    hovered = null;
    stage.ask({ query });
    stage.announce(said);
  }
  a.strip.onclick = a.strip.onpointerover = ({ type, target }) => look(type, a.tokens.indexOf(target));
  a.matrix.onclick = a.matrix.onpointermove = ({ type, clientX, clientY }) => {
    const { left, top, width, height } = a.matrix.getBoundingClientRect();
    const at = (share) => Math.max(0, Math.min(a.size - 1, Math.floor(share * a.size)));
    const query = at((clientY - top) / height), key = at((clientX - left) / width);
    look(type, query, key);
  };
  a.matrix.onpointerleave = a.strip.onpointerleave = () => {
    hovered = null;
    drawFocus();
  };
  b.strip.ondragover = (event) => { if (carried) event.preventDefault(); };
  b.strip.onclick = b.strip.ondrop = (event) => {
    event.preventDefault();
    drop(b.tokens.indexOf(event.target));
  };
  stage.root.onkeydown = (event) => {
    const { key, target } = event, typing = target.matches("textarea");
    if (key === "Escape" && carried) carry(null);
    else if (key === "z" && (event.ctrlKey || event.metaKey) && !typing) undo.click();
    else if (["Delete", "Backspace"].includes(key) && tiles.includes(target)) removals[0].click();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const grid = [];
  tiles.forEach((tile, at) => { grid[spots[at]] = tile; });
  roving(montage, () => grid, () => across, (spot) => choose(spots.indexOf(spot)));
  roving(a.strip, () => a.tokens, () => a.tokens.length, (at) => look("click", at));
  roving(b.strip, () => b.tokens, () => b.tokens.length);

  stage.on("answer details layer head query", draw);
  const resized = new ResizeObserver(drawFocus);
  resized.observe(a.strip);
  stage.signal.addEventListener("abort", () => resized.disconnect());
  return () => stage.close();
}

export default { render };
