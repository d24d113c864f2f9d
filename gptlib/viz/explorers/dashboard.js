// One line of steps for losses, samples and attention: live while a model trains, and to scrub back over.

const across = (share) => ({ left: `${share}%` });
const down = (share) => ({ top: `${share}%` });

export default {
  render({ model, el }) {
    let answer = model.get("answer"), details = model.get("details"), state = "";
    const stage = open(model, el, "dashboard", `${details.state === "snapshots" ? "" : "Press Start and watch a model learn. "}`
      + "Drag the slider to go back to an earlier step; click a head to enlarge it, and a token to see where it looks."), view = {};
    const { n_layers, n_heads, tokens } = answer, size = tokens.length;
    const places = () => answer.places[axisNow()];
    const change = (changes) => { Object.assign(view, changes); stage.ask(changes); draw(); };

    // The run: what it does now, and its buttons.
    const word = make("strong"), pace = make("span"), failure = make("p", { className: "problem", role: "alert" });
    const command = (name) => { go.disabled = halt.disabled = true; stage.ask({ command: name }); };
    const go = make("button", { onclick: () => command(state === "running" ? "pause" : "start") });
    const halt = make("button", { onclick: () => command("stop") }, "Stop"), over = "The run is over: a new TrainingDashboard trains the model on.";
    const run = div("row run", make("p", {}, word, " ", pace), go, halt);

    function drawRun() {
      if (state && state !== details.state) stage.announce(details.state);
      ({ state } = details);
      run.hidden = state === "snapshots";
      word.textContent = stage.live || state !== "running" ? state : "stopped";
      pace.textContent = stage.live ? details.pace
        : `${details.pace.split(" · ")[0]} · training needs ${stage.lacks}; the snapshots are all here`;
      go.textContent = { running: "Pause", paused: "Go on" }[state] ?? "Start";
      const why = stage.live ? "" : `Training needs ${stage.lacks}.`, begun = ["running", "paused"].includes(state);
      set(halt, { disabled: !!why || !begun, title: why || (begun ? "End the run here, for good" : state === "ready" ? "There is nothing to stop: press Start first." : over) });
      set(go, { disabled: !!why || !(begun || state === "ready"), title: why || { running: "Pause after this step", paused: "Train on from this step",
        ready: "Train the model from here" }[state] || over });
      set(failure, { textContent: details.failure, hidden: !details.failure });
    }

    // The curves. Python gives their points in percent of a pane, to which the picture is stretched.
    const lines = {}, readings = {}, heading = make("h2", { title: "A nat is 1.44 bits. At a loss of 1 nat the right token gets a chance of 1 in e, 37%; at 2 nats, 1 in e², 14%" });
    const key = (name, text, title) => make("span", { className: `key ${name}`, title }, `${text} `, readings[name] = make("b"));
    const pane = (names, ...parts) => div(`pane ${names[0]}`, ...parts,
      svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
        ...names.map((name) => lines[name] = svg("polyline", { class: name }))));
    const below = div("hatched below"), losses = make("div", { "aria-hidden": "true" });
    const steps = make("div", { className: "steps", "aria-hidden": "true" }), playhead = div("playhead");
    const scrub = (event) => {
      if (!event.buttons) return;
      plot.setPointerCapture(event.pointerId);
      const { left, width } = plot.getBoundingClientRect(), x = (100 * (event.clientX - left)) / width;
      const far = places().map((place) => Math.abs(place - x));
      show(far.indexOf(Math.min(...far)));
    };
    // What a pointer is over: the nearest point of the curve, and the validation there, if any.
    const told = div("told"), axisNow = () => (view.over in details.curves && view.over in answer.places ? view.over : "steps");
    const tell = (event) => {
      const { left, width } = plot.getBoundingClientRect(), x = (100 * (event.clientX - left)) / width;
      const { curves, scale: [top, bottom], seen } = details, near = (points, most) => {
        let best = -1;
        for (let at = 0; at < points.length; at += 2) if (Math.abs(points[at] - x) < most) [best, most] = [at, Math.abs(points[at] - x)];
        return best;
      };
      const { training, validation } = curves[axisNow()], at = near(training, 100), also = near(validation, 1);
      const loss = (points, at) => number(top - ((top - bottom) * points[at + 1]) / 100);
      if (at >= 0) set(told, { textContent: `step ${seen[at / 2].toLocaleString("en")}: training ${loss(training, at)}${also < 0 ? "" : `, validation ${loss(validation, also)}`}`,
        style: { ...across(training[at]), translate: `-${training[at]}%` } });
      scrub(event);
    };
    const plot = make("div", { className: "plot", title: "Click or drag to go to the nearest step with a dot below", onpointerdown: scrub, onpointermove: tell },
      pane(["training", "validation"], below, losses), pane(["norm"], key("norm", "gradient norm", "How long the gradient was, before clipping")),
      pane(["rate"], key("rate", "learning rate", "How far an update went")), steps, playhead, told);
    const axis = choice("losses over", { steps: "over steps", seconds: "over time" }, "steps", (over) => change({ over }));
    axis.classList.add("axis");
    axis.title = "Draw the curves over steps, early ones wider, or over the time they took";
    const mark = ([text, at], style) => make("span", { style: style(at) }, text);

    function drawCurves(at) {
      axis.show(axisNow());
      axis.hidden = !("seconds" in details.curves);
      for (const [name, points] of Object.entries(details.curves[axisNow()])) lines[name].setAttribute("points", points.join(" "));
      const read = view.at < 0 ? details.readings : answer.readings[at]; // of the run itself, or of a snapshot
      for (const [name, value] of Object.entries(readings)) {
        value.textContent = read[name];
        value.parentElement.hidden = !value.textContent;
      }
      set(below, { hidden: details.floor === null, style: down(details.floor) });
      losses.replaceChildren(...details.ticks.map((tick) => mark(tick, down)));
      steps.replaceChildren(...answer.ticks[axisNow()].map((tick) => mark(tick, across)), ...places().map((place) => make("i", { style: across(place) })));
      heading.textContent = `Loss in nats per token, over ${axisNow() === "steps" ? "steps on a logarithmic axis" : "time"}`;
      set(playhead, { style: across(places()[at]) });
    }

    // The snapshot: what the model writes, and how its heads read the text.
    const show = (at) => change({ at: at === answer.steps.length - 1 ? -1 : at });
    const stepAt = (at) => `step ${answer.steps[at].toLocaleString("en")}`;
    const knob = slider("snapshot", { min: 0, max: 0, step: 1, value: 0, show: stepAt }, show);
    knob.title = "Go back to an earlier step: its losses, its sample, its attention";
    const sample = make("blockquote"), wrote = make("h2");
    const writing = div("writing", wrote, sample);
    const pick = (i) => change({ layer: Math.floor(i / n_heads), head: i % n_heads });
    const canvas = (more) => make("canvas", { className: "hatched", width: size, height: size, ...more });
    const thumbs = Array.from({ length: n_layers * n_heads }, (_, i) => make("button", { role: "radio", onclick: () => pick(i),
      title: `layer ${Math.floor(i / n_heads)}, head ${i % n_heads}: click to enlarge` }, canvas()));
    const heads = make("div", { className: "heads", role: "radiogroup", "aria-label": "layer and head",
      style: { gridTemplateColumns: `repeat(${n_heads}, 1fr)` } }, ...thumbs);
    roving(heads, () => thumbs, () => n_heads, pick);
    const title = make("h2"), reading = make("p", { className: "reading" }), row = div("query");
    const ask = (query) => {
      change({ query: query === size - 1 ? -1 : query });
      stage.announce(reading.textContent);
    };
    const large = canvas({ role: "img", title: "Click a row to read it out",
      onclick: ({ offsetY }) => ask(Math.min(size - 1, Math.floor((size * offsetY) / large.clientHeight))) });
    const text = choice("query: the token that looks", tokens, "", (query) => ask(+query));
    text.classList.add("tokens");
    [...text.children].forEach((token, i) => { token.title = `Where does “${tokens[i]}” look?`; });
    const shades = [0, 0.25, 0.5, 0.75, 1].map((share) => color("attention", share));
    const legend = make("p", { className: "legend soft" }, "0%", make("span", { style: { background: `linear-gradient(90deg, ${shades})` } }),
      "100% (25% is in the middle)");

    function drawSnapshot(at) {
      const chosen = view.layer * n_heads + view.head, query = view.query < 0 ? size - 1 : view.query;
      const weights = bytesOf(answer.attention), triangle = (size * (size + 1)) / 2;
      const start = (head) => (at * thumbs.length + head) * triangle;
      const paint = (canvas, head) => {
        const picture = new ImageData(size, size);
        paintTriangle(new Uint32Array(picture.data.buffer), size, 0, 0, weights, start(head), size, tables.attention);
        canvas.getContext("2d").putImageData(picture, 0, 0);
      };
      paint(large, chosen);
      thumbs.forEach((thumb, i) => {
        paint(thumb.firstChild, i);
        set(thumb, { "aria-checked": i === chosen, tabIndex: i === chosen ? 0 : -1 });
      });
      const from = start(chosen) + (query * (query + 1)) / 2, seen = [...weights.subarray(from, from + query + 1)];
      text.show(String(query));
      [...text.children].forEach((token, i) => {
        const masked = i > query, share = seen[i] / 255;
        token.classList.toggle("hatched", masked);
        set(token, { style: masked ? { background: "", color: "" }
          : { background: color("attention", share), color: inkOn("attention", share) } });
      });
      const best = seen.map((byte, i) => [tokens[i], (byte / 255) ** 2]).sort((a, b) => b[1] - a[1]).slice(0, 3);
      title.textContent = `How layer ${view.layer}, head ${view.head} reads a text at ${stepAt(at)}`;
      reading.textContent = `“${tokens[query]}” looks most at ${best.map(([token, p]) => `“${token}”: ${percent(p)}`).join(", ")}`;
      large.setAttribute("aria-label", `${title.textContent}: ${reading.textContent}`);
      set(row, { style: { top: `${(100 * query) / size}%`, height: `${100 / size}%` } });
      sample.textContent = answer.samples[at] || "(nothing: it ends the text at once)";
      wrote.textContent = `What the model writes at ${stepAt(at)}${answer.prompt}`;
      writing.hidden = !answer.samples.length;
      set(knob.querySelector("input"), { max: answer.steps.length - 1, value: at });
      knob.show(at);
    }

    stage.root.append(run, failure, div("columns main-view",
      make("section", {}, heading,
        make("p", { className: "keys" }, key("step", "", "Validation is measured now and then; the training loss beside it is of the same step"),
          key("training", "training batch", "The loss of the batch of that step"),
          key("validation", "validation", "The loss on text that is held out"), key("floor", "entropy floor", "No model can do better on average")),
        plot, axis, knob, writing),
      make("section", {}, title, div("columns",
        div("every", make("p", {}, "Click a head to enlarge it:"), heads,
          make("p", { className: "soft" }, "A row for each layer, a column for each head.")),
        div("pattern", div("square", large, row), legend,
          make("p", { className: "soft" }, "A row is a query, a column a key."))), reading,
        make("p", {}, "Click a token to see where it looks:"), text)));
    function draw() {
      const latest = answer.steps.length - 1, at = view.at < 0 ? latest : Math.min(view.at, latest);
      drawCurves(at);
      drawSnapshot(at);
    }
    stage.on("answer details at layer head query over live", () => {
      for (const name of ["at", "layer", "head", "query", "over"]) view[name] = model.get(name);
      answer = model.get("answer");
      details = model.get("details");
      drawRun();
      draw();
    });
    stage.on("answered", () => { if (model.get("problem")) drawRun(); }); // for a command that was refused
    return () => stage.close();
  },
};
