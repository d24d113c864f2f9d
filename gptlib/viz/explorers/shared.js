// What every explorer's page stands on. Python puts COLOURS and this before each explorer's own module.

const tables = Object.fromEntries(Object.entries(COLOURS).map(([name, text]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++)
    table[i] = 0xff000000 | (bytes[3 * i + 2] << 16) | (bytes[3 * i + 1] << 8) | bytes[3 * i];
  return [name, table];
}));

// The colour at `share` (0 to 1) of a table, for CSS.
function colour(name, share) {
  const value = tables[name][Math.max(0, Math.min(255, Math.round(share * 255)))];
  return `rgb(${value & 255} ${(value >> 8) & 255} ${(value >> 16) & 255})`;
}

// Dark or light ink, whichever reads better on the colour at `share` of a table.
function inkOn(name, share) {
  const value = tables[name][Math.max(0, Math.min(255, Math.round(share * 255)))];
  const light = 0.299 * (value & 255) + 0.587 * ((value >> 8) & 255) + 0.114 * ((value >> 16) & 255);
  return light > 135 ? "#23282f" : "#fff";
}

// An element. Text is always set as text, never read as markup. `properties` are set on the element;
// names with a dash (aria-label, data-x) and "role" become attributes.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  set(element, properties);
  element.append(...children.filter((child) => child != null));
  return element;
}

function set(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (name === "style") Object.assign(element.style, value);
    else if (name === "role" || name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  return element;
}

const svg = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const percent = (p) => (p >= 0.9995 ? "100%" : p >= 0.0995 ? `${(100 * p).toFixed(0)}%` : `${(100 * p).toFixed(1)}%`);
const number = (x, digits = 2) => x.toFixed(digits).replace("-", "−");
const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const floatsOf = (view) => new Float32Array(bytesOf(view).slice().buffer);

// The frame of an explorer on the page: its root, what it says, and its way to the kernel. Everything that
// listens does so with `stage.signal` or through `stage.on`, so that `stage.close` ends all of it.
function open(model, host, name) {
  const closing = new AbortController();
  // JupyterLab leaves keys alone inside an element that says so.
  const root = make("div", { className: `gptlib ${name}`, "data-lm-suppress-shortcuts": "true" });
  const problem = make("p", { className: "problem", role: "alert" });
  const live = make("p", { className: "unseen", "aria-live": "polite" });
  root.append(problem, live);
  host.append(root);

  let inFlight = false, next = null, patience = 0;
  const say = (text) => { problem.textContent = text; problem.hidden = !text; };
  const sendNext = () => {
    const changes = next;
    next = null;
    inFlight = true;
    for (const [trait, value] of Object.entries(changes)) model.set(trait, value);
    model.set("asked", model.get("asked") + 1);
    model.save_changes();
    clearTimeout(patience);
    patience = setTimeout(() => say("The kernel has not answered yet. If it was restarted, run the cell again."), 8000);
  };

  const stage = {
    model, root, name,
    signal: closing.signal,
    live: model.get("live"),
    // Change traits. One question is on its way at a time; of those that come meanwhile the latest is sent.
    ask(changes) {
      if (!stage.live) {
        for (const [trait, value] of Object.entries(changes)) model.set(trait, value);
        return;
      }
      next = { ...next, ...changes };
      if (!inFlight) sendNext();
    },
    // Call now and whenever one of these traits changes. Several changes in one message make one call.
    on(traits, call) {
      let waiting = false;
      const later = () => {
        if (waiting) return;
        waiting = true;
        queueMicrotask(() => { waiting = false; if (!closing.signal.aborted) call(); });
      };
      const events = traits.split(" ").map((trait) => `change:${trait}`);
      for (const event of events) model.on(event, later);
      closing.signal.addEventListener("abort", () => { for (const event of events) model.off(event, later); });
      call();
    },
    listen: (target, type, call, options = {}) => target.addEventListener(type, call, { signal: closing.signal, ...options }),
    // Tell a screen reader.
    announce(text) { live.textContent = text; },
    // Say what went wrong on the page itself.
    say,
    close() { clearTimeout(patience); closing.abort(); root.remove(); },
  };
  stage.on("answered", () => {
    if (model.get("answered") < model.get("asked")) return;
    inFlight = false;
    clearTimeout(patience);
    if (next) sendNext();
  });
  stage.on("problem answered", () => say(model.get("problem")));
  return stage;
}

// Arrow keys move the focus among `items()`, laid out in rows of `columns()`; Tab enters and leaves the group.
function roving(stage, group, items, columns, chosen) {
  stage.listen(group, "keydown", (event) => {
    const all = items(), wide = columns(), at = all.indexOf(event.target.closest("[tabindex]"));
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = at - (at % wide), end = Math.min(row + wide, all.length) - 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - wide, ArrowDown: at + wide,
                 Home: row, End: end, PageUp: at % wide, PageDown: all.length - wide + (at % wide) }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to >= 0 && to < all.length) { focusOne(all, to); chosen?.(to); }
  });
}

function focusOne(all, at) {
  all.forEach((item, index) => { item.tabIndex = index === at ? 0 : -1; });
  all[at].focus();
}

// A row of buttons of which one is chosen (radio buttons to a screen reader).
function choice(stage, label, options, value, chosen) {
  const group = make("div", { className: "choice", role: "radiogroup", "aria-label": label });
  const buttons = Object.entries(options).map(([key, text]) =>
    make("button", { type: "button", role: "radio", textContent: text, value: key }));
  group.append(...buttons);
  group.show = (key) => buttons.forEach((button) => {
    button.setAttribute("aria-checked", button.value === key);
    button.tabIndex = button.value === key ? 0 : -1;
  });
  stage.listen(group, "click", (event) => { if (event.target.value) chosen(event.target.value); });
  roving(stage, group, () => buttons, () => buttons.length, (at) => chosen(buttons[at].value));
  group.show(value);
  return group;
}

// A slider with its name and its value beside it.
function slider(stage, label, { min, max, step, value, show = String }, moved) {
  const input = make("input", { type: "range", min, max, step, value, "aria-label": label });
  const shown = make("output", { textContent: show(value) });
  const box = make("label", { className: "slider" }, make("span", { textContent: label }), input, shown);
  box.show = (to) => {
    if (document.activeElement !== input) input.value = to;
    shown.textContent = show(to);
    input.setAttribute("aria-valuetext", show(to));
  };
  stage.listen(input, "input", () => { shown.textContent = show(+input.value); moved(+input.value); });
  return box;
}

// Bars of probabilities, longest first: [{token, p, was?}]; `was` draws a mark and tells the difference.
function bars(rows, { clicked, signal } = {}) {
  const most = Math.max(0.01, ...rows.map((row) => Math.max(row.p, row.was ?? 0)));
  const list = make("ul", { className: "bars" });
  for (const row of rows) {
    const delta = row.was === undefined ? null : row.p - row.was;
    const line = make(clicked ? "button" : "div", { className: "bar", title: row.title ?? "" },
      make("span", { className: "token", textContent: row.token }),
      make("span", { className: "track" },
        make("span", { className: "fill", style: { width: `${(100 * row.p) / most}%` } }),
        row.was === undefined ? null : make("span", { className: "was", style: { left: `${(100 * row.was) / most}%` } })),
      make("span", { className: "value", textContent: percent(row.p) }),
      delta === null ? null : make("span", {
        className: `delta ${delta > 0.0005 ? "up" : delta < -0.0005 ? "down" : ""}`,
        textContent: Math.abs(delta) < 0.0005 ? "" : `${delta > 0 ? "+" : "−"}${percent(Math.abs(delta))}` }));
    if (clicked) line.addEventListener("click", () => clicked(row), { signal });
    list.append(make("li", {}, line));
  }
  return list;
}

// Paint a causal matrix of bytes (its triangle packed row by row, from `offset`) at (left, top) of `pixels`.
function paintTriangle(pixels, width, left, top, bytes, offset, size, table) {
  for (let query = 0, at = offset; query < size; query++) {
    let to = (top + query) * width + left;
    for (let key = 0; key <= query; key++) pixels[to++] = table[bytes[at++]];
  }
}
