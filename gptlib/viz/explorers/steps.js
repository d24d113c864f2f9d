// One head, one query. All is worked out here, from the traits, so that a file without a kernel does the same.

const FEW = 4; // dimensions of a wide head that are shown one by one
const SOURCES = 5; // and sources of a score
const sum = (numbers) => numbers.reduce((total, x) => total + x, 0);
const written = (x, digits = 2) =>
  Math.abs(x) >= 1e4 ? x.toExponential(1).replace("-", "−") : number(x, digits).replace(/^−(0\.0*)$/, "$1");

// The indices of the numbers, the largest first.
const ranked = (numbers) => numbers.map((_, i) => i).sort((a, b) => numbers[b] - numbers[a]);
const signed = (x) => `${x < 0 ? "−" : "+"} ${written(Math.abs(x))}`;

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
  const guides = ["One query, followed from q · k to the output. Type over a number, click in the mask: what differs from the start is underlined.",
    "What one score is made of: a row for what wrote the query, a column for what wrote the key."];
  const stage = open(model, el, "steps", guides[0]);
  const { tokens, about, bias, at_first, parts } = model.get("answer");
  const traits = [...Object.keys(at_first), "key"];
  const read = () => Object.fromEntries(traits.map((name) => [name, model.get(name)]));
  const past = []; // states to go back to, each with what was changed in it
  const shown = []; // what shows a state: called with it and its work, and with the same of the numbers at first
  let state = read();

  const go = (changes) => { show({ ...state, ...changes }); stage.ask(changes); };
  const change = (changes, what = {}) => {
    if (past.at(-1)?.what !== what) past.push({ what, state });
    go(changes);
  };

  // An element that shows a result, underlined where that is not what it was at first.
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
      type: "text", tabIndex: -1, "aria-label": label, title: "Type a number; Alt ↑ and Alt ↓ nudge it",
      onfocus: () => input.select(),
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
    title: "Hide this key from the query, or show it again",
    onclick() {
      const { mask, query } = state, row = mask[query].with(key, !mask[query][key]);
      if (row.some(Boolean)) change({ mask: mask.with(query, row) });
      else stage.say(`"${tokens[query]}" needs a key to look at; allow another one first.`);
    },
  }, (button, { allowed }) => { button.ariaChecked = allowed[key]; }));

  // A table has a row for each key. A column has a head, a cell for each key, and perhaps one of the query and a foot.
  const stops = (part) => [...part.querySelectorAll("td:not([hidden]) > :is(input:enabled, button)")];
  const table = (name, hint, first, columns, last) => {
    const line = (label, part) => make("tr", {}, result("th", label, { scope: "row", className: "token" }),
      ...columns.map((column) => {
        const cell = part(column);
        (column.cells ??= []).push(cell);
        return cell;
      }));
    const rows = tokens.map((token, key) => line(token, ({ cell }) => cell(key)));
    const grid = make("table", { "aria-label": name },
      make("thead", {}, line(first, ({ head }) => result("th", head, { scope: "col" })),
        columns[0].query && line(({ query }) => tokens[query], ({ query }) => query?.() ?? make("td"))),
      make("tbody", {}, ...rows), make("tfoot", {}, last && line(last, ({ foot = "" }) => result("td", foot))));
    roving(grid, () => stops(grid), () => stops(document.activeElement.closest("tr")).length);
    shown.push((work, old) => {
      rows.forEach((row, key) => {
        row.className = work.allowed[key] ? "" : "masked";
        row.style = `--weight: ${work.weights[key]}; --was: ${written(work.weights[key], 3) === written(old.weights[key], 3) ? -1 : old.weights[key]}`;
      });
      if (!stops(grid).some((stop) => stop.tabIndex === 0)) stops(grid)[0].tabIndex = 0;
    });
    return make("section", {}, make("h2", {}, name), result("p", hint), grid);
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
  const d_head = state.k[0].length, d_value = state.v[0].length;
  const products = state.k[0].map((_, i) =>
    ({ head: `${i}`, query: field("q", "query", i), cell: field("k", "key of ", i, "products") }));
  const mixed = state.v[0].map((_, i) =>
    ({ head: `${i}`, cell: field("v", "value of ", i, "shares"), foot: ({ output }) => output[i] }));

  // Of a wide head only the dimensions with the largest products, or outputs, until all are asked for. They stay while
  // one types, and change with the query.
  let all = false, chosenFor = "";
  const few = new Map(), wide = [products, mixed].filter((columns) => columns.length > FEW + 2);
  const rest = { head: ({ d_k }) => `other ${Math.max(0, d_k - FEW)}`, cell: (key) =>
    result("td", (work) => sum(work.products[key].filter((_, i) => !few.get(products).includes(i)))) };
  const hide = ({ cells = [] }, hidden) => { for (const cell of cells) cell.hidden = hidden; };
  function fold(work) {
    if (chosenFor !== (chosenFor = `${work.query} ${work.d_k}`)) {
      const seen = work.products.filter((_, key) => work.allowed[key]);
      few.set(products, ranked(products.map((_, i) => sum(seen.map((row) => Math.abs(row[i] ?? 0))))).slice(0, FEW));
      few.set(mixed, ranked(work.output.map(Math.abs)).slice(0, FEW));
    }
    for (const columns of wide) columns.forEach((column, i) => hide(column, !all && !few.get(columns).includes(i)));
    hide(rest, all);
  }
  const ofThem = (columns, what) => (all || !wide.includes(columns) ? "" : ` Shown: the ${FEW} dimensions with the largest ${what}.`);
  const tables = [
    table("Compare: query × key", () => "Key; below it the product key × query. They add up to q · k." +
      ofThem(products, "products"), "dimension",
      wide.includes(products) ? [...products, rest] : products),
    table("Weigh: scores to weights", ({ largest }) => "Scale, mask, take exp, divide by the sum. " +
      `${written(largest)} is the largest score: taken off, so that exp is at most 1.`, "key",
      bias ? columns : columns.toSpliced(2, 1), "sum"),
    table("Mix: weight × value", () => "Value; below it weight × value, in sum the output." +
      ofThem(mixed, "outputs"), "dimension",
      mixed, "output")];

  // Why: the score of one key as a table, by what wrote a part of the query (rows) and of the key (columns).
  let compared = false;
  const why = div("why"), names = parts?.sources, [ofQueries, ofKeys] = parts ? [parts.queries, parts.keys].map(floatsOf) : [];
  const vectors = (flat, token) => names.map((_, source) => flat.slice((source * tokens.length + token) * d_head).slice(0, d_head));
  const size = (numbers) => sum(numbers.map(Math.abs));
  // The largest one by one, the rest together, and all: each with its name and which they are.
  const groups = (sizes) => {
    const order = ranked(sizes), shown = order.length > SOURCES + 1 ? SOURCES : order.length, rest = order.slice(shown);
    return [...order.slice(0, shown).map((at) => [names[at], [at]]), ...(rest.length ? [[`other ${rest.length}`, rest]] : []),
            ["all", order]];
  };
  function explain({ q, k, d_k, scale, query, key, allowed }) {
    if (JSON.stringify([q, k, d_k, scale]) !== JSON.stringify(["q", "k", "d_k", "scale"].map((name) => at_first[name])))
      return why.replaceChildren("These scores are made of numbers that were changed. Press Reset to see what made the model's own.");
    const others = compared ? tokens.map((_, at) => at).filter((at) => at !== key && allowed[at]) : [];
    const away = others.map((other) => vectors(ofKeys, other)), queries = vectors(ofQueries, query);
    const keys = vectors(ofKeys, key).map((part, source) =>
      part.map((x, i) => x - sum(away.map((parts) => parts[source][i])) / (others.length || 1)));
    const cells = queries.map((a) => keys.map((b) => a.reduce((total, x, i) => total + x * b[i], 0) / Math.sqrt(d_head)));
    const rows = groups(cells.map(size)), columns = groups(keys.map((_, at) => size(cells.map((row) => row[at]))));
    const grid = rows.map(([, some]) => columns.map(([, those]) => sum(some.flatMap((a) => those.map((b) => cells[a][b])))));
    const most = Math.max(...grid.slice(0, -1).flatMap((row) => row.slice(0, -1)).map(Math.abs)), total = sum(cells.flat());
    const terms = cells.flatMap((row, a) => row.map((x, b) => [x, `${names[a]} × ${names[b]}`]));
    const first = ranked(terms.map(([x]) => Math.abs(x))).slice(0, 3).map((at) => terms[at]);
    const rest = [total - sum(first.map(([x]) => x)), `${terms.length - first.length} other pairs`];
    const head = ([name]) => make("th", { scope: "col" }, name);
    why.replaceChildren(
      make("p", {}, `${compared ? "Above the other keys' mean by" : "Score"} ${written(total)} = ` +
        [...first, rest].map(([x, name]) => `${signed(x)} (${name})`).join(" ").replace(/^\+ /, "").replace(/^− /, "−")),
      make("table", { "aria-label": "what the score is made of" },
        make("thead", {}, make("tr", {}, make("td"), make("th", { colSpan: columns.length }, "what wrote the key")),
          make("tr", {}, head(["what wrote the query"]), ...columns.map(head))),
        make("tbody", {}, ...rows.map(([name], at) => make("tr", {}, make("th", { scope: "row" }, name),
          ...grid[at].map((x, column) => make("td", { title: `query's ${name} × key's ${columns[column][0]}`, style: { background:
            `color-mix(in srgb, var(--${x < 0 ? "blue" : "orange"}) ${50 * Math.sqrt(Math.abs(x) / most)}%, var(--paper))` } }, written(x))))))),
      make("p", {}, make("span", { className: "adds" }, "orange"), " adds to the score, ", make("span", { className: "takes" }, "blue"),
        " takes from it. Who writes: token, position (their embeddings); head 1.2 " +
        "(layer 1, head 2); MLP 1 (of layer 1); biases (of norm, q, k, earlier heads); other (the rest in sum)."),
      make("p", { className: "soft" }, "All pairs add up to the score, with the norm's divisor as it is. What the score would " +
        "be without a part is another question: then that divisor would change, and so would all later parts."));
  }

  const dial = (name, options) =>
    slider(name, { ...options, value: state[name] }, (x) => change({ [name]: x }, name));
  const titled = (title, control) => set(control, { title });
  const best = (query) => ranked(workOut({ ...state, query }, bias).weights)[0];
  const controls = {
    query: titled("The token whose attention is worked out", choice("query", { ...tokens }, "", (query) =>
      go({ query: +query, key: state.key === null ? null : best(+query) }))),
    view: parts && titled("The numbers of every step, or what the score of one key is made of",
      choice("shown", { steps: "steps", why: "why this score" }, "", (view) =>
        go({ key: view === "why" ? best(state.query) : null }))),
    key: titled("The key whose score is taken apart", choice("key", { ...tokens }, "", (key) => {
      if (state.mask[state.query][key]) go({ key: +key });
      else stage.say(`"${tokens[state.query]}" cannot look at "${tokens[key]}", so there is no score.`);
    })),
    compared: titled("What all keys share changes no weight: the softmax sees only differences",
      choice("taken apart", { false: "its score", true: "minus the other keys' mean" }, "", (to) => {
        compared = to === "true";
        show(state);
      })),
    all: titled("Dimensions with the largest products and outputs, or every one", choice("dimensions",
      { false: `${FEW} largest`, true: `all ${Math.max(d_head, d_value)}` }, "", (to) => {
        all = to === "true";
        show(state);
      })),
    scale: titled("Whether scores are divided by √d_k before the softmax", choice("scores are",
      { true: "÷ √d_k", false: "unscaled" }, "", (scale) => change({ scale: scale === "true" }))),
    d_k: titled("How many dimensions of queries and keys count, from the first",
      dial("d_k", { min: 1, max: d_head, step: 1, show: (d_k) => `first ${d_k} of ${d_head}` })),
    temperature: titled("Scores are divided by it before the softmax: below 1 weights sharpen, above 1 they even out",
      dial("temperature", { min: 0.1, max: 4, step: 0.1, show: written })) };
  const undo = make("button", { title: "Take the last change back (Ctrl+Z); needs a change",
    onclick: () => go(past.pop().state) }, "Undo");
  const reset = make("button", { title: "All numbers as they were at first",
    onclick: () => change({ ...at_first, key: null }) }, "Reset");
  const found = make("h2"), edited = make("span", { className: "edited" });
  const edits = (names) => sum(names.map((name) =>
    sum(state[name].map((row, at) => row.filter((x, i) => x !== at_first[name][at][i]).length))));
  const several = (many, what) => many && `${many} ${what}${many > 1 ? "s" : ""}`;
  shown.push(({ query, key, weights, scaled }) => {
    const at = key ?? ranked(weights)[0];
    found.textContent = `"${tokens[query]}" looks ${key === null ? "most " : ""}at "${tokens[at]}": score ${written(scaled[at])} → ` +
      `weight ${written(weights[at], 3)}`;
    const what = [several(edits(["q", "k", "v"]), "number"), several(edits(["mask"]), "mask cell")].filter(Boolean).join(", ");
    edited.textContent = what && `${what} changed`;
  });
  const label = (text, control) => make("span", { className: "labeled" }, text, control);
  const numbers = div("row", wide.length > 0 && label("dimensions", controls.all), controls.d_k, label("scores", controls.scale),
    controls.temperature);
  const steps = div("columns", ...tables), reasons = div("", div("row", label("key", controls.key), controls.compared), why);
  stage.root.style.setProperty("--row", Math.min(3.5, 29.8 / (tokens.length + 2)));
  stage.root.append(div("row", found, about && make("span", { className: "soft" }, about), parts && controls.view,
    make("span", {}, undo, " ", reset)),
    div("row", label("query", controls.query), edited), numbers, div("main-view", steps, reasons));
  stage.root.onkeydown = (event) => {
    if (event.key !== "z" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    undo.click();
  };

  // Show a state, and underline what differs from the numbers at first.
  function show(to) {
    state = to;
    const begun = { ...at_first, query: to.query, key: to.key }, asked = to.key !== null;
    const [work, old] = [to, begun].map((one) => ({ ...one, ...workOut(one, bias) }));
    fold(work);
    for (const draw of shown) draw(work, old);
    if (asked) explain(work);
    stage.root.querySelector(".guide").textContent = guides[+asked];
    steps.hidden = numbers.hidden = asked;
    reasons.hidden = !asked;
    const { d_k, temperature, ...choices } = controls, at = { ...to, view: asked ? "why" : "steps", compared, all };
    d_k.show(to.d_k);
    temperature.show(to.temperature);
    for (const name in choices) choices[name]?.show(`${at[name]}`);
    undo.disabled = !past.length;
    stage.say("");
    stage.announce(`${found.textContent} ${edited.textContent}`);
  }
  show(state);
  // What Python changes, unless a change of ours is still on its way there.
  stage.on(`${traits.join(" ")} answered`, () => {
    const to = read();
    if (model.get("asked") > model.get("answered") || JSON.stringify(to) === JSON.stringify(state)) return;
    past.push({ state });
    show(to);
  });
  return () => stage.close();
}

export default { render };
