// What every explorer's page stands on. Python puts COLORS and this before each explorer's own module.

// Each table as 256 pixels of a canvas.
const tables = Object.fromEntries(Object.entries(COLORS).map(([name, text]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return [name, Uint32Array.from({ length: 256 }, (_, i) =>
    0xff000000 | (bytes[3 * i + 2] << 16) | (bytes[3 * i + 1] << 8) | bytes[3 * i])];
}));

// Red, green and blue at `share` (0 to 1) of a table.
function rgb(name, share) {
  const value = tables[name][Math.round(255 * Math.max(0, Math.min(1, share)))];
  return [value & 255, (value >> 8) & 255, (value >> 16) & 255];
}

const color = (name, share) => `rgb(${rgb(name, share).join(" ")})`;

// Dark or light ink, whichever reads better on that color.
function inkOn(name, share) {
  const [red, green, blue] = rgb(name, share);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 135 ? "#23282f" : "#fff";
}

// An element. Text stays text, and is never read as markup. Properties with a dash (aria-label, data-x) and "role"
// are set as attributes. Children that are null or false are left out.
function make(tag, properties = {}, ...children) {
  const element = set(document.createElement(tag), tag === "button" ? { type: "button", ...properties } : properties);
  element.append(...children.filter((child) => child != null && child !== false));
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

const div = (className, ...children) => make("div", { className }, ...children);

const svg = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const percent = (p) => (p > 0 && p < 0.0005 ? "<0.1%" : `${(100 * p).toFixed(p >= 0.0995 ? 0 : 1)}%`);
const number = (x, digits = 2) => x.toFixed(digits).replace("-", "−");
const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const floatsOf = (view) => new Float32Array(bytesOf(view).slice().buffer);

const LOST = "The kernel was restarted. The picture is from before; run the cell again to go on.";

// The frame of an explorer: what is seen and done (`guide`), a toolbar, and its way to the kernel. What listens beyond
// its own elements does so through `stage.on` or with `stage.signal`, so that `stage.close` ends it.
function open(model, host, name, guide) {
  const closing = new AbortController();
  const problem = make("p", { className: "problem", role: "alert" });
  const live = make("p", { className: "unseen", "aria-live": "polite" });
  const told = make("p", { className: "guide" }, guide);
  const large = make("button", { "aria-pressed": false, title: "Larger letters, for a projector", onclick() {
    large.ariaPressed = root.classList.toggle("large");
  } }, "Large");
  const full = make("button", { title: "The whole screen; Escape leaves it", hidden: !document.fullscreenEnabled, onclick() {
    if (document.fullscreenElement === root) document.exitFullscreen();
    else root.requestFullscreen().catch(() => say("The browser did not give the whole screen."));
  } }, "Full screen");
  const toolbar = make("div", { className: "toolbar", role: "group", "aria-label": "How it is shown" }, large, full);
  const root = div(`gptlib ${name}`, div("head", told, toolbar), problem, live);
  host.append(root);
  root.addEventListener("fullscreenchange", () => { full.ariaPressed = document.fullscreenElement === root; });
  // A finger does not hover: what it touches says there what a pointer would be told.
  root.addEventListener("pointerup", ({ pointerType, target }) => {
    if (pointerType !== "mouse") told.textContent = target.closest("[title]")?.title || guide;
  });

  let inFlight = false, next = null, patience = 0, newest = 0, lost = false;
  const say = (text) => { problem.textContent = text; problem.hidden = !text; };
  const hear = (event, call) => {
    model.on(event, call);
    closing.signal.addEventListener("abort", () => model.off(event, call));
  };
  const put = (changes) => { for (const [trait, value] of Object.entries(changes)) model.set(trait, value); };
  // Whether what the traits hold is for a question before one that was answered already.
  const stale = () => model.get("answered") < (newest = Math.max(newest, model.get("answered")));
  const sendNext = () => {
    put({ ...next, asked: model.get("asked") + 1 });
    next = null;
    inFlight = true;
    model.save_changes();
    clearTimeout(patience);
    patience = setTimeout(() => say("The kernel has not answered yet. If it was restarted, run the cell again."), 8000);
  };

  // What listens, in order, is called once for all that changed; only then goes the next question.
  const calls = [], due = new Set();
  const flush = () => {
    const now = calls.filter((call) => due.has(call));
    due.clear();
    if (closing.signal.aborted || stale()) return;
    try {
      for (const call of now) call();
    } finally {
      if (model.get("answered") >= model.get("asked")) {
        inFlight = false;
        clearTimeout(patience);
        if (next) sendNext();
      }
    }
  };

  const stage = {
    root,
    signal: closing.signal,
    get live() { return model.get("live"); },
    // Change traits. One question is on its way at a time; what comes meanwhile is sent as the next.
    ask(changes) {
      if (lost) return say(LOST);
      if (!stage.live) return put(changes);
      next = { ...next, ...changes };
      if (!inFlight) sendNext();
    },
    // Call now and whenever one of these traits changes.
    on(traits, call) {
      calls.push(call);
      for (const trait of traits.split(" ")) hear(`change:${trait}`, () => {
        if (!due.size) queueMicrotask(flush);
        due.add(call);
      });
      call();
    },
    announce(text) { live.textContent = text; },  // to a screen reader
    say,  // what went wrong, on the page itself
    close() { clearTimeout(patience); closing.abort(); root.remove(); },
  };
  // JupyterLab leaves keys alone where the very element in focus says so.
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", ""));
  stage.on("problem answered", () => say(model.get("problem")));
  // JupyterLab's widgets tell of a restart; where none is told, a question without an answer is.
  hear("comm_live_update", () => {
    lost = true;
    put({ live: false });
    clearTimeout(patience);
    say(LOST);
  });
  return stage;
}

// Arrow keys, Home, End, Page Up and Page Down move the focus among `items()`, in rows of `columns()`, of which the
// last may be shorter, and others where `items()` has gaps at their ends. Tab enters and leaves the group. Home and
// End are the ends of a row, or of the only column.
function roving(group, items, columns, chosen) {
  group.addEventListener("keydown", (event) => {
    const all = items(), wide = columns(), last = all.length - 1, at = all.indexOf(event.target.closest("[tabindex]"));
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const column = at % wide, row = at - column, bottom = last - (last % wide);
    const [first, end] = wide > 1 ? [row, Math.min(row + wide - 1, last)] : [0, last];
    const right = all.findIndex((item, index) => item && index > at);
    const to = { ArrowLeft: at - 1, ArrowRight: right, ArrowUp: at - wide, Home: first, End: end, PageUp: column,
                 ArrowDown: row < bottom ? Math.min(at + wide, last) : -1, PageDown: Math.min(bottom + column, last) }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const there = all.findLastIndex((item, index) => item && index <= to); // in a gap: what is before it
    if (there < 0) return;
    focusOne(all, there);
    chosen?.(there);
  });
}

function focusOne(all, at) {
  all.forEach((item, index) => { item.tabIndex = index === at ? 0 : -1; });
  all[at].focus();
}

// A row of buttons of which one is chosen (radio buttons to a screen reader).
function choice(label, options, value, chosen) {
  const buttons = Object.entries(options).map(([key, text]) =>
    make("button", { role: "radio", value: key, onclick: () => chosen(key) }, text));
  const group = make("div", { className: "choice", role: "radiogroup", "aria-label": label }, ...buttons);
  group.show = (key) => buttons.forEach((button) =>
    set(button, { "aria-checked": button.value === key, tabIndex: button.value === key ? 0 : -1 }));
  roving(group, () => buttons, () => buttons.length, (at) => chosen(buttons[at].value));
  group.show(value);
  return group;
}

function slider(label, { min, max, step, value, show = String }, moved) {
  const input = make("input", { type: "range", min, max, step, value, "aria-label": label,
    oninput() { box.show(+input.value); moved(+input.value); } });
  const shown = make("output"), box = make("label", { className: "slider" }, make("span", {}, label), input, shown);
  box.show = (to) => {
    if (document.activeElement !== input) input.value = to;
    shown.textContent = show(to);
    input.setAttribute("aria-valuetext", show(to));
  };
  box.show(value);
  return box;
}

// Bars of probabilities, longest first: [{token, p, was?}]; `was` draws a mark and tells the difference.
function bars(rows, { clicked } = {}) {
  const most = Math.max(0.01, ...rows.map(({ p, was = 0 }) => Math.max(p, was)));
  const wide = (share) => `${(100 * share) / most}%`;
  const span = (className, style, ...children) => make("span", { className, style }, ...children);
  return make("ul", { className: "bars" }, ...rows.map((row) => {
    const { token, p, was, title = "" } = row, compared = was !== undefined, delta = compared ? p - was : 0;
    const [turn, sign] = delta > 0.0005 ? ["up", "+"] : delta < -0.0005 ? ["down", "−"] : ["", ""];
    return make("li", {}, make(clicked ? "button" : "div", { className: "bar", title, onclick: clicked && (() => clicked(row)) },
      span("token", {}, token),
      span("track", {}, span("fill", { width: wide(p) }), compared && span("was", { left: wide(was) })),
      span("value", {}, percent(p)),
      compared && span(`delta ${turn}`, {}, sign && sign + percent(Math.abs(delta)).replace("%", " pp"))));
  }));
}

// Paint a causal matrix of bytes (its triangle packed row by row, from `offset`) at (left, top) of `pixels`.
function paintTriangle(pixels, width, left, top, bytes, offset, size, table) {
  for (let query = 0, at = offset; query < size; query++) {
    let to = (top + query) * width + left;
    for (let key = 0; key <= query; key++) pixels[to++] = table[bytes[at++]];
  }
}
