// Activation patching: a table of layers and positions (or heads), each cell a run that Python made. What the
// model says after each is here, so pointing needs no kernel; other texts and parts do.

const TIPS = {
  residual_pre: "all that the layers before have written into the stream at a position",
  "attention.output": "what the layer's attention adds to the stream at a position",
  "mlp.output": "what the layer's MLP adds to the stream at a position",
  "attention.heads": "what one head reads, at all positions at once",
};

export default {
  render({ model, el }) {
    const stage = open(model, el, "patching", "Each cell is a run in which the model reads the corrupted text with one " +
      "activation of the clean one: orange where that brings the clean text's next token back. Point at a cell to see " +
      "what the model then says.");
    const fixed = !stage.live, get = (trait) => model.get(trait);
    const pins = {}; // for each part the cell that the reader chose
    let answer, chosen, part; // chosen: the cell that stays when the pointer leaves

    const text = (name, tip) => make("input", { type: "text", value: get(name), readOnly: fixed, spellcheck: false,
      "aria-label": `${name} text`, title: `${tip}; ${fixed ? `changing it needs ${stage.lacks}` : "it needs as many tokens as the other"}`,
      oninput({ target }) { stage.ask({ [name]: target.value }); check(); } });
    const boxes = { clean: text("clean", "activations are taken from it"), corrupted: text("corrupted", "the model reads it") };
    const parts = choice("What is patched", get("answer").parts, get("part"), (to) => {
      parts.show(part = to);
      stage.ask({ part });
      check();
    });
    for (const button of parts.children) button.title = TIPS[button.value];
    const note = make("span", { className: "note" }, "Below: still the texts and the part from before.");
    const table = make("table", { onmouseleave: () => show(chosen) });
    const title = make("h2"), axes = make("p", { className: "soft" }), legend = div("legend"), said = div("said");
    const whole = ["clean", "corrupted"].map((name) => div("whole", make("h2", {}, `After the ${name} text`)));
    const view = div("columns main-view",
      div("all", title, axes, make("div", { className: "map", role: "region", tabIndex: -1, "aria-label": "The map" }, table), legend),
      div("columns says", said, ...whole));
    stage.root.append(
      div("texts", ...Object.entries(boxes).map(([name, box]) => make("label", {}, name, box))),
      make("p", { className: "soft", hidden: !fixed }, `Changing the texts or the part needs ${stage.lacks}. Every cell answers.`),
      set(div("row", "patched:", parts, note), { hidden: fixed }), view);

    // What is drawn is stale while it is not of what stands in the boxes.
    function check() {
      const { of } = answer, stale = !fixed && (part !== of.part || Object.entries(boxes).some(([name, box]) => box.value !== of[name]));
      view.classList.toggle("stale", stale);
      view.ariaBusy = stale;
      note.style.visibility = stale ? "visible" : "hidden";
    }

    const cells = () => [...table.querySelectorAll("button")];
    function place(at) {
      const { columns, of } = answer, layer = `layer ${Math.floor(at / columns.length)}`, column = columns[at % columns.length];
      return of.part === "attention.heads" ? `${column} of ${layer}` : `${layer}, “${column}”`;
    }
    // What the model says with that cell patched. Gives the first line.
    function show(at) {
      const line = `Patched at ${place(at)}: ${number(answer.cells[at])} of the way back to “${answer.words[0]}”`;
      said.replaceChildren(make("h2", {}, line), bars(answer.says[at]), make("p", { className: "soft" }, "Marks on the bars: without the patch."));
      return line;
    }
    function choose(at) {
      chosen = at;
      cells().forEach((cell, index) => set(cell, { "aria-pressed": index === at, tabIndex: index === at ? 0 : -1 }));
      stage.announce(show(at));
    }
    const pin = (at) => choose(pins[answer.of.part] = at);
    roving(table, cells, () => answer.columns.length, pin);

    stage.on("answer", () => {
      answer = get("answer");
      const { columns, clean, differs, of, words: [right, wrong], cells: values } = answer, heads = of.part === "attention.heads";
      const wide = columns.length;
      title.textContent = `How far the next token goes from “${wrong}” back to “${right}”`;
      const head = columns.map((word, at) => {
        const other = !heads && differs[at];
        return make("th", { scope: "col", className: other ? "differs" : "",
          title: heads ? word : `position ${at}: “${word}”${other ? `, in the clean text “${clean[at]}”` : ""}` },
        make("span", { className: "token" }, other ? `${clean[at]}/${word}` : word));
      });
      const row = (layer) => make("tr", {}, make("th", { scope: "row" }, `layer ${layer}`),
        ...columns.map((_, column) => {
          const at = layer * wide + column, value = values[at], name = `${place(at)}: ${number(value)}`;
          const cell = make("button", { tabIndex: -1, "aria-label": name, title: name, className: value < 0 ? "away" : "",
            onclick: () => pin(at), onmouseenter: () => show(at) }, Math.abs(value) < 0.05 ? "" : number(value, 1));
          cell.style.setProperty("--share", `${100 * Math.min(1, Math.abs(value))}%`);
          return make("td", {}, cell);
        }));
      // Where each layer finds as much.
      const stays = columns.findIndex((_, column) => of.part === "residual_pre" && answer.rows > 1 && column < wide - 1 &&
        values.every((value, at) => at % wide !== column || (value > 0.5 && Math.abs(value - values[column]) < 0.05)));
      axes.textContent = `Each cell patches ${TIPS[of.part]}. Rows: layers. Columns: ${heads ? "heads" : "positions (bold: the texts differ, clean/corrupted)"}.` +
        (stays >= 0 ? ` In every layer the stream at “${clean[stays]}” is enough; choose another part to see what wrote it and what reads it.` : "");
      table.replaceChildren(make("thead", {}, make("tr", {}, make("td"), ...head)),
        make("tbody", {}, ...Array.from({ length: answer.rows }, (_, layer) => row(layer))));
      legend.title = `The logit of “${right}” minus that of “${wrong}”: 0 as after the corrupted text, 1 as after the clean one`;
      legend.replaceChildren(div("ramp"), ...["−1: further off", `0: still “${wrong}”`, `1: back to “${right}”`].map((text) =>
        make("span", {}, text)));
      for (const [name, box] of Object.entries(boxes)) if (document.activeElement !== box) box.value = get(name);
      whole.forEach((box, at) => box.replaceChildren(box.firstChild, bars(answer.whole[at])));
      choose(pins[of.part] < values.length ? pins[of.part] : values.indexOf(Math.max(...values)));
    });
    stage.on("part", () => parts.show(part = get("part")));
    stage.on("answer part clean corrupted", check);
    return () => stage.close();
  },
};
