const GUIDE = "Click a bar to choose the next token yourself, or let the model sample. Then try a token that was not chosen, or see where each head looked when one was.";
const VIEWS = { surprise: "Surprise and alternatives", attention: "Attention" };
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
const bare = (piece) => spaced(piece).trim() || piece;
const quoted = (piece) => `“${bare(piece)}”`;
const soft = (...parts) => make("p", { className: "soft" }, ...parts);
const button = (text, title, onclick, more) => make("button", { onclick, title, ...more }, text);
// A surprise as a color on which letters can be read, from the paper's own to dark in light themes, bright in dark ones.
function surprising(nats) {
  const share = Math.min(1, nats / LARGEST);
  return { background: `light-dark(${color("surprise", share)}, color-mix(in srgb, #f0a04c ${100 * share}%, transparent))`,
    color: `light-dark(${share > 0.82 ? "#fff" : "#000"}, ${share > 0.58 ? "#000" : "#fff"})` };
}
// A weight as a color, by its root as in the attention explorer: so small ones can be told apart.
function shaded(weight) {
  const [red, green, blue] = rgb("attention", Math.sqrt(weight));
  return { background: `rgb(${red} ${green} ${blue})`, color: 0.299 * red + 0.587 * green + 0.114 * blue > 117 ? "#000" : "#fff" };
}

export default {
  render({ model, el }) {
    const stage = open(model, el, "generation", GUIDE), saved = !stage.live, get = (name) => model.get(name);
    const { vocab, shape: [layers, heads, copies] } = get("answer"), settings = {};
    let answer, path, asked, logits, own, tokens, step; // step: how many tokens were taken before the one looked at
    const needs = (title) => (saved ? `This needs ${stage.lacks}` : title);

    // A slider for a setting, of which null rules nothing out.
    const dial = (name, title, range, placeOf = (value) => value, valueAt = (place) => place) => {
      const show = (place) => String(valueAt(place) ?? "all");
      const box = slider(name.replace("_", "-"), { ...range, value: range.min, show }, (place) => {
        settings[name] = valueAt(place);
        drawBars();
        stage.ask({ [name]: settings[name] });
      });
      stage.on(name, () => {
        settings[name] = get(name);
        box.show(placeOf(settings[name]));
        drawBars();
      });
      return set(box, { title });
    };

    const prompt = make("textarea", { rows: 1, spellcheck: false, title: needs("What the model reads first; empty: it begins a new text") });
    const begin = button("Begin with this prompt", needs("Leave what was written and begin anew after the prompt"), () =>
      stage.ask({ prompt: prompt.value, path: [], tree: [], step: -1 }));
    const seed = make("input", { type: "number", min: 0, step: 1, title: needs("The same seed draws the same text again"),
      onchange: () => seed.value && reseed(seed.valueAsNumber) });
    function reseed(to) {
      stage.ask({ seed: to });
      stage.announce(said.textContent = `Seed ${to} holds for what is sampled next; what stands here stays.`);
    }
    stage.on("seed", () => { if (document.activeElement !== seed) seed.value = get("seed"); });
    const sample = (name, title, wanted) => button(name, needs(title), () => stage.ask({ wanted, step: -1 }));
    const views = choice("what is shown", VIEWS, get("view"), (view) => stage.ask({ view }));
    views.title = "Show how surprising each token was and what else could have come, or where the heads looked";
    const legend = make("span", { className: "legend soft" }), read = div("read dense"), said = soft();
    const heading = make("h2"), chances = div("dense"), note = make("p", { className: "note", role: "status" });
    const tree = make("div", { className: "tree dense", role: "group", "aria-label": "What was taken, and what else could have been" });
    const roads = div("more", make("h2", {}, "Alternatives at each step"),
      soft("Under each token taken, what else was likely, with the model’s own probability. Choose one to go on from it; what you leave stays, dashed."),
      tree);

    // A tile for each head, in a grid of which the last row are the copy heads, and the tiles one after another.
    const across = Math.max(heads, copies), grid = [], tiles = [];
    const montage = make("div", { className: "heads dense", role: "group", "aria-label": "All heads: rows are layers, columns heads",
      style: { gridTemplateColumns: `auto repeat(${across}, minmax(3.4em, 1fr))` } });
    const place = (row, column, element) => montage.append(set(element, { style: { gridArea: `${row} / ${column}` } }));
    for (let head = 0; head < across; head++) place(1, head + 2, make("span", {}, head));
    for (let layer = 0; layer < layers + (copies > 0); layer++) {
      const copy = layer === layers;
      place(layer + 2, 1, make("span", {}, copy ? "copy" : layer));
      for (let head = 0; head < (copy ? copies : heads); head++) {
        const tile = button("", "", () => stage.ask({ head: [layer, head] }), { className: "tile token" });
        place(layer + 2, head + 2, tile);
        tiles.push({ tile, name: copy ? `copy head ${head}` : `head ${head} of layer ${layer}` });
        grid[layer * across + head] = tile;
      }
    }
    const whole = make("code", { tabIndex: 0 });
    const looking = div("more looking", make("h2", {}, "All heads (row: layer, column: head)"),
      soft("On each the token that it looks at most, brighter with its weight. Choose a head to see its weights in the text."),
      montage, soft("The same text with all that each head looks at, in Python: ", whole));
    const stepping = div("row", button("◂ Earlier", "The token before (in the text: arrow keys)", () => stepTo(step - 1)),
      button("Later ▸", "The token after (in the text: arrow keys)", () => stepTo(step + 1)));

    stage.root.append(div("main-view",
      make("fieldset", { className: "row", disabled: saved }, make("label", {}, "Prompt", prompt), begin),
      div("row dice",
        dial("temperature", "Below 1 likely tokens become likelier; 0 always takes the likeliest", { min: 0, max: 2, step: 0.05 }),
        dial("top_k", "Only this many of the likeliest tokens can be sampled", { min: 0, max: Math.ceil(Math.log2(vocab)), step: 1 },
          (k) => Math.log2(k ?? vocab), (place) => (2 ** place < vocab ? Math.round(2 ** place) : null)),
        dial("top_p", "Only the likeliest tokens that together have this probability can be sampled", { min: 0.01, max: 1, step: 0.01 },
          (p) => p ?? 1, (place) => (place < 1 ? place : null))),
      div("row",
        make("fieldset", { className: "row", disabled: saved },
          sample("Sample a token", "Let the model draw the next token with these settings", 1),
          sample("Sample a sentence", "Draw tokens up to the end of the sentence, 20 at most", 20),
          make("label", {}, "seed", seed),
          button("↻", needs("Another seed: other random numbers for what is sampled from now on"), () => reseed(get("seed") + 1),
            { "aria-label": "Another seed" })),
        views, stepping),
      saved && soft(`The settings work here, but what is new needs ${stage.lacks}.`),
      read, div("row told", said, legend),
      div("columns", div("next", heading, soft("Click one to take it. The mark: the model’s own probability."), chances, note),
        roads, looking)));

    const nodeAt = (to) => get("details").nodes?.[to.join()] ?? answer.nodes[to.join()];
    function go(to) {
      if (!saved) stage.ask({ path: to, step: -1 });
      else if (nodeAt(to)) { path = to; model.set("step", -1); draw(); }
      else note.textContent = `What was walked is here; taking a new token needs ${stage.lacks}.`;
    }
    const lastStep = () => Math.max(0, path.length - Boolean(nodeAt(path).note));
    const stepTo = (to) => stage.ask({ step: to >= lastStep() ? -1 : Math.max(0, to) });
    // What can be chosen at a step, the token taken first; `road` leads on, along one that was walked.
    function optionsAt(step) {
      const { tokens, pieces, nats, roads } = nodeAt(path.slice(0, step)), walked = get("tree");
      return tokens
        .map((token, i) => ({ token, piece: pieces[i], nats: nats[i], taken: token === path[step], road: walked[roads[i]] }))
        .filter(({ taken, road }, i) => taken || road || i < 4).sort((a, b) => b.taken - a.taken);
    }

    function draw() {
      const attends = get("view") === "attention", end = nodeAt(path), steps = path.map((_, step) => optionsAt(step));
      const held = [read, chances, tree].find((part) => part.contains(document.activeElement)), at = get("step");
      step = !attends ? path.length : at < 0 || at > path.length ? lastStep() : at;
      const node = nodeAt(path.slice(0, step));
      if (attends && !saved && !node.weights && !node.note) return; // they are on their way
      logits = node.logits && floatsOf(node.logits);
      own = logits && softmax(logits);
      note.textContent = node.note || end.note || (!logits ? "The file has no room for the probabilities here."
        : attends && !node.weights ? "The file has no room for the attention here." : "");
      views.show(get("view"));
      roads.hidden = attends;
      looking.hidden = stepping.hidden = !attends;
      tokens = [...answer.prompt, ...steps.map(([taken]) => taken)];
      if (attends) tokens = [{ piece: "(start)" }, ...tokens, ...(end.note ? [] : [{ piece: "?" }])];
      drawText(attends && drawHeads(node.weights));
      drawBars();
      if (!attends) drawTree(end.note ? steps : [...steps, optionsAt(path.length)]);
      if (held && !held.contains(document.activeElement))
        (held.querySelector("[tabindex='0']") ?? read.querySelector("[tabindex='0']")).focus();
    }

    // All heads at this step; gives the weights of the chosen one, and what it does in words.
    function drawHeads(packed) {
      const n = 1 + answer.prompt.length + step, all = packed ? new Uint16Array(bytesOf(packed).slice().buffer) : [];
      const [layer, head] = get("head") ?? get("details").head ?? [0, 0], chosen = layer * heads + head;
      const rows = tiles.map(({ tile, name }, at) => {
        const weights = Array.from(all.slice(at * n, at * n + n), (part) => part / 65535), most = Math.max(0, ...weights);
        const top = weights.indexOf(most), { piece } = tokens[top] ?? { piece: "" };
        const told = `${name} looks most at ${quoted(piece)} (weight ${number(most, 3)})`;
        set(tile, { textContent: bare(piece), title: told, tabIndex: at === chosen ? 0 : -1,
          "aria-pressed": at === chosen, style: shaded(most),
          onpointerenter: () => read.children[top]?.classList.add("most"),
          onpointerleave: () => read.children[top]?.classList.remove("most") });
        return { weights, told };
      });
      whole.textContent = `AttentionExplorer(model, tokenizer, ${get("details").text}, layer=${layer}, head=${head})`;
      return rows[chosen];
    }

    function drawText(looks) {
      const n = answer.prompt.length + Boolean(looks), chosen = n + step, at = chosen - !looks; // of the path's first; in focus
      const mean = tokens.reduce((sum, { nats }) => sum + nats, 0) / tokens.length;
      const sum = looks
        ? looks.weights.length && `When ${step < path.length ? quoted(tokens[chosen].piece) : "the next token"} is chosen, ${looks.told}. Point at a token for its weight; click one that was written to see where the heads looked for it.`
        : tokens.length
          ? `${number(mean)} nats of surprise per token. Point at a token for its own; click one to go back to it: what follows leaves the text and stays below, dashed.`
          : "Nothing yet: the model has read only the end-of-text token, as before each story.";
      (read.onpointerleave = () => { said.textContent = sum || ""; })();
      const shades = [0, 0.25, 0.5, 0.75, 1].map((share) => (looks ? shaded(share * share) : surprising(LARGEST * share)).background);
      said.title = legend.title = looks ? "" : "−ln of the probability the model gave: 0 nats where it was sure, 0.7 at one in two, 4.6 at one in a hundred";
      legend.replaceChildren(looks ? "weight: 0 " : "surprise: 0 ", make("i", { style: { background: `linear-gradient(to right, ${shades})` } }),
        looks ? " 1 (in the middle ¼)" : ` ${LARGEST} nats or more`);
      while (read.childElementCount > tokens.length) read.lastChild.remove();
      tokens.forEach(({ piece, nats }, place) => {
        const token = read.children[place] ?? read.appendChild(make("button")), weight = looks?.weights?.[place];
        set(token, looks ? {
          onclick: () => place >= n && stepTo(place - n),
          title: place >= n ? "See where the heads looked when this token is chosen" : "Part of the prompt, which was not chosen",
          style: weight === undefined ? { background: "", color: "" } : shaded(weight),
          "aria-label": `${quoted(piece)}: ${weight === undefined ? "not yet written" : `weight ${number(weight, 3)}`}`,
        } : {
          onclick: () => go(path.slice(0, Math.max(0, place + 1 - n))),
          title: "Go back to here: what follows stays among the alternatives",
          style: surprising(nats),
          "aria-label": `${quoted(piece)}: ${number(nats, 3)} nats, p = ${Math.exp(-nats).toPrecision(2)}`,
        });
        set(token, { textContent: spaced(piece), tabIndex: place === at ? 0 : -1,
          className: [place >= n && place < n + path.length && "taken", looks && place >= chosen && (place > chosen ? "later" : "chosen"),
            nats === undefined && place && "coming"].filter(Boolean).join(" ") });
        token.onfocus = token.onpointerenter = () => { said.textContent = token.ariaLabel; };
      });
      read.scrollTop = (read.children[Math.min(chosen, tokens.length - 1)]?.offsetTop ?? 0) - read.clientHeight / 2; // when it is long
    }

    function drawBars() {
      chances.replaceChildren();
      heading.textContent = "The next token";
      if (!logits) return;
      if (step < path.length) heading.textContent = `Where ${quoted(tokens[1 + answer.prompt.length + step].piece)} was chosen`;
      const p = filtered(logits, settings), kept = p.filter((one) => one).length, { tokens: ids, pieces } = nodeAt(path.slice(0, step));
      const all = vocab.toLocaleString("en");
      heading.textContent += kept === vocab ? `: all ${all} tokens can be sampled` : `: sampling keeps ${kept.toLocaleString("en")} of ${all}`;
      const rows = ids.slice(0, 10).map((id, i) => ({ id, token: pieces[i], p: p[i], was: own[i],
        title: `Take ${quoted(pieces[i])}: ${p[i].toFixed(6)} with these settings, ${own[i].toFixed(6)} by the model alone` }));
      chances.append(bars(rows, { clicked: ({ id }) => go([...path.slice(0, step), id]) }));
      chances.querySelectorAll("button").forEach((bar, i) => {
        bar.tabIndex = i ? -1 : 0;
        bar.classList.toggle("out", !rows[i].p);
        bar.classList.toggle("taken", rows[i].id === path[step]);
      });
    }

    function drawTree(steps) {
      const start = { piece: "start", nats: 0, taken: true };
      tree.replaceChildren(...[[start], ...steps].map((options, step) => make("div", {},
        ...options.map(({ token, piece, nats, taken, road }) => {
          const p = Math.exp(-nats), look = taken ? "taken" : road ? "left" : "", here = taken && step === path.length;
          const to = taken ? path.slice(0, step) : road ?? [...path.slice(0, step - 1), token];
          const chip = button("", `Step ${step}: ${quoted(piece)}, ${look || "not taken"}`, () => go(to),
            { className: `chip ${look}${here ? " here" : ""}`, tabIndex: here ? 0 : -1 });
          chip.style.setProperty("--p", p);
          chip.append(make("span", {}, piece), make("span", {}, percent(p)));
          return chip;
        }))));
      requestAnimationFrame(() => { tree.scrollLeft = tree.scrollWidth; }); // when it is on the page
    }

    roving(read, () => [...read.children], () => read.childElementCount, (at) => {
      if (get("view") === "attention" && at > answer.prompt.length) stepTo(at - 1 - answer.prompt.length);
    });
    roving(montage, () => grid, () => across, (at) => grid[at].click());
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

    stage.on("answer details view step head", () => {
      if (answer !== (answer = get("answer"))) path = answer.path;
      // An edited prompt that cannot be read stays as it was typed, to be mended.
      if (asked !== get("prompt")) prompt.value = asked = get("prompt");
      draw();
      stage.announce(get("view") === "attention" ? said.textContent
        : `${read.lastChild?.textContent}. ${heading.textContent}`);
    });
    return () => stage.close();
  },
};
