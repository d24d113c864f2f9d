// What stands in for a notebook's kernel on a page that has none. `standIn` is a model as anywidget gives one: it keeps
// what is set and tells who listens. Where a GPT runs in the page (`startRuntime`), that GPT answers, and the explorer
// is live; without one it shows what its state holds. A file to send and the course's site use the same code.

const STOPPED = "The model in this page has stopped. What is shown here stays; load the page again to wake it.";
const ASLEEP = "The model in this page could not be started in this browser, so what is shown here stays as it is.";
const PATIENCE = "The model in this page is still reading. If no answer comes, load the page again.";
// What a state has beside the traits that a question is made of.
const NO_QUESTION = new Set(["asked", "answered", "answer", "details", "problem", "live", "kept", "origin", "command"]);

// The bytes that base64 stands for, as an ArrayBuffer.
const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

// The state that a file holds: base64 of gzip of a block. A block is the length of a JSON text in four bytes, the JSON,
// and all the bytes in it.
async function readState(base64) {
  const stream = new Blob([fromBase64(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const block = await new Response(stream).arrayBuffer();
  const length = new DataView(block).getUint32(0, true);
  return JSON.parse(new TextDecoder().decode(new Uint8Array(block, 4, length)), (key, value) =>
    Array.isArray(value?.bytes) && Object.keys(value).length === 1
      ? new DataView(block, 4 + length + value.bytes[0], value.bytes[1] - value.bytes[0]) : value);
}

async function writeState(state) {
  const blocks = [], size = new DataView(new ArrayBuffer(4));
  let length = 0;
  const json = new TextEncoder().encode(JSON.stringify(state, (key, value) => {
    if (!(value instanceof DataView)) return value;
    blocks.push(value);
    return { bytes: [length, length += value.byteLength] };
  }));
  size.setUint32(0, json.length, true);
  const stream = new Blob([size, json, ...blocks]).stream().pipeThrough(new CompressionStream("gzip"));
  let letters = "";
  for (const byte of new Uint8Array(await new Response(stream).arrayBuffer())) letters += String.fromCharCode(byte);
  return btoa(letters);
}

// A GPT in a worker. `code` is the text of that worker, `model` the packed model (gzip) as an ArrayBuffer. Questions
// are answered in their order. `opened` gives {name, config} of the model; `closed` a sentence once the worker is no
// more, whatever the reason, and then every question fails with it.
function startRuntime(code, model) {
  const waiting = new Map(), life = `gptlib ${Math.random()}`;
  let worker, asked = 0, over = "", end, open;
  const closed = new Promise((done) => { end = (sentence) => {
    if (over) return;
    over = sentence;
    worker?.terminate();
    for (const { failed } of waiting.values()) failed(Error(over));
    done(over);
  }; });
  const opened = new Promise((done) => { open = done; });
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  try {
    worker = new Worker(address);
    worker.onerror = (event) => {
      event.preventDefault();
      end(worker.awake ? STOPPED : ASLEEP);
    };
    worker.onmessage = ({ data }) => {
      if (data.opened) {
        worker.awake = true;
        // A worker that dies says nothing; but the lock that it holds is free then.
        navigator.locks?.request(life, () => end(STOPPED)).catch(() => {});
        return open(data.opened);
      }
      if (!worker.awake) return end(data.problem);
      waiting.get(data.id).done(data);
      waiting.delete(data.id);
    };
    worker.postMessage({ open: model, life }, [model]);
  } catch {
    end(ASLEEP);
  }
  return {
    opened,
    closed,
    // {answer, details, traits, problem}: worker.js says what they are.
    ask(kind, who, traits) {
      if (over) return Promise.reject(Error(over));
      const id = ++asked;
      worker.postMessage({ id, kind, who, traits });
      return new Promise((done, failed) => waiting.set(id, { done, failed }));
    },
    close: () => end(STOPPED),
  };
}

let standIns = 0;

// The model of one explorer. `state` is what Python's page_state gave; `kind` ("attention", "generation", "patching")
// says whose questions these are, `answers` (of `startRuntime`) who answers them, `title` which explorer it is, and
// `files.page` gives the page itself as a file, where it can be one.
function standIn(state, { kind = "", title = document.title, answers = null, files = {} } = {}) {
  const listeners = new Map(), who = `${kind} ${++standIns}`;
  const tell = (event, ...what) => { for (const call of [...(listeners.get(event) ?? [])]) call(...what); };
  // All is set before anyone is told of a part of it.
  const take = (changes) => {
    const news = Object.entries(changes).filter(([name, value]) => value !== undefined && state[name] !== value);
    for (const [name, value] of news) state[name] = value;
    for (const [name] of news) tell(`change:${name}`);
    if (news.length) tell("change");
  };
  const question = () => Object.fromEntries(Object.entries(state).filter(([name]) => !NO_QUESTION.has(name)));
  const answer = async () => {
    const { asked } = state;
    try {
      const { answer, details, traits, problem = "" } = await answers.ask(kind, who, question());
      if (asked < state.asked) take({ answer }); // a later question is on its way
      else take({ ...traits, answer, details, problem, answered: asked });
    } catch ({ message }) {
      take({ problem: message, answered: asked });
    }
  };
  const takeUp = async (opened) => {
    const values = valuesOf(opened, title, state);
    const { answer, details, traits, problem } = await answers.ask(kind, who, { ...question(), ...values });
    if (problem) throw Error(problem);
    take({ ...values, ...traits, answer, details, problem: "" });
  };
  const saved = {
    state: () => new TextEncoder().encode(JSON.stringify(
      { explorer: title, state: Object.fromEntries(Object.keys(state.kept).map((name) => [name, state[name]])) }, null, 1)),
    page() { throw Error("This page cannot be saved from here; the browser’s own menu can."); },
    ...files,
  };
  Object.assign(state, { live: Boolean(answers), problem: "" });
  // The model reads what is shown before it is asked for more.
  if (answers) answer().then(() => performance.mark("awake"));
  return {
    state,
    patience: PATIENCE,
    get: (name) => state[name],
    set: (name, value) => take({ [name]: value }),
    save_changes() { if (state.live) answer(); },
    async send({ id, save, open }) {
      const reply = { id }, buffers = [];
      await null; // who asks listens only once this has returned, and a kernel is never that quick
      try {
        if (save) buffers.push(await saved[save]());
        else await takeUp(open);
      } catch ({ message }) {
        reply.problem = message;
      }
      tell("msg:custom", reply, buffers);
    },
    on(names, call) {
      for (const name of names.split(" ")) listeners.set(name, [...(listeners.get(name) ?? []), call]);
    },
    off(names, call) {
      for (const name of (names ?? [...listeners.keys()].join(" ")).split(" "))
        listeners.set(name, (listeners.get(name) ?? []).filter((kept) => call && kept !== call));
    },
    // Go on without the model that answered, and say why.
    fall(problem) {
      this.lacks = "the model, which has stopped";
      take({ live: false, problem, answered: state.asked });
    },
  };
}

// Show an explorer (a module's `default`) in `el`. When the model that answers is no more, it is drawn anew, as one
// that has only what it holds. Gives a function that takes it away.
function showExplorer(explorer, model, el, answers = null) {
  let gone = false, remove = explorer.render({ model, el });
  answers?.closed.then((why) => {
    if (gone) return;
    remove();
    model.fall(why);
    remove = explorer.render({ model, el });
  });
  return () => {
    gone = true;
    remove();
  };
}

// --- a state that was saved, and opened again ----------------------------------------------------------------------

const LARGEST_STATE = 1e7; // characters of JSON

// The values that such a state names. What is no state of this explorer is refused as Python refuses it.
function valuesOf(opened, title, { kept }) {
  const size = JSON.stringify(opened).length, shown = (value) => shortened(JSON.stringify(value), 80);
  if (size > LARGEST_STATE) throw Error(`State has ${size.toLocaleString("en")} characters; one has at most ${LARGEST_STATE.toLocaleString("en")}`);
  if (!isObject(opened) || Object.keys(opened).sort().join() !== "explorer,state")
    throw Error('State needs to be what to_state gives: {"explorer": title, "state": {…}}');
  const { explorer, state: values } = opened;
  if (explorer !== title) throw Error(`State is of the explorer ${shown(explorer)}; it needs one of ${shown(title)}`);
  if (!isObject(values) || Object.keys(values).some((name) => !Object.hasOwn(kept, name)))
    throw Error(`State holds ${shown(values)}; it needs values by name, of ${Object.keys(kept).join(", ")}`);
  for (const [name, value] of Object.entries(values)) {
    if (!fits(value, kept[name])) throw Error(`${name} is ${shown(value)}; it needs ${needed(kept[name])}`);
  }
  return values;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const shortened = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);
const KINDS = {
  text: ["a text", (value) => typeof value === "string"],
  whole: ["a whole number", Number.isSafeInteger],
  number: ["a number", (value) => typeof value === "number"],
  boolean: ["true or false", (value) => typeof value === "boolean"],
  any: ["a value", () => true],
};

// Whether a value is of a kind: one of KINDS, {one: [values]}, {list: kind}, {tuple: [kinds]}, {maybe: kind}.
function fits(value, kind) {
  const { one, list, tuple, maybe } = kind;
  if (maybe) return value === null || fits(value, maybe);
  if (one) return one.includes(value);
  if (list) return Array.isArray(value) && value.every((item) => fits(item, list));
  if (tuple) return Array.isArray(value) && value.length === tuple.length && tuple.every((item, at) => fits(value[at], item));
  return KINDS[kind][1](value);
}

function needed(kind) {
  const { one, list, tuple, maybe } = kind;
  if (maybe) return `${needed(maybe)}, or null`;
  if (one) return `one of ${one.join(", ")}`;
  if (list) return list === "any" ? "a list" : `a list, each item ${needed(list)}`;
  if (tuple) return `a list of ${tuple.map(needed).join(" and ")}`;
  return KINDS[kind][0];
}
