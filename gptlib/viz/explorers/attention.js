// The attention explorer: all heads small, one head large, the text with arcs, and what the model predicts.

export default {
  render({ model, el }) {
    const stage = open(model, el, "attention");
    const get = (name) => model.get(name);
    const { layers, heads } = get("answer");
    let hovered = null; // the query under the pointer, before it is chosen
    let carried = null; // what is being dragged onto text B

    // --- what was sent, as numbers
    const answer = () => get("answer");
    const cells = () => bytesOf(answer().cells);
    const triangle = (n) => (n * (n + 1)) / 2;
    const decode = (byte) => {
      const { largest, table } = answer();
      if (table === "attention") return largest * (byte / 255) ** 2;
      const share = (byte - 128) / 127;
      return largest * share * Math.abs(share);
    };
    // Whether the details that are here are those of the chosen head.
    const detailed = () => get("details").place?.[0] === get("layer") && get("details").place[1] === get("head");
    // The codes of the chosen head, and its exact numbers where the row in focus was sent.
    const chosenCells = () => {
      const { whole, size } = answer(), per = triangle(size);
      if (!whole) return detailed() ? bytesOf(get("details").cells) : null;
      const start = (get("layer") * heads + get("head")) * per;
      return cells().subarray(start, start + per);
    };
    const focus = () => Math.min(hovered ?? get("query"), answer().size - 1);
    const row = () => {
      const query = focus(), { row, place } = get("details");
      if (row && detailed() && place[2] === query) return [...floatsOf(row)];
      const codes = chosenCells();
      return codes ? [...codes.subarray(triangle(query), triangle(query + 1))].map(decode) : [];
    };
    const exact = () => detailed() && get("details").place[2] === focus();
    const word = (at) => answer().words[at];
    const changeOf = (layer, head) =>
      [...get("changes")].reverse().find((change) => change.do !== "patch" && change.layer === layer && change.head === head);

    // --- the parts
    const textA = make("textarea", { value: get("text"), rows: 2, "aria-label": "text A", disabled: !stage.live || !answer().editable });
    const textB = make("textarea", { value: get("text_b"), rows: 2, "aria-label": "text B, to compare with", disabled: !stage.live });
    const boxB = make("div", { className: "text-b" }, make("h2", { textContent: "B, to compare with" }), textB);
    const views = choice(stage, "what is shown", { weights: "weights", values: "× length of values", difference: "A − B" },
      get("view"), (key) => stage.ask({ view: key }));
    const role = make("select", { "aria-label": "find heads by role" });
    const found = make("div", { className: "found row" });
    const montage = make("div", { className: "montage", role: "group", "aria-label": "all heads: rows are layers, columns are heads",
      style: { gridTemplateColumns: `3ch repeat(${heads}, 1fr)` } });
    const small = make("canvas", { "aria-hidden": "true" });
    const tiles = [];
    // The chosen head on A and on B: a matrix, and a cursor at the token in focus that both share.
    const [matrix, matrixB] = ["matrix", "matrix small"].map((className) => {
      const canvas = make("canvas", { "aria-hidden": "true" }), cursor = make("div", { className: "cursor" });
      return Object.assign(make("div", { className: `${className} hatched` }, canvas, cursor), { canvas, cursor });
    });
    const titleB = make("h2", { textContent: "The same head on B" });
    const matrixTitle = make("h2");
    const readout = make("p", { className: "readout" });
    const stripA = make("div", { className: "strip", role: "group", "aria-label": "the tokens of A; choose the one that looks" });
    const stripB = make("div", { className: "strip", role: "group", "aria-label": "the tokens of B; patches land here" });
    const arcs = svg("svg", { class: "arcs", "aria-hidden": "true" });
    const weightsTable = make("table", { className: "top" });
    const barsA = make("div"), barsB = make("div");
    const doing = make("div", { className: "row", role: "group", "aria-label": "change the chosen head" });
    const list = make("ol", { className: "changes" });
    const code = make("pre", { tabIndex: 0, "aria-label": "the changes as code" });
    const codeBox = make("details", {}, make("summary", { textContent: "the changes as code" }), code);
    const carry = make("div", { className: "row carry" });

    // --- all heads
    montage.append(make("span"));
    for (let head = 0; head < heads; head++) montage.append(make("span", { className: "soft", textContent: head }));
    for (let layer = 0; layer < layers; layer++) {
      montage.append(make("span", { className: "soft", textContent: layer }));
      for (let head = 0; head < heads; head++) {
        const tile = make("button", { type: "button", className: "tile", tabIndex: -1 });
        tile.append(make("span", { className: "mark", "aria-hidden": "true" }));
        stage.listen(tile, "click", () => choose(layer, head));
        tiles.push(tile);
        montage.append(tile);
      }
    }
    montage.append(small);
    roving(stage, montage, () => tiles, () => heads, (at) => choose(Math.floor(at / heads), at % heads));
    stage.listen(montage, "keydown", (event) => {
      if (event.key === "Delete" || event.key === "Backspace") { event.preventDefault(); toggle("zero"); }
    });

    function choose(layer, head) {
      stage.ask({ layer, head });
      drawChoice();
      stage.announce(`layer ${layer}, head ${head}${changeOf(layer, head) ? ", changed" : ""}`);
    }

    function drawMontage() {
      const { thumbnail, table } = answer(), per = triangle(thumbnail), gap = Math.ceil(thumbnail / 12);
      const pitch = thumbnail + gap, width = heads * pitch - gap, height = layers * pitch - gap;
      small.width = width;
      small.height = height;
      const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer), bytes = cells();
      for (let at = 0; at < layers * heads; at++)
        paintTriangle(pixels, width, (at % heads) * pitch, Math.floor(at / heads) * pitch, bytes, at * per, thumbnail, tables[table]);
      small.getContext("2d").putImageData(image, 0, 0);
    }

    function drawChoice() {
      const at = get("layer") * heads + get("head");
      const focused = tiles.includes(document.activeElement);
      tiles.forEach((tile, index) => {
        const layer = Math.floor(index / heads), head = index % heads, change = changeOf(layer, head);
        tile.tabIndex = index === at ? 0 : -1;
        tile.setAttribute("aria-pressed", index === at);
        tile.setAttribute("aria-label", `layer ${layer}, head ${head}${change ? `, ${describe(change)}` : ""}`);
        tile.firstChild.textContent = change ? (change.do === "scale" ? `×${change.by}` : "✕") : "";
        tile.classList.toggle("changed", Boolean(change));
      });
      if (focused) tiles[at].focus();
      const change = changeOf(get("layer"), get("head"));
      matrixTitle.textContent = `Layer ${get("layer")}, head ${get("head")}`;
      for (const button of buttons) button.setAttribute("aria-pressed", change?.do === button.value);
      scale.show(change?.do === "scale" ? change.by : 1);
      drawLarge();
    }

    // --- one head, large
    function drawLarge() {
      const codesB = detailed() && get("details").cells_b;
      drawMatrix(matrix, chosenCells(), answer().size);
      drawMatrix(matrixB, codesB && bytesOf(codesB), answer().words_b.length);
      titleB.hidden = matrixB.hidden;
      drawFocus();
    }

    function drawMatrix(matrix, codes, size) {
      matrix.hidden = !codes;
      if (!codes) return;
      matrix.canvas.width = matrix.canvas.height = size;
      const image = new ImageData(size, size);
      paintTriangle(new Uint32Array(image.data.buffer), size, 0, 0, codes, 0, size, tables[answer().table]);
      matrix.canvas.getContext("2d").putImageData(image, 0, 0);
    }

    function drawCursor(matrix, query, size) {
      const side = 100 / size, at = Math.min(query, size - 1);
      set(matrix.cursor, { style: { top: `${at * side}%`, height: `${side}%`, width: `${(at + 1) * side}%` } });
    }

    const cellAt = (event) => {
      const box = matrix.getBoundingClientRect(), { size } = answer();
      const at = (share) => Math.max(0, Math.min(size - 1, Math.floor(share * size)));
      return [at((event.clientY - box.top) / box.height), at((event.clientX - box.left) / box.width)];
    };
    stage.listen(matrix, "pointermove", (event) => {
      const [query, key] = cellAt(event);
      hovered = query;
      drawFocus(key <= query ? key : null);
    });
    stage.listen(matrix, "pointerleave", () => { hovered = null; drawFocus(); });
    stage.listen(matrix, "click", (event) => { hovered = null; focusOn(cellAt(event)[0]); });

    // --- the text
    const fillStrip = (strip, words, label) => strip.replaceChildren(...words.map((text, at) => make("button", {
      type: "button", className: "token", textContent: text, value: at, tabIndex: at === 0 ? 0 : -1, title: `${label} ${at}` })));
    const tokensOf = (strip) => [...strip.querySelectorAll("button")];
    function focusOn(query) {
      stage.ask({ query });
      drawFocus();
      stage.announce(`${word(query)} looks at ${topKeys(3).map(([key, weight]) => `${word(key)} ${number(weight)}`).join(", ")}`);
    }
    stage.listen(stripA, "click", (event) => { if (event.target.value !== undefined && +event.target.value < answer().size) focusOn(+event.target.value); });
    roving(stage, stripA, () => tokensOf(stripA), () => tokensOf(stripA).length, (at) => { if (at < answer().size) focusOn(at); });
    stage.listen(stripA, "pointerover", (event) => { if (+event.target.value < answer().size) { hovered = +event.target.value; drawFocus(); } });
    stage.listen(stripA, "pointerleave", () => { hovered = null; drawFocus(); });

    const topKeys = (count) => row().map((weight, key) => [key, weight])
      .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, count);

    function drawFocus(key = null) {
      const { size, table, largest, view, words_b: wordsB } = answer(), query = focus(), weights = row();
      const queryB = Math.min(query, wordsB.length - 1);
      drawCursor(matrix, query, size);
      drawCursor(matrixB, queryB, wordsB.length);
      const share = (weight) => table === "attention" ? Math.sqrt(weight / largest)
        : 0.5 + 0.5 * Math.sign(weight) * Math.sqrt(Math.abs(weight) / largest);
      const paint = (strip, weights, query) => tokensOf(strip).forEach((token, at) => {
        const has = at < weights.length;
        token.style.background = has ? colour(table, share(weights[at])) : "";
        token.style.color = has ? inkOn(table, share(weights[at])) : "";
        token.classList.toggle("focus", at === query);
        if (strip === stripA) { token.tabIndex = at === query ? 0 : -1; token.setAttribute("aria-pressed", at === query); }
      });
      paint(stripA, weights, query);
      const codesB = detailed() && get("details").cells_b;
      paint(stripB, codesB ? [...bytesOf(codesB).subarray(triangle(queryB), triangle(queryB + 1))].map(decode) : weights, queryB);
      drawArcs(query, weights, largest);
      const sign = exact() ? "" : "≈ ";
      const shown = key === null ? topKeys(1)[0]?.[0] : key;
      readout.textContent = shown === undefined ? "" : `${word(query)} → ${word(shown)}: ${sign}${number(weights[shown], 4)}`;
      const caption = { weights: "weight", values: "weight × length of value", difference: "A − B" }[view];
      weightsTable.replaceChildren(
        make("caption", { textContent: `${word(query)} (token ${query}) looks at` }),
        make("tr", {}, make("th", { textContent: "token", scope: "col" }), make("th", { textContent: "at", scope: "col" }), make("th", { textContent: caption, scope: "col" })),
        ...topKeys(6).map(([at, weight]) => make("tr", {}, make("td", { className: "token", textContent: word(at) }),
          make("td", { textContent: at }), make("td", { textContent: sign + number(weight, 4) }))));
    }

    // Arcs from the token in focus to those it looks at, over the lines of the text.
    function drawArcs(query, weights, largest) {
      const all = tokensOf(stripA), frame = stripA.getBoundingClientRect(), from = all[query]?.getBoundingClientRect();
      arcs.replaceChildren();
      if (!from || !frame.width) return;
      arcs.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
      const x = (box) => box.left + box.width / 2 - frame.left, y = (box) => box.top - frame.top + 2;
      for (const [key, weight] of topKeys(12)) {
        const strength = Math.abs(weight) / largest;
        if (key === query || strength < 0.03) continue;
        const to = all[key].getBoundingClientRect(), rise = 8 + Math.min(18, Math.abs(x(from) - x(to)) / 6);
        arcs.append(svg("path", {
          d: `M${x(from)} ${y(from)} C${x(from)} ${y(from) - rise} ${x(to)} ${y(to) - rise} ${x(to)} ${y(to)}`,
          "stroke-width": (0.75 + 4 * strength).toFixed(2), class: weight < 0 ? "less" : "more" }));
      }
    }

    // --- changing the model
    const describe = (change) => change.do === "scale" ? `output × ${change.by}`
      : change.do === "patch" ? `${change.head === null ? "residual stream into" : `head ${change.head} of`} layer ${change.layer}: A's token ${change.source} onto B's token ${change.target}`
      : `removed (${change.do})`;
    const put = (changes) => stage.ask({ changes });
    const without = (layer, head) => get("changes").filter((change) => change.do === "patch" || change.layer !== layer || change.head !== head);
    function toggle(how) {
      const layer = get("layer"), head = get("head"), removed = changeOf(layer, head)?.do === how;
      put(removed ? without(layer, head) : [...without(layer, head), { do: how, layer, head }]);
      stage.announce(removed ? "head put back" : `head removed (${how})`);
    }
    const buttons = [["zero", "remove (zero)"], ["mean", "remove (mean)"]].map(([value, textContent]) => {
      const button = make("button", { type: "button", value, textContent, disabled: !stage.live || !answer().editable });
      stage.listen(button, "click", () => toggle(value));
      return button;
    });
    const scale = slider(stage, "output ×", { min: -1, max: 3, step: 0.25, value: 1, show: (by) => number(by) }, (by) => {
      const layer = get("layer"), head = get("head");
      put(by === 1 ? without(layer, head) : [...without(layer, head), { do: "scale", layer, head, by }]);
    });
    scale.querySelector("input").disabled = !stage.live || !answer().editable;
    const undo = make("button", { type: "button", textContent: "undo" });
    const back = () => { put(get("changes").slice(0, -1)); stage.announce("last change undone"); };
    stage.listen(undo, "click", back);
    stage.listen(stage.root, "keydown", (event) => {
      if (event.key === "Escape" && carried) { pick(null); event.stopPropagation(); }
      const typing = event.target.matches("textarea, input[type=text]");
      if (event.key === "z" && (event.ctrlKey || event.metaKey) && !typing && get("changes").length) { event.preventDefault(); event.stopPropagation(); back(); }
    });
    doing.append(...buttons, scale, undo);

    function drawChanges() {
      const changes = get("changes");
      undo.disabled = !stage.live || !changes.length;
      list.replaceChildren(...changes.map((change, at) => {
        const drop = make("button", { type: "button", textContent: "✕", "aria-label": `take back: ${describe(change)}`, disabled: !stage.live });
        drop.addEventListener("click", () => put(changes.filter((_, index) => index !== at)), { signal: stage.signal });
        return make("li", {}, change.do === "patch" ? "" : `layer ${change.layer} head ${change.head}: `, describe(change), " ", drop);
      }));
      codeBox.hidden = !answer().code;
      code.textContent = answer().code;
    }

    // --- patching: what A computed at a token, dragged (or picked up with Enter) onto a token of B
    const sources = [["head", () => `this head at ${word(get("query"))}`], ["residual", () => `the residual stream into this layer at ${word(get("query"))}`]]
      .map(([value, label]) => {
        const chip = make("button", { type: "button", className: "chip", value, draggable: true });
        chip.label = label;
        stage.listen(chip, "dragstart", (event) => { event.dataTransfer.setData("text/plain", value); pick(value); });
        stage.listen(chip, "dragend", () => pick(null));
        stage.listen(chip, "click", () => { pick(carried === value ? null : value); if (carried) tokensOf(stripB)[0]?.focus(); });
        return chip;
      });
    const hint = make("span", { className: "soft" });
    carry.append(make("span", { textContent: "Patch into B:" }), ...sources, hint);
    function pick(value) {
      carried = value;
      sources.forEach((chip) => chip.setAttribute("aria-pressed", chip.value === value));
      stripB.classList.toggle("ready", Boolean(value));
      hint.textContent = value ? "now choose a token of B (Escape: never mind)" : "drag one onto a token of B, or press it and choose the token";
    }
    function drop(target) {
      if (!carried) return;
      put([...get("changes"), { do: "patch", layer: get("layer"), head: carried === "head" ? get("head") : null, source: get("query"), target }]);
      stage.announce(`patched onto token ${target} of B`);
      pick(null);
    }
    stage.listen(stripB, "click", (event) => { if (event.target.value !== undefined) drop(+event.target.value); });
    stage.listen(stripB, "dragover", (event) => { if (carried && event.target.value !== undefined) event.preventDefault(); });
    stage.listen(stripB, "drop", (event) => { event.preventDefault(); if (event.target.value !== undefined) drop(+event.target.value); });
    roving(stage, stripB, () => tokensOf(stripB), () => tokensOf(stripB).length);

    // --- roles
    stage.listen(role, "change", drawFound);
    function drawFound() {
      const ranked = answer().roles[role.value] ?? [];
      found.replaceChildren(...(ranked.length ? ranked.map(({ layer, head, score }) => {
        const button = make("button", { type: "button", textContent: `${layer}.${head}  ${number(score)}`, title: `layer ${layer}, head ${head}` });
        button.addEventListener("click", () => choose(layer, head), { signal: stage.signal });
        return button;
      }) : [make("span", { className: "soft", textContent: role.value ? "this text gives no occasion for it" : "" })]),
      make("span", { className: "soft", textContent: role.value ? `share of attention on ${answer().meaning[role.value]}` : "" }));
    }

    // --- typing
    for (const [area, trait] of [[textA, "text"], [textB, "text_b"]])
      stage.listen(area, "input", () => stage.ask({ [trait]: area.value, query: -1 }));

    stage.root.append(
      make("div", { className: "texts" }, make("div", {}, make("h2", { textContent: "Text" }), textA), boxB),
      make("div", { className: "row" }, views, make("label", {}, "find heads: ", role), found),
      make("div", { className: "columns" },
        make("div", { className: "all" }, make("h2", { textContent: "All heads (row: layer, column: head)" }), montage),
        make("div", { className: "one" }, matrixTitle, matrix, readout, titleB, matrixB),
        make("div", { className: "says" }, barsA, barsB)),
      doing, list,
      make("h2", { textContent: "Where the token looks" }), make("div", { className: "over" }, stripA, arcs),
      carry, stripB, weightsTable, codeBox);

    stage.on("answer", () => {
      const { words, words_b: wordsB, roles, patching } = answer(), kept = role.value;
      if (document.activeElement !== textA) textA.value = get("text");
      if (document.activeElement !== textB) textB.value = get("text_b");
      role.replaceChildren(make("option", { value: "", textContent: "by role …" }), ...Object.keys(roles).map((name) => make("option", { value: name, textContent: name })));
      role.value = kept;
      boxB.hidden = !answer().editable;
      views.hidden = !answer().editable;
      doing.hidden = !answer().editable;
      carry.hidden = stripB.hidden = !patching || !stage.live;
      fillStrip(stripA, words, "token");
      fillStrip(stripB, wordsB, "token of B");
      pick(null);
      views.show(answer().view);
      drawMontage();
      drawChoice();
      drawChanges();
      drawFound();
    });
    stage.on("layer head", drawChoice);
    stage.on("query", () => drawFocus());
    stage.on("details", () => {
      const { next, next_b: nextB, place } = get("details");
      drawLarge();
      sources.forEach((chip) => { chip.textContent = chip.label(); });
      barsA.replaceChildren(...(next.length ? [make("h2", { textContent: `After ${word(place[2])}` }), bars(next)] : []));
      barsB.replaceChildren(...(nextB ? [make("h2", { textContent: "At the end of B" }), bars(nextB)] : []));
    });
    const resized = new ResizeObserver(() => drawFocus());
    resized.observe(stripA);
    stage.signal.addEventListener("abort", () => resized.disconnect());
    return () => stage.close();
  },
};
