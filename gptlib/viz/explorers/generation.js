const LARGEST = 6; // nats; all above have one color, as in the course's figures

// Logits here fall from the likeliest token to the least likely, of equals from the last to the first.
function softmax(logits) {
  const exps = logits.map((logit) => Math.exp(Math.fround(logit - logits[0])));
  const sum = exps.reduce((a, b) => a + b, 0);
  return exps.map((exp) => exp / sum);
}

// What the dice see: gptlib.generation's filters in their order, rounded to single precision where it rounds.
function filtered(logits, { temperature, top_k, top_p }) {
  const likeliest = logits.lastIndexOf(logits[0]);
  if (temperature === 0) return logits.map((_, at) => +(at === likeliest));
  const kept = logits.map((logit) => logit / Math.fround(temperature));
  if (top_k !== null && top_k < kept.length) kept.fill(-Infinity, kept.lastIndexOf(kept[top_k - 1]) + 1);
  if (top_p !== null) {
    const p = softmax(kept), most = Math.fround(1 - top_p);
    for (let at = p.length - 1, sum = p[at]; at > 0 && Math.fround(sum) <= most; sum += p[--at]) kept[at] = -Infinity;
  }
  return softmax(kept);
}

const spaced = (piece) => piece.replaceAll("␣", " ");
const soft = (text) => make("p", { className: "soft" }, text);
const button = (text, onclick, more) => make("button", { onclick, ...more }, text);

export default {
  render({ model, el }) {
    const stage = open(model, el, "generation"), saved = !stage.live, { vocab } = model.get("answer"), settings = {};
    let answer, path, asked, logits, own;

    // A slider for a setting, of which null rules nothing out.
    const dial = (name, range, placeOf = (value) => value, valueAt = (place) => place) => {
      const show = (place) => String(valueAt(place) ?? "all");
      const box = slider(name.replace("_", "-"), { ...range, value: range.min, show }, (place) => {
        settings[name] = valueAt(place);
        drawBars();
        stage.ask({ [name]: settings[name] });
      });
      stage.on(name, () => {
        settings[name] = model.get(name);
        box.show(placeOf(settings[name]));
        drawBars();
      });
      return box;
    };

    const prompt = make("textarea", { rows: 2, spellcheck: false });
    const begin = button("Start here", () => stage.ask({ prompt: prompt.value, path: [], tree: [] }));
    const read = make("p", { className: "read" }), said = soft("");
    const heading = make("h2"), chances = make("div"), note = make("p", { className: "note", role: "status" });
    const tree = make("div", { className: "tree", role: "group", "aria-label": "Roads taken and not taken" });
    stage.root.append(
      make("fieldset", { className: "row", disabled: saved }, make("label", {}, "Prompt", prompt), begin),
      make("h2", {}, `The text, darker where the model was surprised (darkest: ${LARGEST} nats or more)`),
      read, said,
      div("columns",
        div("next", heading, chances, note),
        div("dice",
          dial("temperature", { min: 0, max: 2, step: 0.05 }),
          dial("top_k", { min: 0, max: Math.ceil(Math.log2(vocab)), step: 1 },
            (k) => Math.log2(k ?? vocab), (place) => (2 ** place < vocab ? Math.round(2 ** place) : null)),
          dial("top_p", { min: 0.01, max: 1, step: 0.01 }, (p) => p ?? 1, (place) => (place < 1 ? place : null)),
          soft("The mark on a bar is the model’s own probability."),
          make("fieldset", { disabled: saved },
            dial("seed", { min: 0, max: 20, step: 1 }),
            button("Sample a token", () => stage.ask({ wanted: 1 })),
            button("Sample a sentence", () => stage.ask({ wanted: 20 }))),
          saved && soft("A saved file: the sliders work, but what is new needs a kernel."))),
      make("h2", {}, "Roads not taken"),
      soft("The likeliest at each step, with the model’s own probability. Choose one to take it; dashed is a road you left."),
      tree);

    const nodeAt = (tokens) => answer.nodes[tokens.join()];
    function go(to) {
      if (!saved) stage.ask({ path: to });
      else if (nodeAt(to)) { path = to; draw(); }
      else note.textContent = "A file knows what was walked: to take a new one needs a kernel.";
    }
    // What can be chosen at a step, the token taken first; `road` leads on, along one that was walked.
    function optionsAt(step) {
      const { tokens, pieces, nats, roads } = nodeAt(path.slice(0, step)), walked = model.get("tree");
      return tokens
        .map((token, i) => ({ token, piece: pieces[i], nats: nats[i], taken: token === path[step], road: walked[roads[i]] }))
        .filter(({ taken, road }, i) => taken || road || i < 4).sort((a, b) => b.taken - a.taken);
    }

    function draw() {
      const held = [read, chances, tree].find((part) => part.contains(document.activeElement)), node = nodeAt(path);
      logits = node.logits && floatsOf(node.logits);
      own = logits && softmax(logits);
      note.textContent = node.note || (logits ? "" : "The file has no room for the probabilities here.");
      const steps = path.map((_, step) => optionsAt(step));
      drawText([...answer.prompt, ...steps.map(([taken]) => taken)]);
      drawBars();
      drawTree(node.note ? steps : [...steps, optionsAt(path.length)]);
      if (held) (held.querySelector("[tabindex='0']") ?? tree.querySelector("[tabindex='0']")).focus();
    }

    function drawText(tokens) {
      const n = answer.prompt.length, mean = tokens.reduce((sum, { nats }) => sum + nats, 0) / tokens.length;
      said.textContent = tokens.length
        ? `${number(mean)} nats per token. Point at one for its own; choose one to go back to it.`
        : "Nothing yet: the model has read only the end-of-text token, as before each story.";
      read.replaceChildren(...tokens.map(({ piece, nats }, at) => {
        const share = Math.min(1, nats / LARGEST);
        const token = button(spaced(piece), () => go(path.slice(0, Math.max(0, at + 1 - n))), {
          className: at < n ? "" : "taken", tabIndex: at < tokens.length - 1 ? -1 : 0,
          style: { background: color("surprise", share), color: share > 0.82 ? "#fff" : "#000" },
          "aria-label": `“${spaced(piece)}”: ${number(nats, 3)} nats, p = ${Math.exp(-nats).toPrecision(2)}` });
        token.onfocus = token.onpointerenter = () => { said.textContent = token.ariaLabel; };
        return token;
      }));
    }

    function drawBars() {
      chances.replaceChildren();
      heading.textContent = "What comes next";
      if (!logits) return;
      const p = filtered(logits, settings), kept = p.filter((one) => one).length, { tokens, pieces } = nodeAt(path);
      heading.textContent += `: the dice choose among ${kept.toLocaleString("en")} of ${vocab.toLocaleString("en")} tokens`;
      const rows = tokens.slice(0, 12).map((id, i) => (
        { id, token: pieces[i], p: p[i], was: own[i], title: `${p[i].toFixed(6)} for the dice` }));
      chances.append(bars(rows, { clicked: ({ id }) => go([...path, id]) }));
      chances.querySelectorAll("button").forEach((bar, i) => {
        bar.tabIndex = i ? -1 : 0;
        bar.classList.toggle("out", !rows[i].p);
      });
    }

    function drawTree(steps) {
      const start = { piece: "start", nats: 0, taken: true };
      tree.replaceChildren(...[[start], ...steps].map((options, step) => make("div", {},
        ...options.map(({ token, piece, nats, taken, road }) => {
          const p = Math.exp(-nats), look = taken ? "taken" : road ? "left" : "", here = taken && step === path.length;
          const to = taken ? path.slice(0, step) : road ?? [...path.slice(0, step - 1), token];
          const chip = button("", () => go(to), { className: `chip ${look}${here ? " here" : ""}`, tabIndex: here ? 0 : -1,
            title: `Step ${step}: “${spaced(piece)}”, ${look || "not taken"}` });
          chip.style.setProperty("--p", p);
          chip.append(make("span", {}, piece), make("span", {}, percent(p)));
          return chip;
        }))));
      requestAnimationFrame(() => { tree.scrollLeft = tree.scrollWidth; }); // when it is on the page
    }

    roving(read, () => [...read.children], () => read.childElementCount);
    roving(chances, () => [...chances.querySelectorAll("button")], () => 1);
    tree.onkeydown = (event) => {
      const columns = [...tree.children].map((column) => [...column.children]), all = columns.flat();
      const x = columns.findIndex((column) => column.includes(event.target)), y = columns[x].indexOf(event.target);
      const [toX, toY] = { ArrowLeft: [x - 1, y], ArrowRight: [x + 1, y], ArrowUp: [x, y - 1], ArrowDown: [x, y + 1],
        Home: [0, 0], End: [columns.length - 1, 0] }[event.key] ?? [];
      const column = columns[toX], chip = column?.[Math.min(toY, column.length - 1)];
      if (!chip || event.altKey) return;
      event.preventDefault();
      focusOne(all, all.indexOf(chip));
    };

    stage.on("answer", () => {
      answer = model.get("answer");
      path = answer.path;
      // An edited prompt that cannot be read stays as it was typed, to be mended.
      if (asked !== model.get("prompt")) prompt.value = asked = model.get("prompt");
      draw();
      stage.announce(`${read.lastChild?.textContent}. ${heading.textContent}`);
    });
    return () => stage.close();
  },
};
