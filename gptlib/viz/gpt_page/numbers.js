// Vectors as strips of colored cells, each of which can be read and opened.

const ABOVE = [224, 132, 32], BELOW = [56, 122, 196]; // the colors of numbers above and below 0, paler near it

const largestOf = (numbers) => numbers.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-9);
// What a full color stands for: a number that few are larger than, so that one which sticks out does not pale the rest.
const scaleOf = (numbers) => Math.min(largestOf(numbers), 2.5 * (lengthOf(numbers) / Math.sqrt(numbers.length)) || 1);
const lengthOf = (numbers) => Math.sqrt(numbers.reduce((sum, x) => sum + x * x, 0));
const signed = (x) => (x === 0 ? "0" : number(x, Math.abs(x) < 0.1 ? 4 : 3)); // enough digits to be told from 0

function shade(x, scale) {
  const [red, green, blue] = x < 0 ? BELOW : ABOVE;
  return `rgb(${red} ${green} ${blue} / ${Math.min(1, Math.abs(x) / scale) ** 0.7})`;
}

// A strip: one cell for each number, a full color for one as large as `scale` or larger. `read` is told what is pointed at,
// `open` which cell is to be opened. Arrow keys move among the cells.
function strip(name, numbers, { scale = scaleOf(numbers), read, open, thin = false } = {}) {
  const canvas = make("canvas", { width: numbers.length, height: 1 }), cursor = make("i", { hidden: true });
  const brush = canvas.getContext("2d"), last = numbers.length - 1;
  numbers.forEach((x, at) => {
    brush.fillStyle = shade(x, scale);
    brush.fillRect(at, 0, 1, 1);
  });
  const textAt = (at) => `${name}[${at}] = ${signed(numbers[at])}`;
  const box = make("div", { className: `strip${thin ? " thin" : ""}${open ? " opens" : ""}`, tabIndex: thin ? -1 : 0, role: "slider", "aria-label": `${name}, ${numbers.length} numbers`,
    "aria-valuemin": 0, "aria-valuemax": last, "aria-valuenow": 0, "aria-valuetext": textAt(0) }, canvas, cursor);
  let at = 0;
  const move = (to) => {
    at = Math.max(0, Math.min(last, to));
    set(box, { "aria-valuenow": at, "aria-valuetext": textAt(at) });
    set(cursor, { hidden: false, style: { left: `${(100 * at) / numbers.length}%`, width: `${100 / numbers.length}%` } });
    read(`${textAt(at)}${open ? " · click to open it" : ""}`);
  };
  box.onpointermove = box.onpointerdown = ({ clientX }) => {
    const { left, width } = canvas.getBoundingClientRect();
    move(Math.floor(((clientX - left) / width) * numbers.length));
  };
  box.onfocus = () => box.matches(":focus-visible") && move(at);
  box.onpointerleave = box.onblur = () => { cursor.hidden = true; };
  box.onclick = () => open?.(at);
  box.onkeydown = (event) => {
    const wide = Math.max(1, Math.round(numbers.length / 16));
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowDown: at - 1, ArrowUp: at + 1, Home: 0, End: last, PageUp: at + wide, PageDown: at - wide }[event.key];
    if (to !== undefined) move(to);
    else if (event.key === "Enter" && open) open(at);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return box;
}

// Named vectors under each other, `parts`: [{name, numbers, sign (how it joins those above it), of (its activation,
// which can be opened), note}]. All share one scale where `together`, so that sums can be seen.
function stripsOf(parts, { read, open, together = false } = {}) {
  const scale = together ? Math.max(...parts.map(({ numbers }) => scaleOf(numbers))) : undefined;
  return div("strips", ...parts.map(({ name, numbers, sign = "", of, note = "" }) => div("part",
    make("span", { className: "sign" }, sign),
    make("span", { className: "name" }, name),
    strip(name, numbers, { scale, read, open: of && ((at) => open({ name: of, at })) }),
    make("span", { className: "soft note" }, note || `length ${number(lengthOf(numbers), 2)}`))));
}

// All of these vectors as a table, filled when it is opened.
function tableOf(parts) {
  const box = make("details", { className: "table", ontoggle() {
    if (!box.open || box.childElementCount > 1) return;
    const rows = Math.max(...parts.map(({ numbers }) => numbers.length));
    const cell = (numbers, at) => make("td", {}, at < numbers.length ? signed(numbers[at]) : "");
    box.append(make("div", { className: "scrolled", tabIndex: 0, role: "group", "aria-label": "The numbers" }, make("table", {},
      make("tr", {}, make("th", { scope: "col" }, "at"), ...parts.map(({ name }) => make("th", { scope: "col" }, name))),
      ...Array.from({ length: rows }, (_, at) => make("tr", {}, make("th", { scope: "row" }, at), ...parts.map(({ numbers }) => cell(numbers, at)))))));
  } }, make("summary", {}, "All numbers as a table"));
  return box;
}

// How a number came about: {title, value, say, terms: [{label, left, right, product}], rest: {count, sum}}.
function openedPart({ title, value, say, terms, rest }, close) {
  const most = largestOf(terms.map(({ product }) => product));
  const line = (label, sum, share) => make("tr", {}, make("th", { scope: "row" }, label), make("td", {}, sum),
    make("td", { className: "bar" }, make("i", { style: { width: `${(50 * Math.abs(share)) / most}%`, left: share < 0 ? `${50 - (50 * -share) / most}%` : "50%", background: shade(share, 1e-9) } })));
  return div("opened", make("h3", {}, `${title} = ${signed(value)}`),
    make("button", { onclick: close, title: "Close (Escape)", "aria-label": "Close" }, "✕"),
    make("p", {}, say),
    terms.length > 0 && make("table", {}, ...terms.map(({ label, left, right, product }) =>
      line(label, right === undefined ? signed(product) : `${signed(left)} × ${signed(right)} = ${signed(product)}`, product)),
      rest.count > 0 && line(`${rest.count} more`, signed(rest.sum), rest.sum)));
}
