// What makes the explorers of a page alive, each when a reader comes near it; their pictures stand there until then and
// stay where it fails. Before this comes live/host.js, which stands in for the notebook's kernel. The files are classic
// scripts that leave their value in the global `gptlib`, since a page that was opened from a disk has no modules.

const assets = new URL("./", document.currentScript.src), coming = new Map(), awake = new Map(), waiting = new Set();

// The value that the script assets/`name` leaves. What did not come is asked for again the next time.
function asset(name) {
  if (!coming.has(name)) coming.set(name, new Promise((done, failed) => {
    const gone = () => { coming.delete(name); failed(Error(`assets/${name} could not be loaded.`)); };
    const script = Object.assign(document.createElement("script"), { src: new URL(name, assets), onerror: gone,
      onload: () => { name in (globalThis.gptlib ?? {}) ? done(globalThis.gptlib[name]) : gone(); } });
    document.head.append(script);
  }));
  return coming.get(name);
}

// A style sheet that is there before what needs it. Without it the explorer would be there too, in plain letters.
function style(name) {
  if (!coming.has(name)) coming.set(name, new Promise((done) => {
    document.head.append(Object.assign(document.createElement("link"),
      { rel: "stylesheet", href: new URL(name, assets), onload: done, onerror: done }));
  }));
  return coming.get(name);
}

// The model of that name in its worker; one for all explorers of the page. One that died can be woken again.
function runtime(name) {
  if (!awake.has(name)) {
    const started = Promise.all([asset("live/runtime.js"), asset(`live/${name}.js`)]).then(async ([code, model]) => {
      const answers = startRuntime(code, fromBase64(model));
      const problem = await Promise.race([answers.opened.then(() => ""), answers.closed]);
      if (problem) throw Error(problem);
      answers.closed.then(() => awake.delete(name));
      return answers;
    });
    started.catch(() => awake.delete(name));
    awake.set(name, started);
  }
  return awake.get(name);
}

class Figure {
  constructor(figure) {
    const { script, model = "" } = figure.dataset, part = (selector) => figure.querySelector(selector);
    Object.assign(this, { figure, script, model, still: part("img"), bar: part(".waking"), button: part(".waking button"),
      told: part(".waking p"), close() {} });
    this.title = part("figcaption b").textContent.replace(/\.$/, "");
    this.button?.addEventListener("click", () => this.wake(true));
    const near = new IntersectionObserver(async (entries) => {
      if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
      near.disconnect();
      try {
        await this.come();
      } catch ({ message }) {
        return console.warn(message);
      }
      if ("waken" in figure.dataset || awake.has(model)) this.wake();
    }, { rootMargin: "600px" });
    near.observe(figure);
  }

  // The explorer in place of its picture, as it was when its cell ran.
  async come() {
    const stem = this.script.replace(".js", ""), { state } = this.figure.dataset;
    const [shared, code, packed] = await Promise.all([asset("explorers/shared.js"), asset(`explorers/${stem}.js`),
      asset(`states/${state}.js`), style("explorers/shared.css").then(() => style(`explorers/${stem}.css`))]);
    this.explorer = code(shared);
    this.kind = stem;
    const kept = await readState(packed), { freshState } = this.explorer;
    this.state = freshState ? freshState(kept) : kept;
    this.stage = Object.assign(document.createElement("div"), { className: "stage" });
    // What has only a beginning to show keeps its picture until there is a model.
    if (!freshState) this.show(null);
    if (!this.model) return;
    this.bar.hidden = false;
    waiting.add(this);
  }

  // `answers`: the model's worker, or null.
  show(answers) {
    this.still.replaceWith(this.stage);
    this.close();
    const page = () => { throw Error("waken" in this.figure.dataset ? "The link below this explorer downloads it as a page." : "Saving it as a page needs Python: open the notebook."); };
    const model = standIn(this.state, { kind: this.kind, title: this.title, answers, files: { page } });
    model.lacks = this.model ? "the model" : "Python";
    this.close = showExplorer(this.explorer, model, this.stage, answers);
  }

  async wake(asked = false) {
    if (!waiting.delete(this)) return; // it is awake, or on its way
    this.button.disabled = true;
    this.say("Waking …");
    try {
      const answers = await runtime(this.model);
      this.show(answers);
      this.button.hidden = true;
      this.say(`The model is awake: ${this.told.dataset.awake}. Nothing that you type leaves this page.`);
      if ("waken" in this.figure.dataset) this.bar.classList.add("unseen"); // the page says it in its own words
      answers.closed.then((why) => this.asleep(why));
      if (asked) this.stage.querySelector("textarea:enabled")?.focus({ preventScroll: true });
      for (const other of waiting) if (other.model === this.model) other.wake();
    } catch ({ message }) {
      this.asleep(message);
    }
  }

  // Not awake, or no longer; the button stays for another try.
  asleep(why) {
    this.say(why);
    this.bar.classList.remove("unseen");
    Object.assign(this.button, { hidden: false, disabled: false });
    waiting.add(this);
  }

  say(text) { this.told.textContent = text; }
}

for (const figure of document.querySelectorAll("figure.explorer")) new Figure(figure);
