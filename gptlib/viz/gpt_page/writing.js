// The text: typed, or written by the model a token at a time; each token colored by its surprise; what may come next.

const LARGEST = 6; // nats; all above have one color, as in the course's figures
const spaced = (piece) => piece.replaceAll("␣", " ");

function surprising(nats) {
  const share = Math.min(1, nats / LARGEST);
  return { background: `light-dark(${color("surprise", share)}, color-mix(in srgb, #f0a04c ${100 * share}%, transparent))`,
    color: `light-dark(${share > 0.82 ? "#fff" : "#000"}, ${share > 0.58 ? "#000" : "#fff"})` };
}

// `ask(traits)` asks the model; `get(name)` is the state as it is now.
function writingPart({ ask, get, say }) {
  let answer, details, timer = 0, vocab = 0;
  const box = make("textarea", { rows: 2, spellcheck: false, "aria-label": "The text", placeholder: "Type a beginning, or let the model begin",
    oninput() { stop(); ask({ prompt: box.value, path: [], place: -1, opened: null }); } });
  const button = (text, title, onclick) => make("button", { title, onclick }, text);
  const one = button("Write a token", "Let the model draw the next token with these settings", () => { stop(); ask({ wanted: 1, place: -1, opened: null }); });
  const on = button("Write on", "Token after token, until you press this again", () => (timer ? stop() : write()));
  const back = button("Take one back", "Remove the last token", () => { stop(); cut(answer.tokens.length - 1); });
  function write() {
    on.textContent = "Stop";
    timer = setTimeout(() => ask({ wanted: 1, place: -1, opened: null }), timer ? 90 : 0);
  }
  function stop() {
    clearTimeout(timer);
    timer = 0;
    on.textContent = "Write on";
  }
  const cut = (keep) => ask({ keep, place: -1, opened: null });
  // Take a token after the place that is looked at; what came after it leaves the text.
  function take(token) {
    stop();
    ask({ keep: details.at + 1, take: token, place: -1, opened: null });
  }

  const dial = (name, label, title, range, placeOf = (value) => value, valueAt = (place) => place) => {
    const part = slider(label, { ...range, value: placeOf(get(name)), show: (place) => String(valueAt(place) ?? "all") }, (place) => ask({ [name]: valueAt(place) }));
    part.follow = () => part.show(placeOf(get(name)));
    return set(part, { title });
  };
  const dials = div("row dials");
  // On a narrow page the sliders would stand between the text and what follows from it; there this opens them.
  const settings = make("button", { className: "settings", "aria-expanded": false, onclick: () => {
    settings.ariaExpanded = dials.classList.toggle("shown");
  } }, "Sampling settings ▾");
  let sliders = [];
  const seed = make("input", { type: "number", min: 0, step: 1, onchange: () => seed.value && ask({ seed: Math.max(0, Math.floor(seed.valueAsNumber)) }) });
  const dice = button("↻", "Other dice: the next seed", () => ask({ seed: get("seed") + 1 }));
  dice.ariaLabel = "Another seed";
  // How far the sliders go depends on the vocabulary, which the first answer tells.
  function layDials() {
    if (vocab === (vocab = details.next.vocab)) return;
    sliders = [
      dial("temperature", "temperature", "Below 1 likely tokens become likelier; 0 always takes the likeliest", { min: 0, max: 2, step: 0.05 }),
      dial("top_k", "top-k", "Only this many of the likeliest tokens can be drawn", { min: 0, max: Math.ceil(Math.log2(vocab)), step: 1 },
        (k) => Math.log2(k ?? vocab), (place) => (2 ** place < vocab ? 2 ** place : null)),
      dial("top_p", "top-p", "Only the likeliest tokens that together have this probability can be drawn", { min: 0.01, max: 1, step: 0.01 },
        (p) => p ?? 1, (place) => (place < 1 ? place : null))];
    dials.replaceChildren(...sliders, make("label", { title: "The same seed draws the same text again" }, "seed ", seed), dice);
  }

  const read = div("read dense"), said = make("p", { className: "soft said" }), heading = make("h2"), chances = div("dense chances");
  const shades = [0, 0.25, 0.5, 0.75, 1].map((share) => surprising(LARGEST * share).background);
  const legend = make("span", { className: "legend soft", title: "−ln of the probability the model gave: 0 nats where it was sure, 0.7 at one in two, 4.6 at one in a hundred" },
    "surprise: 0 ", make("i", { style: { background: `linear-gradient(to right, ${shades})` } }), ` ${LARGEST} nats or more`);
  set(read, { role: "group", ariaLabel: "The tokens; choose one to see what the model expected after it" });
  roving(read, () => [...read.children], () => read.childElementCount, (at) => ask({ place: at, opened: null }));
  roving(chances, () => [...chances.querySelectorAll("button")].filter((bar) => bar.offsetParent), () => 1); // on a narrow page not all are there

  function draw(newAnswer, newDetails) {
    const fresh = answer !== newAnswer;
    [answer, details] = [newAnswer, newDetails];
    layDials();
    for (const part of sliders) part.follow();
    if (document.activeElement !== seed) seed.value = get("seed");
    if (fresh) {
      // What is being typed stays; an answer to it may be on its way still.
      if (document.activeElement !== box || get("path").length) box.value = answer.text;
      if (timer) {
        timer = answer.end ? 0 : 1;
        if (timer) write();
        else stop();
      }
    }
    one.disabled = on.disabled = Boolean(answer.end);
    back.disabled = answer.tokens.length < 2;
    drawTokens();
    drawChances();
  }

  function surpriseOf(nats) {
    const mean = nats.reduce((a, b) => a + b, 0) / nats.length, blind = Math.log(details.next.vocab);
    return `${number(mean)} nats of surprise per token` + (mean > blind ? `, more than a blind guess would cost (${number(blind)}): nothing that the model has read prepared it for this.`
      : ". Choose a token to see what was expected after it.");
  }

  function drawTokens() {
    const { pieces, nats, start, tokens } = answer, { at } = details, heard = nats.slice(1);
    const sum = heard.length ? surpriseOf(heard)
      : "Nothing yet: the model has read only the token that marks a start.";
    (read.onpointerleave = () => { said.textContent = answer.end || sum; })();
    while (read.childElementCount > tokens.length) read.lastChild.remove();
    pieces.forEach((piece, place) => {
      const token = read.children[place] ?? read.appendChild(make("button"));
      const told = place ? `“${piece}”: ${number(nats[place], 3)} nats, p = ${Math.exp(-nats[place]).toPrecision(2)}` : "The token that marks a start";
      set(token, { textContent: spaced(piece), "aria-label": told, "aria-pressed": place === at, tabIndex: place === at ? 0 : -1, style: place ? surprising(nats[place]) : { background: "", color: "" },
        className: place >= start ? "token taken" : "token", onclick: () => ask({ place, opened: null }), onfocus: () => { said.textContent = told; }, onpointerenter: () => { said.textContent = told; } });
    });
    const here = read.children[at];
    if (here && read.scrollHeight > read.clientHeight) read.scrollTop = here.offsetTop - read.clientHeight / 2;
  }

  function drawChances() {
    const { rows, kept, vocab, follows } = details.next, held = chances.contains(document.activeElement);
    heading.textContent = `What may follow “${answer.pieces[details.at]}”` + (kept === vocab ? "" : `: sampling keeps ${many(kept)} of ${many(vocab)}`);
    const shown = rows.slice(0, 10);
    chances.replaceChildren(bars(shown.map(({ token, piece, p, own }) => ({ token: piece, id: token, p, was: own,
      title: `Take “${piece}”: ${p.toFixed(6)} with these settings, ${own.toFixed(6)} by the model alone` })), { clicked: ({ id }) => take(id) }));
    chances.querySelectorAll("button").forEach((bar, i) => {
      bar.tabIndex = i ? -1 : 0;
      bar.classList.toggle("out", !shown[i].p);
      bar.classList.toggle("taken", shown[i].token === follows);
    });
    if (held) chances.querySelector("button").focus();
  }

  const element = div("writing", div("text", box, div("row", one, on, back, settings), dials, read, div("row told", said, legend)),
    div("next", heading, chances));
  return { element, draw, take, stop };
}
