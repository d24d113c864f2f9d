// What a GPT costs, and whether it fits. The page counts by itself, so that it moves without a kernel.

// The arithmetic of gptlib.scaling for GPT-2's layout: 50,257 tokens, heads 64 wide. `peak` is the most at once.
function costs(state, { formats, cards }) {
  const { n_layers, d_model: d, context_length: seq, batch_size, n_cards, stage } = state, vocab = 50257;
  const [inMatrices, inOthers, gradient, optimizer, activation] = formats[state.number_format];
  const [, bandwidth, speed] = cards[state.card], batch = batch_size * seq;
  const matrices = 12 * n_layers * d * d, parameters = matrices + (13 * n_layers + vocab + seq + 2) * d;
  const forward = 2 * (matrices + 2 * n_layers * seq * d + d * vocab), flops = 3 * Math.round(state.tokens) * forward;
  const cut = (size, from) => size / (stage >= from ? n_cards : 1);
  const weights = cut(inMatrices * matrices + inOthers * (parameters - matrices), 3);
  if (!state.training) {
    const cache = activation * 2 * n_layers * batch * d, peak = weights + cache;
    const seconds = Math.max(peak / bandwidth, speed ? (batch_size * forward) / speed : 0);
    return { parameters, flops, parts: { weights, cache }, peak, days: null, pace: 1 / seconds };
  }
  const kept = batch * (n_layers * (16 * d + 4 + d / 64) + 2 * d + 2), logits = 4 * batch * vocab;
  const parts = { weights, gradients: cut(gradient * parameters, 2), optimizer: cut(optimizer * parameters, 1),
                  activations: activation * kept + logits };
  const begins = parts.activations + 2 * logits, ends = parts.gradients + gradient * vocab * d, last = Math.max(begins, ends);
  return { parameters, flops, parts, peak: weights + parts.optimizer + last, pace: null, atEnd: ends > begins,
           extra: ends > begins ? gradient * vocab * d : 2 * logits,
           days: speed ? flops / (speed * 0.4 * n_cards) / 86400 : null };
}

const FORMATS = {
  "float32": ["float32", "4 bytes for each number"],
  "16-bit": ["bf16 / fp16", "2 bytes for each number; in training AdamW's stay in 4, with a copy of the weights: mixed precision"],
  "8-bit": ["8 bit", "1 byte for each weight in the blocks' matrices, 2 for the rest"],
  "4-bit": ["4 bit", "Half a byte for each weight in the blocks' matrices and a scale for every 64, 2 bytes for the rest"],
};
const STAGES = {
  0: ["whole on each", "Data parallel: every card holds all of it"],
  1: ["ZeRO-1", "Cuts up what the optimizer remembers; each card holds its share"],
  2: ["ZeRO-2", "Cuts up what the optimizer remembers, and the gradients"],
  3: ["ZeRO-3, FSDP", "Cuts up the optimizer, the gradients and the weights; in writing, the weights"],
};
const PARTS = {
  weights: "One number for each parameter", gradients: "One number for each parameter, in training",
  optimizer: "What AdamW remembers of each parameter", activations: "What the forward pass keeps for the way back: it grows with batch and context",
  cache: "The keys and values of all tokens, in every layer: it grows with batch and context",
};

export default {
  costs,
  render({ model, el }) {
    const stage = open(model, el, "budget", "Set a model and choose a card: the bars show what every card has to hold, and ✓ marks the cards that can.");
    const tables = model.get("answer"), view = {}, names = "n_layers d_model context_length batch_size tokens training number_format card n_cards stage";
    const whole = (x) => x.toLocaleString("en", { maximumFractionDigits: 0 });
    const digits = (x) => (x >= 100 ? whole(x) : String(Number(x.toPrecision(2))));
    const short = (x) => Intl.NumberFormat("en", { notation: "compact", compactDisplay: "long", maximumSignificantDigits: 3 }).format(x);
    const lasting = (days) => (days < 0.1 ? `${digits(days * 1440)} minutes` : days < 2 ? `${digits(days * 24)} hours`
      : days < 1000 ? `${digits(days)} days` : `${digits(days / 365)} years`);
    const bytes = (x) => {
      const power = x > 0 ? Math.max(0, Math.min(5, Math.floor(Math.log10(x) / 3))) : 0;
      return `${Number((x / 1000 ** power).toPrecision(3))} ${["bytes", "kB", "MB", "GB", "TB", "PB"][power]}`;
    };
    const change = (changes) => { Object.assign(view, changes); draw(); stage.ask(changes); };

    // A slider over powers moves the exponent, and shows and asks for the number.
    const knob = (label, title, trait, [min, max, step], base) => {
      const of = (at) => (base ? Number((base ** at).toPrecision(base === 2 ? 9 : 2)) : at);
      const at = () => (base ? Math.log(view[trait]) / Math.log(base) : view[trait]);
      const box = slider(label, { min, max, step, value: min, show: (at) => (base === 10 ? short : whole)(of(at)) }, (at) => change({ [trait]: of(at) }));
      return { box: set(box, { title }), show: () => box.show(at()), trait };
    };
    const knobs = [
      knob("layers", "How many blocks", "n_layers", [1, 128, 1]), knob("d_model", "How wide the stream is", "d_model", [64, 16384, 64]),
      knob("context", "Tokens in a sequence", "context_length", [6, 15, 1], 2),
      knob("batch/card", "Sequences on each card; in writing, texts that it writes at once", "batch_size", [0, 12, 1], 2),
      knob("cards", "How many cards work together", "n_cards", [0, 16, 1], 2),
      knob("tokens read", "How long it is trained", "tokens", [6, 14, 0.1], 10)];
    const pick = (label, options, chosen) => {
      const group = choice(label, Object.fromEntries(Object.entries(options).map(([key, [text]]) => [key, text])), "", chosen);
      [...group.children].forEach((button) => { button.title = options[button.value][1]; });
      return group;
    };
    // What an arrow key comes to, but cannot be, changes nothing.
    const trains = (format) => tables.formats[format][2], writes = (stage) => stage % 3 === 0;
    const able = (group, options, can, why) => [...group.children].forEach((button) =>
      set(button, { disabled: !can(button.value), title: can(button.value) ? options[button.value][1] : why }));
    const uses = pick("what is done", { train: ["train it", "Weights, gradients, optimizer and activations"], write: ["write with it", "Weights, and a cache of keys and values"] },
      (use) => change(use === "train" ? { training: true, ...(!trains(view.number_format) && { number_format: "16-bit" }) }
        : { training: false, ...(!writes(view.stage) && { stage: 0 }) }));
    const formats = pick("number format", FORMATS, (number_format) => change(!view.training || trains(number_format) ? { number_format } : {}));
    const stages = pick("what is cut up among the cards", STAGES, (stage) => change(view.training || writes(stage) ? { stage: +stage } : {}));
    const cards = pick("card", Object.fromEntries(Object.entries(tables.cards).map(([name, card]) => [name, [name, card[3]]])), (card) => change({ card }));
    cards.classList.add("cards");
    const sizes = Object.entries(tables.sizes).map(([name, [n_layers, d_model, context_length]]) => make("button",
      { title: `${n_layers} layers, d_model ${whole(d_model)}, context ${whole(context_length)}`, onclick: () => change({ n_layers, d_model, context_length }) }, name));
    const said = make("h2"), advice = make("p", { className: "advice" }), list = make("ul", { className: "bars" }), note = make("p", { className: "soft" }), time = make("p");
    stage.root.append(div("main-view", make("section", {}, div("row", uses, formats), div("row", make("span", {}, "Sizes:"), ...sizes),
      div("knobs", ...knobs.map(({ box }) => box)), div("row", stages)),
      make("section", { className: "held" }, said, advice, list, note, time),
      make("section", { className: "hardware" }, make("p", {}, "Choose a card: ✓ can hold it, ✗ cannot"), cards)));

    const bar = (className, name, size, most, memory, title, value) => make("li", { className, title }, div("bar", make("span", {}, name),
      make("span", { className: "track" }, make("span", { className: "fill", style: { width: `${(100 * size) / most}%` } }),
        memory <= most && make("span", { className: "was", style: { left: `${(100 * memory) / most}%` } })),
      make("span", { className: "value" }, bytes(size)), make("span", { className: "soft" }, value)));

    function draw() {
      const { parameters, parts, peak, flops, days, pace, atEnd, extra } = costs(view, tables), [memory, bandwidth, speed] = tables.cards[view.card];
      const held = (changes) => costs({ ...view, ...changes }, tables).peak, fits = peak <= memory, most = Math.max(...Object.values(parts));
      const texts = `${view.batch_size > 1 ? `${whole(view.batch_size)} texts` : "1 text"} of ${whole(view.context_length)} tokens`;
      const times = peak / memory, many = view.n_cards > 1;
      said.textContent = `${short(parameters)} parameters, ${texts} at once: ${view.training ? "training" : "writing"} ${fits ? `fits on ${many ? "each" : "one"} ${view.card}` : `does not fit on one ${view.card}`}. `
        + `It takes ${bytes(peak)}, ${times < 1 ? `${percent(times)} of` : `${digits(times)} times`} its ${bytes(memory)}.`;
      const better = [1, 2, 3].find((stage) => held({ stage }) <= memory), enough = [...Array(17).keys()].find((n) => held({ stage: 3, n_cards: 2 ** n }) <= memory);
      let fewer = view.batch_size;
      while (fewer > 1 && held({ batch_size: fewer }) > memory) fewer = Math.floor(fewer / 2);
      const batch = held({ batch_size: fewer }) <= memory ? `With ${fewer > 1 ? `${fewer} texts` : "1 text"} at once it would fit. ` : "";
      advice.textContent = batch + (better ? `Cut up by ${STAGES[better][0]} among the ${whole(view.n_cards)} cards, it would fit.`
        : enough ? `Cut up by ${STAGES[3][0]}, it would fit on ${whole(2 ** enough)} cards.`
          : `More cards do not help, nor does ZeRO: ${view.training ? "activations" : "the cache"} stay${view.training ? "" : "s"} whole on each.${batch ? "" : " Take shorter texts."}`);
      if (fits) advice.textContent = "";
      list.replaceChildren(bar(`total${fits ? "" : " over"}`, "most at once", peak, Math.max(peak, memory), memory, `The line is the memory of one ${view.card}`, `of ${bytes(memory)}`),
        ...Object.entries(parts).map(([name, size], at) => {
          const by = name in { weights: 1, gradients: 1, optimizer: 1 } && view.stage >= 3 - at && many;
          return bar("", name, size, most, memory, PARTS[name], by ? `of ${bytes(size * view.n_cards)}` : many && view.stage ? "whole" : "");
        }));
      const why = atEnd ? "a second gradient of the embeddings, when the activations are gone" : "the logits' gradients; the others come while activations go";
      const sum = view.training ? `optimizer + ${atEnd ? "gradients" : "activations"} + ${bytes(extra)} for ${why}` : "cache";
      note.textContent = `On each card; the parts have a scale of their own. Most at once: weights + ${sum}.`;
      const [digit, power] = flops.toExponential(1).split("e+"), work = `${digit} × 10${[...power].map((one) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[one]).join("")} operations for ${short(view.tokens)} tokens`;
      time.textContent = !view.training ? `At most ${digits(pace)} tokens a second for each of ${texts.replace("1 text", "one text")}: for each token a card has to ${pace * peak > 0.999 * bandwidth ? "read all that it holds" : "multiply so many numbers"}.`
        : !speed ? `${work}. How long a ${view.card} takes cannot be told: its maker states no peak.`
          : `${work}: ${lasting(days)} on ${whole(view.n_cards)} ${view.card}, at 40% of the peak in 16 bits`
            + (view.number_format === "float32" ? "; in float32 at least twice as long." : ".");
      knobs.forEach((one) => { one.show(); if (one.trait === "tokens") one.box.style.visibility = view.training ? "" : "hidden"; });
      uses.show(view.training ? "train" : "write");
      formats.show(view.number_format);
      stages.show(String(view.stage));
      able(formats, FORMATS, (format) => !view.training || trains(format), "Only to write with: training needs finer numbers");
      able(stages, STAGES, (stage) => view.training || writes(stage), "Only to train: in writing there is nothing of that to cut up");
      cards.show(view.card);
      for (const button of cards.children) {
        const size = tables.cards[button.value][0], can = peak <= size;
        button.classList.toggle("small", !can);
        button.replaceChildren(make("i", {}, can ? "✓" : "✗"), `${button.value} `, make("span", {}, bytes(size)));
      }
      stage.announce(said.textContent);
    }
    stage.on(names, () => {
      for (const name of names.split(" ")) view[name] = model.get(name);
      draw();
    });
    return () => stage.close();
  },
};
