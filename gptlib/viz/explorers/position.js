// Positions as pairs of numbers that turn. All of it is arithmetic, so all of it is done here, and checked
// against gptlib.positions by the tests. Pair i turns by base^(-2i/d_model) radians a position.

const STATE = "kind d_model length base m n";
const SAYS = {
  sinusoidal: {
    left: "Each position has a pattern of its own", right: "How alike two positions are",
    note: "Rows: positions; click or drag to move m. Columns: pairs of sine and cosine, from fast to slow.",
    curve: "Cosine of two positions, by how far apart they are", unit: "cosine", d_model: "d_model",
    read: (m, n, value) => `Positions ${m} and ${n} are ${Math.abs(m - n)} apart: cosine ${number(value)}`,
  },
  rotary: {
    left: "Query and key turn, each pair at its own speed", right: "The score of each query with each key",
    note: "Solid hand: query at m. Dashed: key at n. Before they turn, both are the same vector, so the score is the sum of the cosines of all pairs.",
    curve: "Score of a query with a key, by how far apart they are", unit: "score", d_model: "d_head",
    read: (m, n, value, pairs) =>
      `Query at ${m}, key at ${n}, distance ${number(m - n, 0)}: score ${number(value * pairs)} of at most ${pairs}`,
  },
};

const TIPS = {
  d_model: "how many numbers tell a position; two make a pair",
  length: "how many positions there are",
  base: "the larger, the slower the slow pairs turn",
  m: "one position; with Rotary, the query's",
  n: "another position; with Rotary, the key's",
};

// Values from `low` to `high` in the colors of a table.
function paintGrid(canvas, rows, columns, table, [low, high], value) {
  const image = new ImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
  for (let row = 0, at = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) pixels[at++] = tables[table][Math.round((255 * (value(row, column) - low)) / (high - low))];
  set(canvas, { width: columns, height: rows }).getContext("2d").putImageData(image, 0, 0);
}

// What the colors of a table mean.
function legend(table, low, high) {
  const colors = Array.from({ length: 9 }, (_, k) => color(table, k / 8));
  return div("legend soft", low, make("span", { className: "ramp", style: { background: `linear-gradient(to right, ${colors})` } }), high);
}

// A clock with the query's hand (solid) and the key's hand (dashed) and the angle between them.
function dial(i, speed, m, n) {
  const at = (angle, far) => `${far * Math.cos(angle)} ${-far * Math.sin(angle)}`;
  const apart = Math.atan2(Math.sin((m - n) * speed), Math.cos((m - n) * speed));
  const degrees = Number(((speed * 180) / Math.PI).toPrecision(3));
  return div("dial",
    svg("svg", { viewBox: "-50 -50 100 100", "aria-hidden": "true" },
      svg("circle", { r: 46 }),
      svg("path", { class: "apart", d: `M0 0 L${at(n * speed, 24)} A24 24 0 0 ${apart > 0 ? 0 : 1} ${at(n * speed + apart, 24)} Z` }),
      svg("path", { class: "query", d: `M0 0 L${at(m * speed, 44)}` }),
      svg("path", { class: "key", d: `M0 0 L${at(n * speed, 44)}` })), // over it, so that both are seen where they meet
    make("b", {}, `pair ${i}`),
    make("span", {}, `${number(m - n, 0)} × ${degrees}°`),
    make("span", {}, `cos ${number(Math.cos(apart))}`));
}

const table = (caption, head, rows) => make("table", {}, make("caption", {}, caption),
  make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
  make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((text) => make("td", {}, text))))));

export default {
  render({ model, el }) {
    const stage = open(model, el, "position",
      "A position is written as pairs of numbers that turn, some fast, some slow. Move m and n: how alike two positions " +
      "are depends only on how far apart they are.");
    const now = {};
    let frame = 0;
    const read = () => { for (const name of STATE.split(" ")) now[name] = model.get(name); };
    const draw = () => { frame ||= requestAnimationFrame(paint); };
    const change = (changes) => { Object.assign(now, changes); stage.ask(changes); draw(); };
    read();

    // Move one position, and the other with it if they are tied; neither leaves the text.
    const move = (name, to) => {
      const other = name === "m" ? "n" : "m", room = now.length - 1, from = now[other] - now[name];
      if (!tied.checked) return change({ [name]: to });
      const place = Math.max(0, -from, Math.min(room, room - from, to));
      change({ [name]: place, [other]: place + from });
    };
    const kinds = set(choice("Kind of positions", { sinusoidal: "Sinusoidal", rotary: "Rotary" }, now.kind, (kind) => change({ kind })),
      { title: "waves added to the embedding, or turned queries and keys" });
    const sliders = {
      d_model: slider("d_model", { min: 2, max: 256, step: 2, value: now.d_model }, (d_model) => change({ d_model })),
      length: slider("length", { min: 2, max: 256, step: 1, value: now.length }, (length) =>
        change({ length, m: Math.min(now.m, length - 1), n: Math.min(now.n, length - 1) })),
      base: slider("base", { min: 0, max: 7, step: 0.1, value: Math.log10(now.base), show: () => now.base.toLocaleString("en") },
        (power) => change({ base: Number((10 ** power).toPrecision(2)) })),
      m: slider("position m", { min: 0, max: now.length - 1, step: 1, value: now.m }, (to) => move("m", to)),
      n: slider("position n", { min: 0, max: now.length - 1, step: 1, value: now.n }, (to) => move("n", to)),
    };
    for (const [name, box] of Object.entries(sliders)) box.title = TIPS[name];
    const tied = make("input", { type: "checkbox" });

    // What is drawn, with marks on it; a press or a drag gives its place, in shares of width and height.
    const plane = (drawn, className, marks, pressed) => {
      const box = div(`plane ${className}`, drawn, ...marks);
      const point = (event) => {
        event.preventDefault();
        const { left, top, width, height } = box.getBoundingClientRect();
        const share = (x) => Math.max(0, Math.min(0.9999, x));
        pressed(share((event.clientX - left) / width), share((event.clientY - top) / height));
      };
      // A finger may be scrolling past until it is lifted, and has clicked.
      const drag = (event) => event.buttons && event.pointerType !== "touch" && point(event);
      return set(box, { onclick: point, onpointermove: drag, onpointerdown(event) {
        box.setPointerCapture(event.pointerId);
        drag(event);
      } });
    };
    const mark = (name, way) => make("span", { className: `mark ${way}`, "data-name": name, "aria-hidden": "true" });
    const place = (share) => Math.floor(share * now.length);
    const waves = make("canvas", { role: "img" }), grid = make("canvas", { role: "img" });
    const rows = [mark("m", "across"), mark("n", "across")], cell = [mark("m", "across"), mark("n", "down")];
    const dials = make("div", { className: "dials", role: "group", "aria-label": "Pairs of query and key" });
    const wavesBox = plane(waves, "", rows, (x, y) => move("m", place(y)));
    const gridBox = plane(grid, "", cell, (x, y) => change({ m: place(y), n: place(x) }));
    wavesBox.title = "press or drag: down is m";
    const line = svg("path", {}), dot = make("span", { className: "dot" });
    const chart = svg("svg", { preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { class: "zero", d: "M0 0 H1" }), line);
    const most = make("span", { className: "most" }), zero = make("span", { className: "zero", textContent: 0 });
    const unit = make("span", { className: "unit" });
    const curve = div("curve", chart, most, unit, zero, dot), legends = [div(), div()];
    const text = (className = "soft") => make("p", { className });
    const [left, right, said] = ["", "", "said"].map((className) => make("h2", { className }));
    const [note, across, about, speeds, ticks] = [text(), text(), text(), text(), text("soft ticks")];
    across.textContent = "Click or drag: down is m, across is n. Each diagonal holds one number.";
    const numbers = make("details", { ontoggle: draw }, make("summary", { title: "what is drawn, as tables" }, "The numbers"),
      make("div", { className: "columns", role: "region", tabIndex: 0, "aria-label": "The numbers" }));
    stage.root.append(
      div("row", kinds, sliders.d_model, sliders.length, sliders.base),
      div("row", sliders.m, sliders.n, make("label", { title: "keep the distance between m and n" }, tied, " move both together"), speeds),
      div("panels main-view",
        make("div", {}, left, wavesBox, dials, legends[0], note),
        make("div", {}, right, set(gridBox, { title: "press or drag: down is m, across is n" }), legends[1], across),
        div("by", said, curve, ticks, about)),
      numbers);

    function paint() {
      frame = 0;
      const { kind, d_model, length, base, m, n } = now, says = SAYS[kind], rotary = kind === "rotary", pairs = d_model / 2;
      const speed = Array.from({ length: pairs }, (_, i) => base ** ((-2 * i) / d_model));
      // The mean cosine over all pairs, by distance: of two waves, and of two turned arrows.
      const alike = Array.from({ length }, (_, distance) => speed.reduce((sum, f) => sum + Math.cos(distance * f), 0) / pairs);
      const value = alike[Math.abs(m - n)], end = length - 1;

      kinds.show(kind);
      for (const [name, box] of Object.entries(sliders)) {
        const input = box.querySelector("input"), to = name === "base" ? Math.log10(base) : now[name];
        if (name === "m" || name === "n") input.max = end;
        if (name === "d_model") set(input, { "aria-label": box.firstChild.textContent = says.d_model });
        box.show(to);
        input.value = to;
      }
      const turns = (f) => Number(((2 * Math.PI) / f).toPrecision(2)).toLocaleString("en");
      speeds.textContent = `The first pair goes round in ${turns(speed[0])} positions` + (pairs > 1 ? `, the last in ${turns(speed[pairs - 1])}.` : ".");
      [left.textContent, right.textContent, note.textContent, about.textContent] = [says.left, says.right, says.note, says.curve];
      said.textContent = says.read(m, n, value, pairs);
      stage.announce(said.textContent);

      wavesBox.hidden = legends[0].hidden = rotary;
      dials.hidden = !rotary;
      if (rotary) {
        // Six pairs from the first to the last, more of the fast ones.
        const many = Math.min(6, pairs);
        dials.replaceChildren(...Array.from({ length: many }, (_, k) => {
          const i = Math.max(k, Math.round((pairs - 1) * (k / Math.max(1, many - 1)) ** 1.5));
          return dial(i, speed[i], m, n);
        }));
      } else {
        paintGrid(waves, length, d_model, "difference", [-1, 1], (row, column) => Math[column % 2 ? "cos" : "sin"](row * speed[column >> 1]));
        waves.setAttribute("aria-label", `Waves at ${length} positions, in ${d_model} dimensions`);
      }
      const least = Math.min(...alike), scale = rotary ? pairs : 1;
      legends[0].replaceChildren(legend("difference", "−1", "1"));
      legends[1].replaceChildren(legend("attention", number(least * scale), number(scale)));
      paintGrid(grid, length, length, "attention", [least, 1], (row, column) => alike[Math.abs(row - column)]);
      grid.setAttribute("aria-label", `${says.right}: ${length} rows, ${length} columns`);
      for (const one of [...rows, ...cell]) {
        const down = one.classList.contains("down"), at = `${(100 * now[one.dataset.name]) / length}%`, size = `${100 / length}%`;
        Object.assign(one.style, down ? { left: at, width: size } : { top: at, height: size });
      }

      const wide = 2 * end;
      const points = Array.from({ length: wide + 1 }, (_, k) => `${k / wide} ${-alike[Math.abs(k - end)]}`);
      line.setAttribute("d", `M${points.join("L")}`);
      const low = Math.min(-0.1, least), high = (x) => `${(100 * (1 - x)) / (1 - low)}%`;
      chart.setAttribute("viewBox", `0 -1 1 ${1 - low}`);
      Object.assign(dot.style, { left: `${(100 * (m - n + end)) / wide}%`, top: high(value) });
      zero.style.top = high(0);
      most.textContent = scale;
      unit.textContent = says.unit;
      ticks.replaceChildren(...[number(-end, 0), "distance m − n", end].map((textContent) => make("span", { textContent })));

      if (numbers.open) {
        const angles = (place, f) => [Math.sin(place * f), Math.cos(place * f)].map((x) => number(x, 4));
        numbers.lastChild.replaceChildren(
          table("Pairs at m and at n", ["pair", "radians a position", "sin m", "cos m", "sin n", "cos n"],
            speed.map((f, i) => [i, f.toPrecision(4), ...angles(m, f), ...angles(n, f)])),
          table(rotary ? "Score by distance" : "Cosine by distance", ["distance", rotary ? "score" : "cosine"],
            alike.map((x, distance) => [distance, number(rotary ? x * pairs : x, 4)])));
      }
    }

    stage.on(STATE, () => { read(); draw(); });
    return () => { cancelAnimationFrame(frame); stage.close(); };
  },
};
