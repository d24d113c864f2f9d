// The page: the curves, what the network writes and expects, and how its heads read, drawn from what the worker tells.

const KEPT = [0, 50, 100, 200, 400, 800, 1600]; // steps whose texts stay on the page
const [TOP, BOTTOM] = [8, 0.6]; // nats, of the logarithmic axis of losses
const RATES = [0.001, 0.003, 0.01, 0.03, 0.1], BATCHES = [4, 8, 16, 32];

// The documents from base64 of a gzipped block: the length of a JSON text, the JSON, then the ids.
async function unpackTraining(text) {
  const zipped = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const block = await new Response(new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  const length = new DataView(block).getUint32(0, true);
  return JSON.parse(new TextDecoder().decode(new Uint8Array(block, 4, length)), (_, value) =>
    (Array.isArray(value?.bytes) ? new Uint16Array(block.slice(4 + length + value.bytes[0], 4 + length + value.bytes[1])) : value));
}

// Show the training in `host`. code: the worker's; data: what training_page.py packed. Gives a function that ends it.
function openTraining(host, code, data) {
  const settings = { seed: 0, learning_rate: data.learning_rate, batch: data.batch };
  const { vocab_size, n_layers, n_heads, d_model } = data.config;
  const nParameters = (2 * vocab_size + 1) * d_model + n_layers * (12 * d_model + 2) * d_model;
  const words = (tokens) => tokens.map((token) => data.vocabulary[token]).join("").trim();
  const whole = (n) => Math.round(n).toLocaleString("en");
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(address);
  let going = false, latest = null, told = null, losses = [], looks = [], due = 0, drawn = 0;

  // Controls.
  const go = make("button", { className: "go", onclick: () => worker.postMessage({ go: !going }) }, "Start");
  const begin = () => {
    [losses, looks, told, latest] = [[], [], null, null];
    cancelAnimationFrame(due); // of the run before
    due = 0;
    for (const { passed } of marks) passed.textContent = "";
    texts.replaceChildren();
    worker.postMessage({ begin: { ...settings } });
  };
  const again = make("button", { title: "Forget everything and begin with other initial weights and another order of the documents",
    onclick() { settings.seed += 1; begin(); worker.postMessage({ go: true }); } }, "Another seed");
  const picker = (label, title, options, name) => make("label", { title }, `${label} `, make("select", {
    onchange({ target }) { settings[name] = +target.value; worker.postMessage({ change: { [name]: settings[name] } }); } },
    ...options.map((option) => make("option", { value: option, selected: option === settings[name] }, String(option)))));
  const rate = picker("Learning rate", "How far each step goes; it may be changed while the network learns. At 0.1 the steps are too large", RATES, "learning_rate");
  const batch = picker("Documents a step", "How many documents each step learns from: more of them give steadier, slower steps", BATCHES, "batch");
  const large = make("button", { "aria-pressed": false, title: "Larger letters, for a projector",
    onclick() { large.ariaPressed = root.classList.toggle("large"); } }, "Large");
  const pace = make("p", { className: "pace" }), live = make("p", { className: "unseen", "aria-live": "polite" });
  const problem = make("p", { className: "problem", role: "alert", hidden: true });
  const say = (text) => set(problem, { textContent: text, hidden: !text });

  // The curves. 100 × 100 units are stretched over each of the two panes.
  const down = (loss) => (100 * Math.log(TOP / Math.max(loss, BOTTOM))) / Math.log(TOP / BOTTOM);
  const line = (className) => svg("polyline", { class: className });
  const batches = line("batches"), heldOut = line("held-out"), named = ["gone", "other", "name"].map(line);
  const readings = {}, key = (name, text, title) => make("span", { className: `key ${name}`, title }, `${text} `, readings[name] = make("b"));
  const rivals = Object.entries(data.rivals);
  const marks = rivals.map(([name, loss]) => ({ name, loss, passed: make("span", { className: "passed" }) }));
  const mark = (className, loss, title, ...text) => make("div", { className: `mark ${className}`, title, style: { top: `${down(loss)}%` } }, make("span", {}, ...text));
  const [floor, error] = data.floor;
  const picture = (...lines) => svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none" }, ...lines);
  const tick = (text, top) => make("span", { className: "tick", style: { top: `${top}%` } }, text);
  const steps = div("steps"), plot = make("div", { className: "plot", "aria-hidden": "true" },
    div("below hatched"), ...[1, 2, 4, 8].map((loss) => tick(loss, down(loss))),
    ...marks.map(({ name, loss, passed }) => mark("rival", loss, `What a model reaches on the same held-out documents that has counted ${name} in all ${whole(data.n_training)} documents`,
      `counting ${name}: ${number(loss)} `, passed)),
    mark("floor", floor, `The exact mean surprise of the held-out documents, ± its standard error for all documents. Only by luck could a model do better`,
      `entropy floor: ${number(floor, 3)} ± ${number(error, 3)}`),
    picture(batches, heldOut));
  const copied = make("div", { className: "plot copied", "aria-hidden": "true" }, tick("100%", 0), tick("0%", 100), picture(...named), steps);
  plot.querySelector(".below").style.top = `${down(floor)}%`;

  function drawCurves() {
    const { step } = latest, most = [100, 200, 400, 800, 1600].find((end) => step <= end) ?? 1600 * Math.ceil(step / 1600);
    const across = (at) => ((100 * at) / most).toFixed(2), point = (at, loss) => `${across(at)},${down(loss).toFixed(2)}`;
    // With more steps than the plot has pixels, some stand for those between them.
    const every = Math.ceil(losses.length / 400);
    batches.setAttribute("points", losses.flatMap((loss, at) => (at % every ? [] : [point(at, loss)])).join(" "));
    heldOut.setAttribute("points", looks.map((one) => point(one.step, one.loss)).join(" "));
    for (const one of named) one.setAttribute("points", looks.map(({ step: at, copying }) => `${across(at)},${100 - 100 * copying[one.classList]}`).join(" "));
    steps.replaceChildren(...[0, 0.25, 0.5, 0.75, 1].map((share) => make("span", { style: { left: `${100 * share}%` } }, whole(share * most))));
    readings.batches.textContent = losses.length ? number(losses.at(-1)) : "";
    readings["held-out"].textContent = told ? number(told.loss, 3) : "";
  }

  // What it writes.
  const writes = make("blockquote", {}), texts = make("ol", { className: "texts" }), at = make("span");

  // What it expects where the name is due.
  const { document: shownDocument, row, first, name, other } = data.names[data.shown];
  const tokens = data.shown_tokens, [told_name, other_name] = [data.vocabulary[name].trim(), data.vocabulary[other].trim()];
  const sentence = (exchanged) => make("p", { className: "told" }, ...tokens.slice(1, row + 1).map((token, i) => {
    const text = data.vocabulary[exchanged && token === name ? other : token];
    return i + 1 === first ? make("mark", {}, text) : text;
  }), " ", make("span", { className: "gap" }, "?"));
  const lists = [div("list"), div("list")];

  // How its heads read. A row for each token that looks, a column for each that is looked at.
  const size = tokens.length;
  const canvases = Array.from({ length: n_layers * n_heads }, (_, i) => {
    const label = `layer ${Math.floor(i / n_heads)}, head ${i % n_heads}`, share = make("b");
    const canvas = make("canvas", { className: "hatched", width: size, height: size, role: "img", "aria-label": label });
    const cell = div("cell");
    set(cell, { style: { left: `${(100 * first) / size}%`, top: `${(100 * row) / size}%`, width: `${100 / size}%`, height: `${100 / size}%` } });
    return { canvas, share, label, whole: make("figure", {}, div("square", canvas, cell),
      make("figcaption", {}, `${Math.floor(i / n_heads)}.${i % n_heads}: `, share)) };
  });
  const word = (token) => (token === 0 ? "(end)" : data.vocabulary[token].replace("\n", "⏎").trim());

  function drawLook() {
    const { step, copying, text, bars: lists_of, attention } = told;
    at.textContent = `step ${whole(step)}`;
    writes.textContent = words(text) || "(nothing: it ends at once)";
    [name, other].forEach((right, i) => lists[i].replaceChildren(bars(lists_of[i].map(({ token, p }) =>
      ({ token: `${word(token)}${token === right ? " ✓" : ""}`, p, title: token === right ? "The only word that can follow" : "" })))));
    for (const [name, share] of Object.entries(copying)) readings[name].textContent = percent(share);
    const triangle = (size * (size + 1)) / 2;
    canvases.forEach(({ canvas, share, label }, i) => {
      const picture = new ImageData(size, size);
      paintTriangle(new Uint32Array(picture.data.buffer), size, 0, 0, attention, i * triangle, size, tables.attention);
      canvas.getContext("2d").putImageData(picture, 0, 0);
      share.textContent = percent(attention[i * triangle + (row * (row + 1)) / 2 + first] / 255);
      canvas.setAttribute("aria-label", `${label}: “${word(tokens[row])}” looks at “${told_name}” with ${share.textContent}`);
    });
  }

  function hear(news) {
    const { losses: some, looks: more, step, going: now } = news;
    if (news.seed !== settings.seed) return; // of the run before
    losses.push(...some);
    for (const one of more) {
      for (const { name: rival, loss, passed } of marks) if (!passed.textContent && one.loss < loss) {
        passed.textContent = `✓ step ${whole(one.step)}, ${number(one.seconds, 0)} s`;
        live.textContent = `It has overtaken counting ${rival}, at step ${whole(one.step)}.`;
      }
      if (KEPT.includes(one.step)) texts.append(make("li", {}, make("b", {}, `step ${whole(one.step)} `), words(one.text) || "(nothing)"));
      looks.push(told = one);
    }
    latest = news;
    if (going !== now && losses.length) live.textContent = now ? "training" : `paused at step ${whole(step)}`;
    going = now;
    say(news.problem);
    // At most five times a second, and only what is new, so that drawing takes nothing from the training.
    due ||= requestAnimationFrame(draw);
  }

  let shownLook = null;
  function draw(now) {
    due = 0;
    if (!latest) return; // a run that has just begun anew, and told nothing yet
    if (now - drawn < 200 && going) return void (due = requestAnimationFrame(draw));
    drawn = now;
    const { step, tokens: seen, documents, seconds } = latest, rested = !going && step >= data.rest;
    set(go, { textContent: going ? "Pause" : step ? "Go on" : "Start", title: going ? "Pause; the network stays as it is" : step ? "Train on from here" : "Let it learn" });
    pace.textContent = step ? `Seed ${settings.seed} · step ${whole(step)} · ${whole(documents)} documents, ${whole(seen)} words and marks · ${number(seconds, 0)} s · ${number(step / seconds, 0)} steps a second`
      : `Nothing is learned yet: all ${whole(nParameters)} parameters are random.`;
    if (rested) pace.textContent += " · It rests.";
    drawCurves();
    if (told && told !== shownLook) drawLook();
    shownLook = told;
  }

  const root = div("gptlib training", problem, div("head",
    make("p", { className: "guide" }, `Press Start: a GPT with ${whole(nParameters)} parameters learns to write the openings of stories, here in your browser. `
      + "Watch its loss fall towards the floor, its words become sentences and, last of all, a name come back."), div("toolbar", large)), live,
    div("row", go, again, rate, batch), pace,
    div("columns",
      make("section", {}, make("h2", { title: "A nat is 1.44 bits. At a loss of 1 nat the right token gets a chance of 1 in e, 37%" }, "Loss in nats per token, on a logarithmic axis, over steps"),
        make("p", { className: "keys" }, key("batches", "batch of the step", "The loss on the documents of each step, before it learned from them"),
          key("held-out", "held-out documents", `The loss on ${data.n_held_out} documents that it never learns from`)), plot,
        make("h2", { title: "Guessing among the twenty girls, or the twenty boys, would give 5%" }, `Probability of a name that is certain to come again, mean over ${data.names.length} places`),
        make("p", { className: "keys" }, key("name", "as told", "Of the name that the document holds"),
          key("other", "with another name", "Of the other name, where that was written in its place all along"),
          key("gone", "the name that is gone", "Of the first name, where the other was written: only a network that does not read would give it")), copied),
      make("section", {}, make("h2", {}, "It writes, at ", at), writes,
        make("h2", {}, "It wrote before, from the same random numbers"), texts)),
    div("columns",
      make("section", {}, make("h2", {}, "Which word comes next? Only the name can"),
        div("pair", div("", sentence(false), lists[0]), div("", sentence(true), lists[1])),
        make("p", { className: "soft" }, "The same beginning twice, with two names. Whoever copies gives each its own; a name that is only frequent would come in both.")),
      make("section", {}, make("h2", {}, `How its heads read that document; outlined: “${word(tokens[row])}” looks at “${told_name}”`),
        div("heads", ...canvases.map(({ whole: figure }) => figure)),
        make("p", { className: "soft" }, "One picture for each head, named layer.head. A row is a token that looks, a column one that is looked at; yellow is all of a row's attention, dark blue none. The number is the share in the outlined cell."))));
  host.append(root);
  worker.onmessage = ({ data: news }) => hear(news);
  worker.onerror = ({ message }) => say(`The page cannot train here: ${message ?? "the browser gives it no worker."}`);
  worker.postMessage({ data });
  begin();
  return () => {
    worker.terminate();
    URL.revokeObjectURL(address);
    cancelAnimationFrame(due);
    root.remove();
  };
}
