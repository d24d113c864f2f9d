// What a GPT costs. Python counts, with the formulas that are tested; the page asks and draws.

export default {
  render({ model, el }) {
    const stage = open(model, el, "budget"), get = (trait) => model.get(trait);
    const whole = (x) => x.toLocaleString("en", { maximumFractionDigits: 0 });
    const short = (x) => Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(x);
    const bytes = (x) => {
      const power = x > 0 ? Math.max(0, Math.min(5, Math.floor(Math.log10(x) / 3))) : 0;
      return `${Number((x / 1000 ** power).toPrecision(3))} ${["bytes", "kB", "MB", "GB", "TB", "PB"][power]}`;
    };
    // A slider over powers: it moves the exponent, and shows and asks for the number.
    const powers = (label, trait, base, min, max, step) => {
      const of = (power) => (base === 2 ? 2 ** power : Number((base ** power).toPrecision(2)));
      const box = slider(label, { min, max, step, value: Math.log(get(trait)) / Math.log(base), show: (power) => (base === 2 ? whole : short)(of(power)) },
        (power) => stage.ask({ [trait]: of(power) }));
      return { box, show: () => box.show(Math.log(get(trait)) / Math.log(base)) };
    };
    const plain = (label, trait, min, max, step) => {
      const box = slider(label, { min, max, step, value: get(trait), show: whole }, (value) => stage.ask({ [trait]: value }));
      return { box, show: () => box.show(get(trait)) };
    };
    const sliders = [
      plain("layers", "n_layers", 1, 128, 1), plain("d_model", "d_model", 64, 16384, 64),
      powers("context", "context_length", 2, 6, 15, 1), powers("batch", "batch_size", 2, 0, 12, 1),
      powers("tokens read", "tokens", 10, 6, 14, 0.1), powers("cards", "n_cards", 2, 0, 16, 1)];
    const cards = choice("Card", Object.fromEntries(get("answer").cards.map((name) => [name, name])), get("card"), (card) => stage.ask({ card }));
    const said = make("h2"), list = make("ul", { className: "bars" }), fits = make("p"), cache = make("p", { className: "soft" });
    const controls = div("row", ...sliders.map(({ box }) => box), cards);
    controls.hidden = !stage.live;
    stage.root.append(controls,
      make("p", { className: "soft", hidden: stage.live }, "There is no kernel here, so the numbers stay as they are."), said, list, fits, cache);

    stage.on("answer", () => {
      const { parameters, parts, card_memory, flops, days, cache: kept } = get("answer"), card = get("card");
      const rows = Object.entries(parts), total = rows.reduce((sum, [, size]) => sum + size, 0);
      const most = Math.max(card_memory, ...rows.map(([, size]) => size));
      said.textContent = `${short(parameters)} parameters, ${flops.toExponential(1)} operations: `
        + `${days < 0.1 ? `${Number((days * 24 * 60).toPrecision(2))} minutes` : `${Number(days.toPrecision(3)).toLocaleString("en")} days`}`
        + ` on ${whole(get("n_cards"))} ${card}, at 40% of their peak`;
      list.replaceChildren(...rows.map(([name, size]) => make("li", {}, div("bar", make("span", {}, name),
        make("span", { className: "track" }, make("span", { className: "fill", style: { width: `${(100 * size) / most}%` } }),
          make("span", { className: "was", style: { left: `${(100 * card_memory) / most}%` } })),
        make("span", { className: "value" }, bytes(size))))));
      fits.textContent = `${bytes(total)} in training, in float32. The mark is the ${bytes(card_memory)} of one ${card}: `
        + (total <= card_memory ? "it fits." : `it takes ${whole(Math.ceil(total / card_memory))} of them, cut up.`);
      cache.textContent = `Writing as many texts at once keeps ${bytes(kept)} of keys and values.`;
      for (const one of sliders) one.show();
      cards.show(card);
      stage.announce(said.textContent);
    });
    return () => stage.close();
  },
};
