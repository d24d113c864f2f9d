// The flow: each token is a lane; the stream of the token that is followed runs through all layers, fed by what the
// heads bring from the lanes before it and by the MLPs, and at its end it parts into the tokens that may come next.
// `u` is measured along the flow and `v` across it; on a narrow page the flow runs down instead of to the right.

const THREADS = 48; // the most cells across the stream; each is the number of its group that is farthest from 0
const HALF = 15; // half of the stream's thickness, in pixels
const RIBBON = 12; // the thickness of a weight of 1
const FAN = 7; // the most tokens at the flow's end; where it runs down, as many as have room for their names

// `chooseSpot(key)`, `chooseHead(layer, head)`, `choosePlace(token)`, `take(token)`: for what is clicked.
function flowPart({ chooseSpot, chooseHead, choosePlace, take }) {
  const canvas = make("canvas"), picture = svg("svg", { role: "img" });
  const rail = make("div", { className: "rail dense", role: "group", "aria-label": "The stages of the flow" });
  const inner = div("inner", canvas, picture, rail), element = div("flow", inner);
  let answer, details, plan, front = Infinity, running = 0, spot = "";

  // Where everything stands.
  function planned(width) {
    const { config: { n_layers: L, copy_heads: copies } } = answer, { at } = details, down = width < 720;
    const lead = down ? 96 : 104, ending = 54 + (copies ? 70 : 0) + (down ? 138 : 232);
    const room = down ? L * 104 : width - lead - 78 - ending;
    const wide = Math.max(down ? 104 : 62, Math.min(230, room / L)); // of one layer
    const thick = down ? width : Math.max(236, Math.min(330, 136 + 20 * at)), stream = thick - (down ? 104 : 26);
    const gap = Math.min(24, (stream - 76) / Math.max(1, at));
    const first = lead + 78, end = first + L * wide, exit = end + 54 + (copies ? 70 : 0);
    return {
      down, wide, thick, stream, lead, first, end, exit,
      long: exit + (down ? 138 : 232), token: lead + 8, position: lead + 32, start: lead + 58,
      lane: (token) => (token === at ? stream : stream - 62 - (at - token - 0.5) * gap),
      sum: (layer) => first + (layer + 0.44) * wide, // where attention is added
      mlp: (layer) => first + (layer + 0.75) * wide,
      fan: exit + (down ? 84 : 96),
    };
  }
  const P = (u, v) => (plan.down ? `${v} ${u}` : `${u} ${v}`);
  const curve = (u, v, ...points) => `M${P(u, v)} C${points.map(([u, v]) => P(u, v)).join(" ")}`;
  const box = (u, v, length, height, more) => {
    const [x, y, width, tall] = plan.down ? [v, u, height, length] : [u, v, length, height];
    return svg("rect", { x, y, width, height: tall, ...more });
  };
  const text = (u, v, content, more = {}) => svg("text", { x: plan.down ? v : u, y: plan.down ? u : v, ...more }, content);

  function spots() {
    const { config: { n_layers: L, copy_heads: copies } } = answer, { sum, mlp, wide, lead, first, end, exit, fan, down } = plan;
    const [heads, neurons] = down || wide >= 150 ? ["attention", "MLP"] : wide >= 100 ? ["att.", "MLP"] : ["A", "M"];
    return [
      { key: "tokens", name: "tokens", u: lead - 52, front: lead },
      { key: "embedding", name: "embedding", u: lead + 24, front: first },
      ...Array.from({ length: L }, (_, l) => [
        { key: `attention ${l}`, name: heads, long: `attention of layer ${l}`, u: sum(l) - 0.14 * wide, front: sum(l) - 3, after: sum(l) + 0.1 * wide },
        { key: `mlp ${l}`, name: neurons, long: `MLP of layer ${l}`, u: mlp(l), front: mlp(l) + Math.min(34, 0.13 * wide) + 20 }]).flat(),
      ...(copies ? [{ key: "copy", name: "copy", long: "copy heads", u: end + 66, front: exit - 20 }] : []),
      { key: "norm", name: "norm", u: end + 20, front: end + 22 },
      { key: "logits", name: "logits", u: exit + (down ? 14 : 20), front: exit + 2 },
      { key: "next", name: down ? "next" : "probabilities", long: "probabilities of the next token", u: down ? fan + 42 : fan + 44, front: plan.long },
    ];
  }

  function draw(newAnswer, newDetails) {
    [answer, details] = [newAnswer, newDetails];
    if (!element.clientWidth) return;
    const zoomed = element.closest(".large") ? 1.35 : 1; // with larger letters everything is larger
    plan = planned(element.clientWidth / zoomed);
    const { down, long, thick } = plan, width = down ? thick : long, height = down ? long : thick;
    set(inner, { style: { width: `${width}px`, height: `${height + (down ? 0 : 34)}px`, zoom: zoomed } });
    const zoom = Math.min(2, zoomed * (devicePixelRatio || 1));
    set(canvas, { width: width * zoom, height: height * zoom, style: { width: `${width}px`, height: `${height}px` } });
    for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) picture.setAttribute(name, value);
    const most = details.next.rows[0];
    picture.setAttribute("aria-label", `The flow from “${answer.pieces[details.at]}” through ${answer.config.n_layers} layers to the next token; likeliest is “${most.piece}” with ${percent(most.p)}.`);
    const clip = box(0, 0, long, thick), id = `front-${Math.random().toString(36).slice(2)}`;
    const moving = svg("g", { "clip-path": `url(#${id})` });
    for (let layer = 0; layer < answer.config.n_layers; layer++) moving.append(attention(layer), neurons(layer));
    if (answer.config.copy_heads) moving.append(attention(answer.config.n_layers));
    moving.append(ending());
    picture.replaceChildren(svg("clipPath", { id }, clip), bed(), moving);
    picture.front = clip;
    drawRail();
    reveal(front);
    mark();
  }

  // What is there before anything has run: layers, lanes, and the tokens' names.
  function bed() {
    const { config: { n_layers: L } } = answer, { at } = details, { lane, lead, wide, first, stream, start, exit, thick, down } = plan;
    const group = svg("g", { class: "bed" });
    for (let layer = 0; layer < L; layer++) {
      group.append(box(first + layer * wide + 2, 0, wide - 4, thick, { class: "band", rx: 8 }),
        text(first + layer * wide + (down ? wide - 8 : 10), down ? 8 : 16, `layer ${layer}`, { class: "soft" }));
    }
    for (let token = 0; token < at; token++)
      group.append(svg("path", { class: "lane", d: `M${P(lead, lane(token))} L${P(first + L * wide, lane(token))}`, "stroke-opacity": Math.min(0.8, 14 / at) }));
    for (const token of named()) {
      const v = lane(token), name = text(lead - 10, v + 4, spaced(answer.pieces[token]), { class: token === at ? "token here" : "token", "text-anchor": down ? "start" : "end" });
      if (down) name.setAttribute("transform", `rotate(-90 ${v + 4} ${lead - 10})`);
      name.append(svg("title", {}, `Token ${token}: follow it`));
      name.onclick = () => choosePlace(token);
      group.append(name);
    }
    group.append(box(start, stream - HALF, exit - start, 2 * HALF, { class: "river", rx: 4 }));
    return group;
  }

  // The tokens whose names have room: the one that is followed, then those that heads look at most.
  function named() {
    const { at } = details, looks = floatsOf(details.looks), n = at + 1, most = new Float32Array(n), names = [at];
    looks.forEach((weight, i) => { most[i % n] = Math.max(most[i % n], weight); });
    for (const token of [...most.keys()].sort((a, b) => most[b] - most[a]))
      if (names.every((other) => Math.abs(plan.lane(token) - plan.lane(other)) >= 12)) names.push(token);
    return names;
  }

  // The ribbons of a layer's heads, their ports above the stream, and the sum.
  function attention(layer) {
    const { rows, config: { n_layers: L }, pieces } = answer, { at, head: chosen } = details, { lane, wide, first, stream, end } = plan;
    const copy = layer === L, H = rows[layer], looks = floatsOf(details.looks), n = at + 1;
    const before = rows.slice(0, layer).reduce((sum, heads) => sum + heads, 0);
    const from = copy ? end + 22 : first + layer * wide + 4, to = copy ? end + 74 : plan.sum(layer), step = Math.min(20, (copy ? 36 : 0.34 * wide) / H);
    const group = svg("g", { class: "attention", "data-spot": copy ? "copy" : `attention ${layer}` }), ribbons = [];
    const ports = Array.from({ length: H }, (_, head) => to - 10 - step * (H - 1 - head)), port = stream - 38;
    for (let head = 0; head < H; head++) for (let key = 0; key < n; key++) {
      const weight = looks[(before + head) * n + key];
      if (weight >= 0.03) ribbons.push({ head, key, weight });
    }
    ribbons.sort((a, b) => b.weight - a.weight).splice(64);
    for (const { head, key, weight } of ribbons.reverse()) {
      const u = ports[head], v = lane(key);
      const d = key === at ? curve(from, stream - HALF, [from + 0.3 * (u - from), port - 34], [u, port - 44], [u, port])
        : curve(from, v, [0.35 * from + 0.65 * u, v], [u, v + 0.35 * (port - v)], [u, port]);
      const mine = chosen.layer === layer ? (chosen.head === head ? " mine" : " other") : "";
      const ribbon = svg("g", { class: `ribbon${mine}`, style: `--head: ${headColor(head, H)}` },
        svg("title", {}, `${headName(answer, layer, head)}: “${pieces[at]}” looks at “${pieces[key]}”: ${number(weight, 3)}`),
        svg("path", { d, "stroke-width": Math.max(0.8, RIBBON * weight) }),
        svg("path", { class: "dots", d, "stroke-width": Math.max(1.6, Math.min(5, 0.5 * RIBBON * weight)) }));
      ribbon.onclick = () => chooseHead(layer, head);
      group.append(ribbon);
    }
    ports.forEach((u, head) => {
      const mine = chosen.layer === layer && chosen.head === head, style = `--head: ${headColor(head, H)}`;
      const [cx, cy] = P(u, port).split(" ");
      const one = svg("circle", { class: mine ? "port mine" : "port", cx, cy, r: Math.max(2, Math.min(6, 0.42 * step)) + (mine ? 1 : 0), style },
        svg("title", {}, headName(answer, layer, head)));
      one.onclick = () => chooseHead(layer, head);
      group.append(svg("path", { class: "fall", style, d: curve(u, port, [u, stream - 20], [to, stream - 28], [to, stream - HALF]) }), one);
    });
    group.append(plus(to));
    return group;
  }

  const plus = (u) => {
    const { stream } = plan, [cx, cy] = P(u, stream - HALF).split(" ").map(Number);
    return svg("g", { class: "plus" }, svg("circle", { cx, cy, r: 7 }), svg("path", { d: `M${cx - 4} ${cy} h8 M${cx} ${cy - 4} v8` }));
  };

  // An MLP beside the stream: it reads it, widens, bends, narrows, and adds to it.
  function neurons(layer) {
    const { stream } = plan, { u, half, side, low } = lensAt(layer), top = side - low;
    const points = [[u - half, side - 9], [u - 6, top], [u + 6, top], [u + half, side - 9], [u + half, side + 9], [u + 6, side + low], [u - 6, side + low], [u - half, side + 9]];
    const lens = svg("path", { class: "lens", d: `M${points.map(([u, v]) => P(u, v)).join(" L")} Z` }, svg("title", {}, `MLP of layer ${layer}`));
    lens.onclick = () => chooseSpot(`mlp ${layer}`);
    const line = (d) => [svg("path", { class: "branch", d }), svg("path", { class: "dots", d, "stroke-width": 3.5 })];
    return svg("g", { class: "mlp", "data-spot": `mlp ${layer}` },
      ...line(curve(u - half - 16, stream - HALF, [u - half - 16, side + 6], [u - half - 10, side], [u - half, side])),
      ...line(curve(u + half, side, [u + half + 8, side], [u + half + 12, side + 6], [u + half + 12, stream - HALF])), lens, plus(u + half + 12));
  }
  function lensAt(layer) {
    const { wide, stream } = plan;
    return { u: plan.mlp(layer), half: Math.min(34, 0.13 * wide), side: stream - 46, low: 21 };
  }

  // The stream's end: it parts into the likeliest next tokens, each as wide as its probability.
  function ending() {
    const { exit, fan, stream, thick, down } = plan, most = down ? Math.min(FAN, Math.floor(thick / 66)) : FAN;
    const rows = details.next.rows.slice(0, most).sort((a, b) => b.p - a.p);
    const group = svg("g", { class: "ending", "data-spot": "next" }), room = (down ? thick : thick - 26) / most;
    let part = -HALF;
    rows.forEach(({ token, piece, p }, at) => {
      const width = 2 * HALF * p, from = stream + part + width / 2, v = room * (at + 0.5) + (down ? 0 : 4);
      part += width;
      const d = curve(exit, from, [exit + 0.5 * (fan - exit), from], [exit + 0.5 * (fan - exit), v], [fan - 8, v]);
      const name = down ? svg("text", { x: v, y: fan + 10, "text-anchor": "middle", class: "token" }, spaced(piece).trim().slice(0, Math.floor(room / 7.5)) || piece)
        : text(fan, v + 4, spaced(piece).slice(0, 12), { class: "token" });
      const chance = down ? svg("text", { x: v, y: fan + 26, "text-anchor": "middle", class: "soft" }, percent(p)) : text(plan.long - 4, v + 4, percent(p), { class: "soft", "text-anchor": "end" });
      const one = svg("g", { class: p ? "choice-of" : "choice-of out" }, svg("title", {}, `Take “${piece}”: ${percent(p)}`),
        svg("path", { d, "stroke-width": Math.max(0.8, width) }), svg("path", { class: "dots", d, "stroke-width": Math.max(1.4, Math.min(5, width / 2)) }), name, chance);
      one.onclick = () => take(token);
      group.append(one);
    });
    return group;
  }

  function drawRail() {
    const { down, stream, thick } = plan, held = rail.contains(document.activeElement) && document.activeElement.value;
    rail.replaceChildren(...spots().sort((a, b) => a.u - b.u).map(({ key, name, long = name, u }) => make("button", {
      value: key, title: long, "aria-label": long, onclick: () => chooseSpot(key),
      style: down ? { left: `${stream + 26}px`, top: `${u}px`, translate: "0 -50%" } : { left: `${u}px`, top: `${thick + 4}px`, translate: "-50%" },
    }, name)));
    if (held) [...rail.children].find(({ value }) => value === held)?.focus();
  }

  // Paint the stream's cells as far as it has come.
  function reveal(to) {
    front = to;
    if (!plan) return;
    const { down, start, stream, exit, token, position } = plan, brush = canvas.getContext("2d"), zoom = canvas.width / parseFloat(canvas.style.width);
    picture.front.setAttribute(down ? "height" : "width", Math.max(0, Math.min(plan.long, front)));
    brush.setTransform(...(down ? [0, zoom, zoom, 0, 0, 0] : [zoom, 0, 0, zoom, 0, 0])); // u along, v across
    brush.clearRect(0, 0, plan.long, plan.thick);
    const cells = (view, from, until, half = HALF, most = THREADS, middle = stream) => {
      const length = Math.min(until, front) - from;
      if (length <= 0) return;
      const numbers = floatsOf(view), n = Math.min(most, numbers.length), scale = scaleOf(numbers);
      for (let cell = 0; cell < n; cell++) {
        let best = 0;
        for (let i = Math.floor((cell * numbers.length) / n); i < ((cell + 1) * numbers.length) / n; i++) if (Math.abs(numbers[i]) > Math.abs(best)) best = numbers[i];
        brush.fillStyle = shade(best, scale);
        brush.fillRect(from, middle - half + (2 * half * cell) / n, length, (2 * half) / n);
      }
    };
    cells(details.token_embedding, token, token + 14);
    if (details.position) cells(details.position, position, position + 14);
    let from = start;
    details.layers.forEach((layer, l) => {
      const { u, half, side, low } = lensAt(l);
      cells(layer.residual_pre, from, plan.sum(l));
      cells(layer.residual_mid, plan.sum(l), from = u + half + 12);
      cells(layer.mlp_norm, u - half + 2, u - half + 8, 8, 16, side);
      if (layer["mlp.hidden"]) cells(layer["mlp.hidden"], u - 5, u + 5, low - 1, THREADS, side);
      cells(layer["mlp.output"], u + half - 8, u + half - 2, 8, 16, side);
    });
    cells(details.residual_final, from, plan.end + 10);
    cells(details.final_norm, plan.end + 14, answer.config.copy_heads ? plan.end + 74 : exit);
    if (details.copying_output) cells(details.copying_output, plan.end + 74, exit);
  }

  function mark() {
    for (const one of picture.querySelectorAll("[data-spot]")) one.classList.toggle("now", one.dataset.spot === spot);
    for (const button of rail.children) button.ariaCurrent = button.value === spot ? "step" : "false";
  }

  // Show the flow as far as a stage, and move there when `moved`; without a stage, all of it.
  function show(key, { after = false, moved = false } = {}) {
    spot = key;
    if (!plan) return;
    const place = spots().find((one) => one.key === key), to = place ? (after ? place.after ?? place.front : place.front) : plan.long;
    cancelAnimationFrame(running);
    const from = Math.min(front, plan.long), began = performance.now(), lasts = 700;
    if (moved && to > from && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
      const move = (now) => {
        const share = Math.min(1, (now - began) / lasts);
        reveal(from + (to - from) * share * (2 - share));
        if (share < 1) running = requestAnimationFrame(move);
      };
      running = requestAnimationFrame(move);
    } else reveal(to);
    mark();
    const button = [...rail.children].find(({ value }) => value === key);
    if (button && element.scrollWidth > element.clientWidth) element.scrollLeft = button.offsetLeft - element.clientWidth / 2;
  }

  // Bring the stage's place into view; but leave alone who has scrolled on to the numbers below.
  function seek() {
    const button = [...rail.children].find(({ value }) => value === spot);
    if (element.getBoundingClientRect().bottom < innerHeight / 3) return;
    button?.scrollIntoView({ block: "nearest", inline: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }

  return { element, draw, show, seek };
}
