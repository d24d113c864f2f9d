// One head, one query. All is worked out here, from the traits, so that a file without a kernel does the same.

const EDITED = ["q", "k", "v", "mask", "query", "d_k", "temperature"];
const sum = (numbers) => numbers.reduce((total, x) => total + x, 0);
const written = (x, digits = 2) =>
  Math.abs(x) >= 1e4 ? x.toExponential(1).replace("-", "−") : number(x, digits).replace(/^−(0\.0*)$/, "$1");

function workOut(state, bias) {
  const { q, k, v, mask, query, d_k, temperature } = state;
  const products = k.map((key) => key.slice(0, d_k).map((x, i) => q[query][i] * x));
  const dots = products.map(sum);
  const scaled = dots.map((dot) => dot / Math.sqrt(d_k));
  const scores = scaled.map((score, key) => score + (bias?.[query][key] ?? 0));
  const largest = Math.max(...scores.filter((_, key) => mask[query][key]));
  const exps = scores.map((score, key) => (mask[query][key] ? Math.exp((score - largest) / temperature) : 0));
  const total = sum(exps), weights = exps.map((exp) => exp / total);
  const shares = v.map((value, key) => value.map((x) => weights[key] * x));
  const output = v[0].map((_, i) => sum(shares.map((share) => share[i])));
  return { ...state, products, dots, scaled, largest, exps, total, weights, shares, output };
}

function render({ model, el }) {
  const stage = open(model, el, "steps");
  const { tokens, about, bias, at_first } = model.get("answer");
  const read = () => Object.fromEntries(EDITED.map((name) => [name, model.get(name)]));
  let state = read();
  const past = [];  // states to go back to, each with what was changed in it
  const shown = [];  // elements, each with what it shows of the work
  const fields = new Map();  // inputs, each with the number it stands for

  const go = (changes, before) => { show({ ...state, ...changes }, before); stage.ask(changes); };
  const change = (changes, what = {}) => {
    if (past.at(-1)?.what !== what) past.push({ what, state });
    go(changes, past.at(-1).state);
  };
  const undo = () => { if (past.length) go(past.pop().state, state); };
  const put = (name, key, column, x, what) =>
    change({ [name]: state[name].map((row, at) => (at === key ? row.with(column, x) : row)) }, what);

  const result = (tag, value, digits, properties) => {
    const element = make(tag, properties);
    shown.push({ element, value, digits });
    return element;
  };
  const td = (value, digits) => () => result("td", value, digits);
  const each = (name, digits) => (key) => result("td", (work) => work[name][key], digits);
  const field = (name, column, product) => (key) => {
    const label = `${{ q: "query", k: "key of ", v: "value of " }[name]}${tokens[key] ?? ""}, dimension ${column}`;
    const input = result("input", (work) => work[name][key ?? work.query][column], 2,
      { type: "text", inputMode: "decimal", tabIndex: -1, "aria-label": label });
    fields.set(input, { name, column, label, row: () => key ?? state.query });
    return make("td", {}, input, product && result("small", (work) => work[product][key][column]));
  };
  const toggle = (key) => make("td", {}, result("button", ({ mask, query }) => (mask[query][key] ? "✓" : "−∞"), 0, {
    type: "button", role: "switch", tabIndex: -1, "aria-label": `may look at ${tokens[key]}`, onclick() {
      const row = state.mask[state.query].with(key, !state.mask[state.query][key]);
      if (row.some(Boolean)) put("mask", state.query, key, row[key]);
      else stage.say(`"${tokens[state.query]}" needs a key to look at; allow another one first.`);
    } }));

  // A table has a row for each key; a column says what it has for its head, the query, each key, the foot.
  const stops = (grid) => [...grid.querySelectorAll("input:enabled, button")];
  const table = (name, hint, first, columns, last) => {
    const line = (part, label, key) => make("tr", {}, result("th", label, 0, { scope: "row", className: "token" }),
      ...columns.map((column) => column[part]?.(key) ?? make("td")));
    const asks = columns[0].query ? [line("query", ({ query }) => tokens[query])] : [];
    const grid = make("table", { "aria-label": name },
      make("thead", {}, line("head", () => first), ...asks),
      make("tbody", {}, ...tokens.map((token, key) => line("cell", () => token, key))),
      make("tfoot", {}, last ? line("foot", () => last) : ""));
    roving(stage, grid, () => stops(grid), () => stops(grid).length / (tokens.length + asks.length));
    return make("section", {}, make("h2", { textContent: name }), make("p", { textContent: hint }), make("div", {}, grid));
  };
  const head = (text) => () => result("th", typeof text === "function" ? text : () => text, 0, { scope: "col" });
  const tables = make("div", { className: "columns" },
    table("Compare: query × key", "Below a key, its product with the query. A row adds up to q · k.", "dimension",
      state.k[0].map((_, i) => ({ head: head(`${i}`), query: field("q", i), cell: field("k", i, "products") }))),
    table("Weigh: scores to weights", "Scale, mask, take exp, divide by the sum.", "key", [
      { head: head("q · k"), cell: each("dots") },
      { head: head(({ d_k }) => `÷ √${d_k}`), cell: each("scaled") },
      ...(bias ? [{ head: head("+ bias"), cell: (key) => result("td", ({ query }) => bias[query][key]) }] : []),
      { head: head("mask"), cell: toggle },
      { head: head(({ largest, temperature }) => `exp of (score ${largest < 0 ? "+" : "−"} ${written(Math.abs(largest))})${
        temperature === 1 ? "" : ` ÷ ${written(temperature)}`}`),
        cell: each("exps", 3), foot: td(({ total }) => total, 3) },
      { head: head("softmax"), cell: each("weights", 3), foot: td(({ weights }) => written(sum(weights), 3)) },
    ], "sum"),
    table("Mix: weight × value", "Below a value, its product with the weight. A column adds up to the output.", "dimension",
      state.v[0].map((_, i) => ({ head: head(`${i}`), cell: field("v", i, "shares"), foot: td(({ output }) => output[i]) })),
      "output"));

  const d_head = state.k[0].length;
  const asks = choice(stage, "query", { ...tokens }, "", (query) => go({ query: +query }));
  const width = slider(stage, "d_k", { min: 1, max: d_head, step: 1, value: state.d_k,
    show: (d_k) => `first ${d_k} of ${d_head}` }, (d_k) => change({ d_k }, "d_k"));
  const heat = slider(stage, "temperature", { min: 0.1, max: 4, step: 0.1, value: state.temperature, show: written },
    (temperature) => change({ temperature }, "temperature"));
  const back = make("button", { type: "button", textContent: "Undo", title: "Ctrl+Z", onclick: undo });
  const reset = make("button", { type: "button", textContent: "Reset", onclick: () => change(at_first) });
  const found = result("h2", ({ query, weights }) => {
    const most = Math.max(...weights);
    return `"${tokens[query]}" looks most at "${tokens[weights.indexOf(most)]}": ${written(most, 3)}`;
  });
  stage.root.append(found, make("p", { className: "soft", textContent:
    `${about} Type over a number, or nudge it with Alt ↑ ↓; click in the mask. What changes is underlined.` }),
    make("div", { className: "row" }, make("span", { textContent: "query" }), asks),
    make("div", { className: "row" }, width, heat, make("span", {}, back, " ", reset)), tables);

  // Show a state, and underline what differs from the one before if that was of the same query.
  function show(to, before) {
    state = to;
    const work = workOut(to, bias), old = before?.query === to.query ? workOut(before, bias) : work;
    for (const { element, value, digits } of shown) {
      const x = value(work);
      element[fields.has(element) ? "value" : "textContent"] = typeof x === "number" ? written(x, digits) : x ?? "";
      element.classList.toggle("moved", x !== value(old));
    }
    for (const [input, { name, column }] of fields) input.disabled = name !== "v" && column >= to.d_k;
    for (const grid of tables.querySelectorAll("table")) {
      [...grid.tBodies[0].rows].forEach((row, key) => {
        row.classList.toggle("masked", !to.mask[to.query][key]);
        row.style.setProperty("--weight", work.weights[key]);
        row.style.setProperty("--was", old === work ? -1 : old.weights[key]);
        if (row.querySelector("button")) row.querySelector("button").ariaChecked = to.mask[to.query][key];
      });
      if (!stops(grid).some((stop) => stop.tabIndex === 0)) stops(grid)[0].tabIndex = 0;
    }
    asks.show(`${to.query}`);
    width.show(to.d_k);
    heat.show(to.temperature);
    back.disabled = !past.length;
    if (fields.has(document.activeElement)) enter(document.activeElement);
    stage.say("");
    stage.announce(found.textContent);
  }

  // A field shows two decimals; with the focus in it, all of the number, and `text` tells if that was typed over.
  const exact = ({ name, row, column }) => state[name][row()][column];
  const enter = (input) => {
    const field = fields.get(input);
    input.value = field.text = `${+exact(field).toPrecision(7)}`;
    input.select();
  };
  stage.listen(tables, "focusin", ({ target }) => { if (fields.has(target)) enter(target); });
  const take = (target) => {
    const field = fields.get(target), x = Number(target.value.trim().replace("−", "-") || NaN);
    if (target.value === field.text) return;
    if (Math.abs(x) <= 1e6) put(field.name, field.row(), field.column, x);
    else {
      stage.say(`"${target.value}" is no number from −1000000 to 1000000; ${field.label} stays ${written(exact(field))}.`);
      if (document.activeElement === target) enter(target);
    }
  };
  stage.listen(tables, "focusout", ({ target }) => {
    if (!fields.has(target)) return;
    take(target);
    target.value = written(exact(fields.get(target)));
  });
  stage.listen(stage.root, "keydown", (event) => {
    const { target, key } = event, field = fields.get(target), typed = field && target.value !== field.text;
    if ((event.ctrlKey || event.metaKey) && key === "z" && !typed) undo();
    else if (field && event.altKey && /^Arrow(Up|Down)$/.test(key))
      put(field.name, field.row(), field.column, +(exact(field) + (key === "ArrowUp" ? 0.1 : -0.1)).toFixed(9), target);
    else if (typed && key === "Escape") enter(target);
    else if (field && key === "Enter") take(target);
    else {
      if (typed && /^(Arrow(Left|Right)|Home|End)$/.test(key)) event.stopPropagation();  // these move the caret
      return;
    }
    event.preventDefault();
  }, { capture: true });

  show(state);
  // What Python changes, unless a change of ours is still on its way there.
  stage.on(`${EDITED.join(" ")} answered`, () => {
    const to = read();
    if (stage.live && model.get("asked") > model.get("answered") || JSON.stringify(to) === JSON.stringify(state)) return;
    past.push({ state });
    show(to, state);
  });
  return () => stage.close();
}

export default { render };
