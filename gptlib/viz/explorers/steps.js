// One head, one query. All is worked out here, from the traits, so that a file without a kernel does the same.

const sum = (numbers) => numbers.reduce((total, x) => total + x, 0);
const written = (x, digits = 2) =>
  Math.abs(x) >= 1e4 ? x.toExponential(1).replace("-", "−") : number(x, digits).replace(/^−(0\.0*)$/, "$1");

function workOut({ q, k, v, mask, query, d_k, scale, temperature }, bias) {
  const allowed = mask[query], biases = bias?.[query];
  const products = k.map((key) => key.slice(0, d_k).map((x, i) => q[query][i] * x));
  const dots = products.map(sum), scaled = dots.map((dot) => (scale ? dot / Math.sqrt(d_k) : dot));
  const scores = scaled.map((score, key) => (allowed[key] ? score + (biases?.[key] ?? 0) : -Infinity));
  const largest = Math.max(...scores), exps = scores.map((score) => Math.exp((score - largest) / temperature));
  const weights = exps.map((exp) => exp / sum(exps)), shares = v.map((value, key) => value.map((x) => weights[key] * x));
  const output = v[0].map((_, i) => sum(shares.map((share) => share[i])));
  return { allowed, biases, products, dots, scaled, largest, exps, weights, shares, output };
}

function render({ model, el }) {
  const stage = open(model, el, "steps"), { tokens, about, bias, at_first } = model.get("answer");
  const traits = Object.keys(at_first), read = () => Object.fromEntries(traits.map((name) => [name, model.get(name)]));
  const past = []; // states to go back to, each with what was changed in it
  const shown = []; // what shows a state: called with it and its work, and with the same of the one before
  let state = read();

  const go = (changes, before) => { show({ ...state, ...changes }, before); stage.ask(changes); };
  const change = (changes, what = {}) => {
    if (past.at(-1)?.what !== what) past.push({ what, state });
    go(changes, past.at(-1).state);
  };

  // An element that shows a result, underlined where that is not what it was.
  const result = (tag, value, properties, also) => {
    const element = make(tag, properties), text = (work) => {
      const x = typeof value === "function" ? value(work) : value;
      return typeof x === "number" ? written(x) : x ?? "";
    };
    shown.push((work, old) => {
      element[tag === "input" ? "value" : "textContent"] = text(work);
      element.classList.toggle("moved", text(work) !== text(old));
      also?.(element, work);
    });
    return element;
  };
  const cell = (name, digits) => (key) => result("td", (work) => written(work[name][key], digits));

  // A number to type over, with what comes of it.
  const field = (name, title, column, product) => (key) => {
    const label = `${title}${tokens[key] ?? ""}, dimension ${column}`;
    const value = (state) => state[name][key ?? state.query][column], text = () => written(value(state));
    const take = (x, what) => {
      const at = key ?? state.query;
      change({ [name]: state[name].with(at, state[name][at].with(column, x)) }, what);
    };
    const input = result("input", value, {
      type: "text", tabIndex: -1, "aria-label": label, onfocus: () => input.select(),
      onchange() {
        const x = Number(input.value.trim().replace("−", "-") || NaN);
        if (input.value === text()) return;
        if (Math.abs(x) <= 1e6) return take(x);
        stage.say(`"${input.value}" is no number from −1000000 to 1000000; ${label} stays ${text()}.`);
        input.value = text();
      },
      onkeydown(event) {
        const step = event.altKey && { ArrowUp: 0.1, ArrowDown: -0.1 }[event.key];
        if (step) take(+(value(state) + step).toFixed(9), input);
        else if (event.key === "Enter") input.onchange(); // of itself it does not in JupyterLab
        else if (event.key === "Escape") input.value = text();
        else if (input.value !== text() && /^(Arrow(Left|Right)|Home|End|z)$/.test(event.key))
          event.stopPropagation(); // it is about what is being typed
      },
    }, (input, { d_k }) => {
      input.disabled = name !== "v" && column >= d_k;
      if (document.activeElement === input) input.select();
    });
    return make("td", {}, input, product && result("small", (work) => work[product][key][column]));
  };

  const toggle = (key) => make("td", {}, result("button", ({ allowed }) => (allowed[key] ? "✓" : "−∞"), {
    role: "switch", tabIndex: -1, "aria-label": `may look at ${tokens[key]}`,
    onclick() {
      const { mask, query } = state, row = mask[query].with(key, !mask[query][key]);
      if (row.some(Boolean)) change({ mask: mask.with(query, row) });
      else stage.say(`"${tokens[query]}" needs a key to look at; allow another one first.`);
    },
  }, (button, { allowed }) => { button.ariaChecked = allowed[key]; }));

  // A table has a row for each key. A column has a head, a cell for each key, and perhaps one of the query and a foot.
  const stops = (part) => [...part.querySelectorAll("input:enabled, button")];
  const table = (name, hint, first, columns, last) => {
    const line = (label, part) =>
      make("tr", {}, result("th", label, { scope: "row", className: "token" }), ...columns.map(part));
    const rows = tokens.map((token, key) => line(token, ({ cell }) => cell(key)));
    const grid = make("table", { "aria-label": name },
      make("thead", {}, line(first, ({ head }) => result("th", head, { scope: "col" })),
        columns[0].query && line(({ query }) => tokens[query], ({ query }) => query())),
      make("tbody", {}, ...rows), make("tfoot", {}, last && line(last, ({ foot = "" }) => result("td", foot))));
    roving(grid, () => stops(grid), () => stops(document.activeElement.closest("tr")).length);
    shown.push((work, old) => {
      rows.forEach((row, key) => {
        row.className = work.allowed[key] ? "" : "masked";
        row.style = `--weight: ${work.weights[key]}; --was: ${old === work ? -1 : old.weights[key]}`;
      });
      if (!stops(grid).some((stop) => stop.tabIndex === 0)) stops(grid)[0].tabIndex = 0;
    });
    return make("section", {}, make("h2", {}, name), make("p", {}, hint), div("", grid));
  };
  const exp = ({ largest, temperature }) => `exp of (score ${largest < 0 ? "+" : "−"} ${written(Math.abs(largest))})` +
    (temperature === 1 ? "" : ` ÷ ${written(temperature)}`);
  const columns = [
    { head: "q · k", cell: cell("dots") },
    { head: ({ d_k, scale }) => (scale ? `÷ √${d_k}` : "unscaled"), cell: cell("scaled") },
    { head: "+ bias", cell: cell("biases") },
    { head: "mask", cell: toggle },
    { head: exp, cell: cell("exps", 3), foot: ({ exps }) => written(sum(exps), 3) },
    { head: "softmax", cell: cell("weights", 3), foot: ({ weights }) => written(sum(weights), 3) }];
  const tables = [
    table("Compare: query × key", "Below a key, its product with the query. A row adds up to q · k.", "dimension",
      state.k[0].map((_, i) => ({ head: `${i}`, query: field("q", "query", i), cell: field("k", "key of ", i, "products") }))),
    table("Weigh: scores to weights", "Scale, mask, take exp, divide by the sum.", "key",
      bias ? columns : columns.toSpliced(2, 1), "sum"),
    table("Mix: weight × value", "Below a value, its product with the weight. A column adds up to the output.", "dimension",
      state.v[0].map((_, i) => ({ head: `${i}`, cell: field("v", "value of ", i, "shares"), foot: ({ output }) => output[i] })),
      "output")];

  const dial = (name, options) =>
    slider(name, { ...options, value: state[name] }, (x) => change({ [name]: x }, name));
  const d_head = state.k[0].length, controls = {
    query: choice("query", { ...tokens }, "", (query) => go({ query: +query })),
    scale: choice("scores are", { true: "÷ √d_k", false: "unscaled" }, "", (scale) => change({ scale: scale === "true" })),
    d_k: dial("d_k", { min: 1, max: d_head, step: 1, show: (d_k) => `first ${d_k} of ${d_head}` }),
    temperature: dial("temperature", { min: 0.1, max: 4, step: 0.1, show: written }) };
  const undo = make("button", { title: "Ctrl+Z", onclick: () => go(past.pop().state, state) }, "Undo");
  const reset = make("button", { onclick: () => change(at_first) }, "Reset");
  const found = result("h2", ({ query, weights }) => {
    const most = Math.max(...weights);
    return `"${tokens[query]}" looks most at "${tokens[weights.indexOf(most)]}": ${written(most, 3)}`;
  });
  stage.root.append(found, make("p", { className: "soft" },
    `${about} Type over a number, or nudge it with Alt ↑ ↓; click in the mask to hide a key. What changes is underlined.`),
    div("row", make("span", {}, "query"), controls.query),
    div("row", controls.d_k, make("span", {}, "scores"), controls.scale, controls.temperature, make("span", {}, undo, " ", reset)),
    div("columns", ...tables));
  stage.root.onkeydown = (event) => {
    if (event.key !== "z" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    undo.click();
  };

  // Show a state, and underline what differs from the one before if that was of the same query.
  function show(to, before) {
    state = to;
    const work = { ...to, ...workOut(to, bias) };
    const old = before?.query === to.query ? { ...before, ...workOut(before, bias) } : work;
    for (const draw of shown) draw(work, old);
    for (const name in controls) controls[name].show(/query|scale/.test(name) ? `${to[name]}` : to[name]);
    undo.disabled = !past.length;
    stage.say("");
    stage.announce(found.textContent);
  }
  show(state);
  // What Python changes, unless a change of ours is still on its way there.
  stage.on(`${traits.join(" ")} answered`, () => {
    const to = read();
    if (model.get("asked") > model.get("answered") || JSON.stringify(to) === JSON.stringify(state)) return;
    past.push({ state });
    show(to, state);
  });
  return () => stage.close();
}

export default { render };
