// Byte-pair merges over a text. Python sends the bytes, and for each the step that joins it to the byte before
// it. The pieces at any step follow from that, so the page can go to and fro without a kernel.

const SIGNS = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍" };
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const hex = (byte) => byte.toString(16).padStart(2, "0");
const counted = (n) => n.toLocaleString("en");
// How much orange is behind a piece of so many bytes.
const shade = (piece, size) => piece.style.setProperty("--share", `${Math.min(50, 9 * (size - 1))}%`);
const span = (textContent, className = "") => make("span", { className, textContent });

// Bytes as text: part of a character as \xNN, white space as a sign, what cannot be seen as \uNNNN.
function readable(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const length = bytes[at] < 128 ? 1 : bytes[at] < 224 ? 2 : bytes[at] < 240 ? 3 : 4;
    try {
      text += utf8.decode(bytes.subarray(at, at + length)).replace(/[\p{C}\p{Z}]/u, (sign) =>
        SIGNS[sign] ?? `\\u${sign.codePointAt(0).toString(16).padStart(4, "0")}`);
      at += length;
    } catch {
      text += `\\x${hex(bytes[at++])}`;
    }
  }
  return text.replace(/^\p{M}/u, "◌$&");
}

export default {
  render({ model, el }) {
    const stage = open(model, el, "bpe", "A tokenizer starts with the single bytes of a text and merges neighbors, one pair after " +
      "the other, in the order in which it learned to. Press Next or drag the slider to watch; type any text of your own.");
    let bytes, ids, steps, ranks, tokens, learned, words, last, at = 0, listing = 0;

    const box = make("textarea", { rows: 2, spellcheck: false, readOnly: !stage.live, "aria-label": "Your text",
      title: stage.live ? "any text, up to 2,000 characters" : `changing it needs ${stage.lacks}`,
      placeholder: "Type any text",
      oninput() { stale(); if (box.value) stage.ask({ text: box.value }); } });
    const stale = () => stage.root.classList.toggle("stale", !box.value); // while there is nothing to show
    const track = make("input", { type: "range", min: 0, step: 1, "aria-label": "Merges done", title: "how many merges are done",
      oninput: () => go(+track.value) });
    const button = (text, tip, to) => make("button", { tip, onclick: () => go(to()) }, text);
    const back = [button("First", "back to single bytes", () => 0), button("Previous", "undo the last merge", () => at - 1)];
    const on = [button("Next", "do the next merge", () => at + 1), button("Last", "do all merges", () => last)];
    const merge = div("merge");
    const strip = make("div", { className: "pieces", role: "region", tabIndex: 0, dir: "ltr" });
    const counts = div("counts");
    const list = make("ol");
    stage.root.append(
      box,
      make("p", { className: "soft", hidden: stage.live },
        `Changing the text needs ${stage.lacks}. All its merges are here.`),
      div("main-view", make("div", { className: "timeline", role: "group", "aria-label": "Merges" }, ...back, track, ...on),
        merge, strip, counts),
      make("h2", {}, "Each piece: its text, its id, its bytes in hexadecimal"),
      make("div", { className: "list", role: "region", tabIndex: 0, "aria-label": "The pieces, one by one" }, list));

    function go(step) {
      if (step < 0 || step > last || step === at) return;
      at = step;
      stage.ask({ step });
      draw();
      stage.announce(merge.textContent);
    }

    // The character that these bytes are only a part of, if they are.
    function ofWhat(start, stop) {
      let from = start, to = stop;
      while (from && bytes[from] >> 6 === 2) from--;
      while (bytes[to] >> 6 === 2) to++;
      return from < start || to > stop ? readable(bytes.subarray(from, to)) : "";
    }

    // The pieces after `at` merges. Where the last of these joined two parts, `seam` is the start of the second.
    function pieces() {
      const found = [];
      for (let start = 0, k = 1, made = 0, seam = 0; k <= bytes.length; k++) {
        if (steps[k] && steps[k] <= at) {
          made = Math.max(made, steps[k]);
          if (steps[k] === at) seam = k;
        } else {
          found.push({ start, seam, stop: k, step: made, id: made ? tokens[made - 1] : ids[start] });
          start = k;
          made = seam = 0;
        }
      }
      return found;
    }

    function draw() {
      const all = pieces(), made = all.filter((piece) => piece.seam);
      const text = (start, stop) => readable(bytes.subarray(start, stop));
      set(track, { max: last, value: at, "aria-valuetext": `${at} of ${last} merges done` });
      for (const [these, end, why] of [[back, at === 0, "no merge is done yet"], [on, at === last, "no merge is left"]])
        for (const one of these) set(one, { "aria-disabled": end, title: end ? `${one.tip}: ${why}` : one.tip });

      if (made.length) {
        const { start, seam, stop, id } = made[0];
        const places = made.length > 1 ? `${counted(made.length)} places` : "1 place";
        merge.replaceChildren(
          span(text(start, seam), "token"), " + ", span(text(seam, stop), "token"), " → ",
          span(text(start, stop), "token made"),
          span(` merge ${at} of ${last}, in ${places}; number ${counted(ranks[at - 1])} of ` +
               `${counted(learned)} learned; token ${id}`, "soft"));
      } else {
        const why = last ? "Before the first merge: each byte is a piece." : "No merge fits: each byte stays a token.";
        merge.replaceChildren(span(why, "soft"));
      }

      strip.setAttribute("aria-label", `The text in ${all.length} pieces`);
      strip.replaceChildren(...all.flatMap(({ start, seam, stop, id, step }) => {
        const size = stop - start, whole = ofWhat(start, stop), piece = make("span", { className: `piece${seam ? " made" : ""}${step ? " joined" : ""}`,
          onclick: step && (() => go(step)),
          title: `token ${id}, ${size === 1 ? "1 byte" : `${size} bytes`}${whole && `; part of ${whole}`}${step ? "; click: the merge that made it" : ""}` }, text(start, seam || stop));
        if (seam) piece.append(span(text(seam, stop)));
        shade(piece, size);
        if (whole) piece.dataset.of = bytes[start] >> 6 === 2 ? "" : whole; // over its first part
        if (words.has(start)) piece.classList.add("word");
        return !start || !words.has(start) ? [piece] : [make(bytes[start - 1] === 10 ? "br" : "wbr"), piece];
      }));
      const count = (n, what) => make("span", {}, make("b", {}, counted(n)), ` ${what}`);
      counts.replaceChildren(count(bytes.length, "bytes"), count(all.length, "pieces now"),
        count(steps.filter((step) => !step).length, "tokens at the end"), make("span", {}, "bytes in a piece: ", ...[1, 2, 3, 4, 5, 6, "7 or more"].map((text, at) => {
          const one = span(text, "swatch");
          shade(one, at + 1);
          return one;
        })));

      clearTimeout(listing);
      const row = ({ start, seam, stop, id }) => make("li", { className: seam ? "made" : "" },
        span(text(start, stop), "token"), span(id), make("code", {}, [...bytes.subarray(start, stop)].map(hex).join(" ")));
      listing = setTimeout(() => list.replaceChildren(...all.map(row)), all.length > 300 ? 150 : 0);
    }

    stage.on("answer", () => {
      const answer = model.get("answer"), whole = (view) => new Int32Array(bytesOf(view).slice().buffer);
      bytes = bytesOf(answer.bytes);
      ids = whole(answer.ids);
      steps = whole(answer.steps);
      ({ ranks, made: tokens, learned } = answer);
      words = new Set(answer.words);
      last = ranks.length;
      if (document.activeElement !== box) box.value = model.get("text");
      stale();
    });
    stage.on("answer step", () => {
      at = Math.min(model.get("step"), last);
      draw();
    });
    return () => { clearTimeout(listing); stage.close(); };
  },
};
