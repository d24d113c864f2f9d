// All heads small, and the chosen one large: rows are the tokens that look, columns those looked at.

const LABELED = 26; // the most tokens of which each has its word beside the picture

// `chooseHead(layer, head)` and `choosePlace(token)` are called for what is clicked; `hueOf(head, of)` colors heads.
function headsPart({ chooseHead, choosePlace }) {
  const montage = make("div", { className: "montage dense", role: "group", "aria-label": "All heads: rows are layers, columns heads" });
  const title = make("h2"), readout = make("p", { className: "readout" }, "");
  const canvas = make("canvas"), mark = make("i", { className: "row-mark" }), cell = make("i", { className: "cell-mark", hidden: true });
  const rows = div("row-words"), columns = div("column-words"), picture = div("picture", canvas, mark, cell);
  const said = make("p", { className: "soft" });
  let tiles = [], shape = "", map, pieces, at, nameOfLayer;

  // Buttons in a grid, made anew for another model only.
  function lay(heads) {
    if (shape === (shape = heads.join())) return;
    const across = Math.max(...heads);
    tiles = heads.flatMap((n, layer) => Array.from({ length: n }, (_, head) => {
      const canvas = make("canvas");
      const tile = make("button", { className: "tile", onclick: () => chooseHead(layer, head), style: { gridArea: `${layer + 2} / ${head + 2}` } }, canvas);
      return { tile, canvas, layer, head };
    }));
    set(montage, { style: { gridTemplateColumns: `auto repeat(${across}, minmax(0, 56px))` } });
    montage.replaceChildren(
      ...Array.from({ length: across }, (_, head) => make("span", { className: "soft", style: { gridArea: `1 / ${head + 2}` } }, head)),
      ...heads.map((_, layer) => make("span", { className: "soft", style: { gridArea: `${layer + 2} / 1` } }, nameOfLayer(layer))),
      ...tiles.map(({ tile }) => tile));
    roving(montage, () => {
      const grid = [];
      for (const { tile, layer, head } of tiles) grid[layer * across + head] = tile;
      return grid;
    }, () => across, (spot) => chooseHead(Math.floor(spot / across), spot % across));
  }

  function draw(answer, details) {
    const { side, small, config: { n_layers: L }, rows: heads } = answer, codes = bytesOf(small), n = answer.tokens.length;
    nameOfLayer = (layer) => (layer < L ? layer : "copy");
    lay(heads);
    const { layer, head } = details.head;
    tiles.forEach(({ tile, canvas, ...one }, index) => {
      const chosen = one.layer === layer && one.head === head, name = headName(answer, one.layer, one.head);
      set(tile, { title: name, "aria-label": name, "aria-pressed": chosen, tabIndex: chosen ? 0 : -1 });
      tile.style.setProperty("--head", headColor(one.head, heads[one.layer]));
      if (tile.drawn === small) return;
      tile.drawn = small;
      paint(canvas, side, (pixel) => tables.attention[codes[index * side * side + pixel]]);
    });
    [map, pieces, at] = [floatsOf(details.head.map), answer.pieces, details.at];
    title.textContent = headName(answer, layer, head).replace(/^./, (letter) => letter.toUpperCase());
    picture.style.setProperty("--head", headColor(head, heads[layer]));
    paint(canvas, n, (pixel) => tables.attention[Math.round(255 * Math.sqrt(map[pixel]))]);
    set(mark, { style: { top: `${(100 * at) / n}%`, height: `${100 / n}%` } });
    const words = (token, along) => make("span", { style: { [along]: `${(100 * (token + 0.5)) / n}%` }, className: token === at ? "here" : "" }, pieces[token]);
    const step = Math.ceil(n / LABELED), shown = pieces.map((_, token) => token).filter((token) => token === at || (token % step === 0 && Math.abs(token - at) >= step) || step === 1);
    rows.replaceChildren(...shown.map((token) => words(token, "top")));
    columns.replaceChildren(...shown.map((token) => words(token, "left")));
    tell();
  }

  // Where the chosen token looks most, or what the pointer is on.
  function tell(query = at, key = null) {
    const n = pieces.length, row = map.subarray(query * n, query * n + query + 1);
    const to = key ?? row.indexOf(Math.max(...row));
    cell.hidden = key === null;
    set(cell, { style: { left: `${(100 * to) / n}%`, top: `${(100 * query) / n}%`, width: `${100 / n}%`, height: `${100 / n}%` } });
    readout.textContent = to > query ? `“${pieces[query]}” cannot look ahead to “${pieces[to]}”`
      : `“${pieces[query]}” looks ${key === null ? "most " : ""}at “${pieces[to]}”: ${number(row[to], 4)}`;
  }
  const spot = ({ clientX, clientY }) => {
    const { left, top, width, height } = canvas.getBoundingClientRect(), n = pieces.length;
    return [(clientY - top) / height, (clientX - left) / width].map((share) => Math.max(0, Math.min(n - 1, Math.floor(share * n))));
  };
  picture.onpointermove = (event) => tell(...spot(event));
  picture.onpointerleave = () => tell();
  picture.onclick = (event) => choosePlace(spot(event)[0]);

  said.textContent = "Bright: the token of the row looks at that of the column. What comes later is hidden from it.";
  const element = div("heads", div("all", make("h2", {}, "All heads (row: layer, column: head)"), montage, said),
    div("one", title, readout, div("plot", rows, picture, make("span"), columns)));
  return { element, draw };
}

// A square picture of n by n cells, of which those ahead of the diagonal stay empty.
function paint(canvas, n, colorOf) {
  set(canvas, { width: n, height: n });
  const image = new ImageData(n, n), pixels = new Uint32Array(image.data.buffer);
  for (let row = 0; row < n; row++) for (let column = 0; column <= row; column++) pixels[row * n + column] = colorOf(row * n + column);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const headName = ({ config: { n_layers: L } }, layer, head) => (layer < L ? `layer ${layer}, head ${head}` : `copy head ${head}`);
// Each head of a layer has a color of its own, the same in the flow and in the pictures.
const headColor = (head, of) => {
  const hue = (255 + (360 * head) / of) % 360;
  return `light-dark(oklch(0.6 0.16 ${hue}), oklch(0.74 0.14 ${hue}))`;
};
