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
const number = (x, digits = 2) => x.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "−"); // no −0.00
const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const floatsOf = (view) => new Float32Array(bytesOf(view).slice().buffer);

const LOST = "The kernel was restarted. The picture is from before; run the cell again to go on.";
const SLOW = "The kernel has not answered yet. If it was restarted, run the cell again.";

// Properties that say what others say too, or nothing about a moment.
const TWICE = /^(-webkit|transition|animation|inline-|block-|inset-|(max|min|border|margin|padding|scroll)-(block|inline|start|end)|perspective-o|d$)/;

// What an element shows now, as an SVG file that needs nothing else: each element with its computed style, of which
// all is left out that is as in one that nobody styled and as in the element around it, which it may inherit from.
function drawing(root) {
  const around = 12, { offsetWidth: w, scrollHeight: h } = root, [width, height] = [w + 2 * around, h + 2 * around];
  const { backgroundColor } = getComputedStyle(root), copy = root.cloneNode(true);
  const names = [...getComputedStyle(root)].filter((name) => !TWICE.test(name));
  // Computed sizes are written with few digits; what is lost by that would break a line that had just its room.
  const exact = (size) => size.replace(/^[\d.]+(?=px$)/, (x) => (x.includes(".") ? +x + 0.006 : x));
  const valuesOf = (style) => names.map((name) => {
    const value = style.getPropertyValue(name);
    return name === "transform-origin" && style.transform === "none" ? "" : /^(width|height)$/.test(name) ? exact(value) : value;
  });
  const plain = div(""), bare = {}, seen = new Map(), sheet = new Map();
  const unstyled = ({ namespaceURI, localName, type }) => bare[localName + type] ??= (() => {
    const one = document.createElementNS(namespaceURI, localName);
    if (localName === "input") one.type = type;
    one.style.all = "revert";
    plain.append(one);
    return valuesOf(getComputedStyle(one));
  })();
  // The class of all that looks so.
  const classOf = (values, one, outer, part = "") => {
    const plainly = unstyled(one), css = names.flatMap((name, at) => {
      const value = name.startsWith("overflow") ? values[at].replace(/auto|scroll/, "hidden") : values[at];
      // A width of 0 may be that of a line whose style is none.
      const same = value === plainly[at] && value === outer?.[at] && !/(border|outline).*width/.test(name);
      return same ? [] : [`${name}:${value}`];
    }).join(";"), key = `${part}{${css}}`;
    if (!sheet.has(key)) sheet.set(key, `s${sheet.size}`);
    return sheet.get(key);
  };
  set(plain, { style: { all: "initial", position: "absolute" } });
  document.body.append(plain);
  const all = [root, ...root.querySelectorAll("*")], copies = [copy, ...copy.querySelectorAll("*")];
  all.forEach((one, at) => {
    const style = getComputedStyle(one), to = copies[at], { localName, scrollLeft, scrollTop, parentElement } = one;
    to.removeAttribute("style");
    if (style.display === "none" || one.closest(".toolbar > *, .unseen")) return to.setAttribute("data-out", "");
    const values = valuesOf(style);
    // A height of its own would keep a last child's margin inside.
    if (one.firstElementChild && /^(block|table)$/.test(style.display) && one.computedStyleMap?.().get("height").value === "auto")
      values[names.indexOf("height")] = "auto";
    const classes = [classOf(values, one, seen.get(parentElement))];
    seen.set(one, values);
    for (const part of ["::before", "::after"]) {
      const drawn = getComputedStyle(one, part);
      if (!/^(none|normal)$/.test(drawn.content)) classes.push(classOf(valuesOf(drawn), make("span"), values, part));
    }
    to.setAttribute("class", classes.join(" "));
    if (scrollLeft || scrollTop) for (const child of to.children) child.dataset.moved = `${-scrollLeft}px ${-scrollTop}px`;
    if (localName === "textarea") to.textContent = one.value;
    else if (localName === "input") { to.setAttribute("value", one.value); to.toggleAttribute("checked", one.checked); }
    else if (localName === "option") to.toggleAttribute("selected", one.selected);
    else if (localName === "canvas") to.replaceWith(make("img", { src: one.toDataURL(), className: to.className, alt: one.ariaLabel ?? "" }));
  });
  plain.remove();
  for (const one of copy.querySelectorAll("[data-moved]")) one.style.translate = one.dataset.moved;
  for (const one of copy.querySelectorAll("[data-out]")) one.remove();
  const rules = [...sheet].map(([css, name]) => `.${name}${css}`).join("\n");
  set(copy, { style: { margin: 0, height: `${h}px`, overflow: "visible" } }).prepend(make("style", {}, rules));
  const file = svg("svg", { width, height, viewBox: `${-around} ${-around} ${width} ${height}`, style: `background: ${backgroundColor}` },
    svg("foreignObject", { width: w, height: h }, copy));
  // What XML has no way to write is left out.
  const text = new XMLSerializer().serializeToString(file).replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, "\ufffd");
  return { width, height, blob: new Blob([text], { type: "image/svg+xml" }) };
}

// The same in pixels, two for each on the screen where a canvas may be so large. Only a data: address may be painted.
async function pixels({ width, height, blob }) {
  const image = new Image(), reader = new FileReader(), zoom = Math.min(2, 16384 / Math.max(width, height));
  reader.readAsDataURL(blob);
  await new Promise((done) => { reader.onload = done; });
  image.src = reader.result;
  await image.decode();
  const canvas = make("canvas", { width: zoom * width, height: zoom * height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done));
}

function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Where the browser keeps its clipboard to itself, through a text that is selected.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const box = make("textarea", { value: text });
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    if (!done) throw Error("The browser did not let the page copy.");
  }
}

// The frame of an explorer: what is seen and done (`guide`), a toolbar, and its way to the kernel. What listens beyond
// its own elements does so through `stage.on` or with `stage.signal`, so that `stage.close` ends it.
function open(model, host, name, guide) {
  const closing = new AbortController();
  // Over the guide: what comes and goes moves nothing from under the pointer.
  const problem = make("p", { className: "problem", role: "alert", title: "A click or Escape closes this", onclick: () => say("") });
  const live = make("p", { className: "unseen", "aria-live": "polite" });
  const told = make("p", { className: "guide" }, guide);
  const large = make("button", { "aria-pressed": false, title: "Larger letters, for a projector", onclick() {
    large.ariaPressed = root.classList.toggle("large");
  } }, "Large");
  const full = make("button", { title: "The whole screen; Escape leaves it", hidden: !document.fullscreenEnabled, onclick() {
    if (document.fullscreenElement === root) document.exitFullscreen();
    else root.requestFullscreen().catch(() => say("The browser did not give the whole screen."));
  } }, "Full screen");
  const toolbar = make("div", { className: "toolbar", role: "group", "aria-label": "How it is shown" },
    large, full, ...saving(() => stage, name));
  const root = div(`gptlib ${name}`, problem, div("head", told, toolbar), live);
  host.append(root);
  root.addEventListener("fullscreenchange", () => { full.ariaPressed = document.fullscreenElement === root; });
  root.addEventListener("keydown", ({ key }) => { if (key === "Escape") say(""); });
  // A finger does not hover: what it touches says there what a pointer would be told.
  root.addEventListener("pointerup", ({ pointerType, target }) => {
    if (pointerType === "mouse") return;
    delete told.dataset.tip;
    const tip = target.closest("[title]")?.title;
    if (tip) told.dataset.tip = tip;
  });

  const { patience: slowly = SLOW } = model; // a page's own model says it in its own words
  let inFlight = false, next = null, patience = 0, newest = 0, lost = false;
  const say = (text) => { problem.textContent = text; problem.hidden = !text; };
  const hear = (event, call) => {
    model.on(event, call);
    closing.signal.addEventListener("abort", () => model.off(event, call));
  };
  const waiting = new Map();
  hear("msg:custom", ({ id, problem }, [file] = []) => {
    waiting.get(id)?.(problem, file);
    waiting.delete(id);
  });
  const put = (changes) => { for (const [trait, value] of Object.entries(changes)) model.set(trait, value); };
  // Whether what the traits hold is for a question before one that was answered already.
  const stale = () => model.get("answered") < (newest = Math.max(newest, model.get("answered")));
  const sendNext = () => {
    put({ ...next, asked: model.get("asked") + 1 });
    next = null;
    inFlight = true;
    model.save_changes();
    clearTimeout(patience);
    patience = setTimeout(() => say(slowly), 8000);
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
    // Ask for what is no trait: a file, as a Blob's part; or that a state be taken up.
    request(content) {
      if (lost) throw Error(LOST);
      const id = `${Math.random()}`, slow = setTimeout(() => say(slowly), 8000);
      model.send({ ...content, id });
      return new Promise((done, failed) => waiting.set(id, (problem, file) => {
        clearTimeout(slow);
        if (problem) failed(Error(problem));
        else done(file);
      }));
    },
    // What a page that does not answer would need for that; the course's site has its own word for it.
    get lacks() { return model.lacks ?? "a kernel"; },
    get code() { return model.get("answer").code; },
    announce(text) { live.textContent = text; },  // to a screen reader
    say,  // what went wrong, on the page itself
    close() { clearTimeout(patience); closing.abort(); root.remove(); },
  };
  // JupyterLab leaves keys alone where the very element in focus says so.
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", ""));
  stage.on("problem answered", () => say(model.get("problem")));
  // JupyterLab's widgets tell of a restart; where none is told, a question without an answer is.
  const origin = model.get("origin"), takeUp = (open) => model.send({ open });
  const keep = origin && keeping(root, closing.signal, origin, takeUp);
  hear("comm_live_update", () => {
    keep?.({ ...origin, state: Object.fromEntries(Object.keys(origin.state).map((name) => [name, model.get(name)])) });
    lost = true;
    put({ live: false });
    clearTimeout(patience);
    say(LOST);
  });
  return stage;
}

// A button and the menu that it opens: all that can be saved of an explorer, and a state to open.
function saving(stageOf, name) {
  const item = (text, title, act) => make("button", { title, async onclick() {
    const { say, announce } = stageOf();
    menu.hidePopover();
    try {
      announce(await act(stageOf()) ?? "saved");
      say("");
    } catch ({ message }) { say(message); }
  } }, text);
  const fetched = async (stage, save, file, type) => download(new Blob([await stage.request({ save })], { type }), file);
  const chooser = make("input", { type: "file", accept: ".json", hidden: true, async onchange() {
    const { say, announce, request } = stageOf(), [file] = chooser.files;
    chooser.value = "";
    try {
      if (file.size > 1e7) throw Error(`${file.name} is too large to be a state.`);
      const state = await file.text().then(JSON.parse).catch(() => { throw Error(`${file.name} is no JSON file.`); });
      await request({ open: state });
      say("");
      announce(`${file.name} was taken up`);
    } catch ({ message }) { say(message); }
  } });
  const code = item("Copy the code", "", async (stage) => { await copyText(stage.code); return "copied"; });
  const again = item("Open a state …", "", () => { chooser.click(); return ""; });
  const menu = make("div", { className: "menu", popover: "auto", role: "group", "aria-label": "Save", onbeforetoggle() {
    const { left, bottom } = button.getBoundingClientRect(), { code: text, live, lacks } = stageOf();
    set(menu, { style: { left: `min(${left}px, 100vw - 13em)`, top: `min(${bottom + 2}px, 100vh - 15em)` } });
    set(code, { hidden: text === undefined, disabled: !text, title: text ? "Python that repeats the changes" : "Needs a change first: this is Python that repeats your changes" });
    set(again, { disabled: !live, title: live ? "Take up a state that was saved" : `Needs ${lacks}` });
  } },
    item("Picture (PNG)", "What is on the screen, in pixels", async ({ root }) => download(await pixels(drawing(root)), `${name}.png`)),
    item("Drawing (SVG)", "What is on the screen, sharp at any size", ({ root }) => download(drawing(root).blob, `${name}.svg`)),
    item("Page (HTML)", "A file that any browser opens, without a network", (stage) => fetched(stage, "page", `${name}.html`, "text/html")),
    item("State (JSON)", "What was typed and chosen, to go on from later", (stage) => fetched(stage, "state", `${name}.json`, "application/json")),
    code, again, chooser);
  const button = make("button", { title: "A picture, a page, or the state to go on from", popoverTargetElement: menu }, "Save ▾");
  return [button, menu];
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

// Bars of probabilities, of which 1 fills the track: [{token, p, was?}]; `was` draws a mark and tells the difference.
function bars(rows, { clicked } = {}) {
  const wide = (share) => `${100 * share}%`;
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
