// Activation patching: a table of layers and positions (or heads), each cell a run that Python made. What the
// model says after each is here, so pointing needs no kernel; other texts and parts do.

export default {
  render({ model, el }) {
    const stage = open(model, el, "patching"), fixed = !stage.live, get = (trait) => model.get(trait);
    let answer, chosen = 0;

    const text = (name, label) => {
      const box = make("input", { type: "text", value: get(name), readOnly: fixed, spellcheck: false, "aria-label": label,
        onchange: () => stage.ask({ [name]: box.value }) });
      return box;
    };
    const boxes = { clean: text("clean", "Clean text"), corrupted: text("corrupted", "Corrupted text") };
    const parts = choice("What is patched", get("answer").parts, get("part"), (part) => fixed || stage.ask({ part }));
    parts.hidden = fixed;
    const table = make("table"), said = div("said"), whole = div("columns");
    stage.root.append(
      make("h2", {}, "Read the corrupted text, with one activation from the clean one"),
      div("texts", make("label", {}, make("span", {}, "clean"), boxes.clean),
        make("label", {}, make("span", {}, "corrupted"), boxes.corrupted)),
      make("p", { className: "soft", hidden: !fixed }, "There is no kernel here, so texts and parts stay as they are. Every cell answers."),
      div("row", make("span", { hidden: fixed }, "patched:"), parts),
      div("columns", make("div", { className: "map", role: "region", tabIndex: -1, "aria-label": "The map" }, table), said), whole);

    const cells = () => [...table.querySelectorAll("button")];
    const place = (at) => `layer ${Math.floor(at / answer.columns.length)}, ${answer.columns[at % answer.columns.length]}`;
    function point(at, aloud) {
      chosen = at;
      cells().forEach((cell, index) => set(cell, { "aria-pressed": index === at, tabIndex: index === at ? 0 : -1 }));
      const line = `Patched at ${place(at)}: ${number(answer.cells[at])} of the way back`;
      said.replaceChildren(make("h2", {}, line), bars(answer.says[at]), make("p", { className: "soft" }, "0 is as after the corrupted text, 1 as after the clean one. The mark: without the patch."));
      if (aloud) stage.announce(line);
    }
    roving(table, cells, () => answer.columns.length, (at) => point(at, true));

    stage.on("answer", () => {
      answer = get("answer");
      const wide = answer.columns.length, many = answer.cells.length;
      const head = answer.columns.map((word, at) => make("th", { scope: "col", className: answer.differs[at] && get("part") !== "attention.heads" ? "differs" : "" },
        make("span", { className: "token" }, word)));
      const row = (layer) => make("tr", {}, make("th", { scope: "row" }, `layer ${layer}`),
        ...answer.columns.map((_, column) => {
          const at = layer * wide + column, value = answer.cells[at], share = (value + 1) / 2;
          return make("td", {}, make("button", { tabIndex: -1, "aria-label": `${place(at)}: ${number(value)}`, "aria-pressed": false,
            style: { background: color("difference", share), color: inkOn("difference", share) },
            onclick: () => point(at), onmouseenter: () => point(at) }, Math.abs(value) < 0.05 ? "" : number(value, 1)));
        }));
      table.replaceChildren(make("thead", {}, make("tr", {}, make("td"), ...head)),
        make("tbody", {}, ...Array.from({ length: many / wide }, (_, layer) => row(layer))));
      parts.show(get("part"));
      for (const [name, box] of Object.entries(boxes)) if (document.activeElement !== box) box.value = get(name);
      whole.replaceChildren(...["clean", "corrupted"].map((name, at) =>
        div("whole", make("h2", {}, `After the ${name} text`), bars(answer.whole[at]))));
      const most = answer.cells.reduce((best, value, at) => (value > answer.cells[best] ? at : best), 0);
      point(chosen && chosen < many ? chosen : most);
    });
    return () => stage.close();
  },
};
