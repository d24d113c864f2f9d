// A GPT in one page: a text, what may come next, the way of one token through the whole model, and all heads.

const GUIDE = "A GPT works out how likely each next token is, a word or a part of one. Type, and it reads along; press Run to watch it do so.";
const PACE = 3600; // milliseconds that a stage stays while the walk runs

// What a page knows before its model has answered. `kept`: of it, what was saved, such as {prompt}.
const freshState = (kept) => ({
  prompt: "", path: [], keep: null, take: null, wanted: 0, temperature: 1, top_k: null, top_p: null, seed: 0, place: -1, layer: -1, head: -1, opened: null,
  ...kept, answer: {}, details: {}, asked: 0, answered: 0, problem: "", live: true,
  kept: { prompt: "text", path: { list: "whole" }, temperature: "number", top_k: { maybe: "whole" }, top_p: { maybe: "number" }, seed: "whole", place: "whole", layer: "whole", head: "whole" },
});

function render({ model, el }) {
  const get = (name) => model.get(name), stage = open(model, el, "gpt-page", GUIDE), { ask, announce } = stage;
  let answer, details, stages = [], at = -1, playing = 0; // at: of the stage that is shown; -1: the whole flow

  const chooseHead = (layer, head) => ask({ layer, head, opened: null }), choosePlace = (place) => ask({ place, opened: null });
  const writing = writingPart({ ask, get });
  const flow = flowPart({ chooseHead, choosePlace, take: writing.take, chooseSpot: (key) => walkTo(stages.findIndex(({ spot }) => spot === key)) });
  const heads = headsPart({ chooseHead, choosePlace });

  const button = (text, label, onclick) => make("button", { onclick, title: label, "aria-label": label }, text);
  const first = button("All", "Back to the whole flow", () => { pause(); walkTo(-1); });
  const before = button("◂", "One stage back (left arrow)", () => { pause(); walkTo(at - 1); });
  const after = button("▸", "One stage on (right arrow)", () => { pause(); walkTo(at + 1); });
  const run = make("button", { className: "run", onclick: () => (playing ? pause() : play()) }, "▶ Run");
  const count = make("span", { className: "soft count" }), title = make("h2"), caption = make("p", { className: "caption" });
  const goOn = make("button", { className: "run take", hidden: true, onclick: () => { writing.take(details.next.drawn); walkTo(-1); } });
  const walk = make("div", { className: "walk", role: "group", "aria-label": "The walk from a token to the next", tabIndex: -1 },
    div("row", div("choice", first, before, run, after), count), div("told", title, caption), goOn);
  walk.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    pause();
    walkTo(at + step);
  };
  const readout = make("p", { className: "readout soft" }), panel = div("panel"), opened = div("");
  const numbers = make("section", { className: "numbers", "aria-label": "The numbers of this stage" }, readout, opened, panel);
  const waking = make("p", { className: "waking", role: "status" }, "The model is waking up …"), body = div("body", writing.element, walk, flow.element, div("below", numbers, heads.element));
  body.hidden = true;
  stage.root.append(waking, body);

  const tools = {
    read: (text) => { readout.textContent = text; },
    open: (what) => ask({ opened: what }),
  };

  function walkTo(to) {
    const moved = to > at;
    at = Math.max(-1, Math.min(stages.length - 1, to));
    showStage(moved);
    if (at >= 0) flow.seek();
    if (!playing) announce(caption.textContent);
    if (get("opened")) ask({ opened: null });
  }
  function play() {
    playing = setInterval(() => (at < stages.length - 1 ? walkTo(at + 1) : pause()), PACE);
    stage.root.classList.add("playing");
    walkTo(at === stages.length - 1 ? 0 : at + 1);
  }
  function pause() {
    clearInterval(playing);
    playing = 0;
    stage.root.classList.remove("playing");
    label();
  }
  function label() {
    run.textContent = playing ? "❚❚ Pause" : at < 0 || at === stages.length - 1 ? "▶ Run" : "▶ Go on";
  }

  function showStage(moved = false) {
    const now = stages[at] ?? stages.find(({ key }) => key === "mix"), word = quote(answer.pieces[details.at]);
    title.textContent = at < 0 ? `From ${word} to the next token` : now.title;
    caption.textContent = at < 0 ? overview(word) : now.caption;
    count.textContent = at < 0 ? `${stages.length} stages` : `stage ${at + 1} of ${stages.length}`;
    for (const [one, idle] of [[first, at < 0], [before, at < 0], [after, at === stages.length - 1]]) one.ariaDisabled = idle;
    label();
    const { drawn, rows } = details.next, last = at === stages.length - 1 && drawn !== null && details.at === answer.tokens.length - 1 && !answer.end;
    goOn.hidden = !last;
    if (last) goOn.textContent = `Take ${quote(rows.find(({ token }) => token === drawn).piece)} and go on`;
    flow.show(at < 0 ? "" : now.spot, { after: now.after, moved });
    readout.textContent = "Orange cells are above 0, blue ones below; point at one to read it.";
    panel.replaceChildren(...(now?.panel(tools) ?? []));
    showOpened();
  }

  function overview(word) {
    const { config: { n_layers: layers, d_model: D } } = answer, { at, next } = details, [likeliest] = [...next.rows].sort((a, b) => b.own - a.own);
    const before = at > 1 ? ` and the ${many(at)} tokens before it` : at ? " and the token before it" : "";
    return `${word}${before} pass${before ? "" : "es"} through ${layers} ${layers > 1 ? "layers" : "layer"}; then ${quote(likeliest.piece)} is likeliest (${percent(likeliest.own)}). `
      + `The broad band is the stream, ${D} numbers to which every part adds. Ribbons show where each head looks, the wider the more.`;
  }

  function showOpened() {
    opened.replaceChildren(...(details.opened ? [openedPart(details.opened, () => ask({ opened: null }))] : []));
  }

  function draw() {
    const news = [get("answer"), get("details")];
    if (!news[0].tokens || news[0].read !== news[1].read) return; // the rest is on its way
    const fresh = answer !== news[0], moved = details?.at !== news[1].at || details.head.layer !== news[1].head.layer;
    [answer, details] = news;
    const key = stages[at]?.key, only = !fresh && stages.length && drawn === question();
    drawn = question();
    if (only) return showOpened();
    waking.hidden = true;
    body.hidden = false;
    stages = stagesOf(answer, details);
    if (at >= 0) at = Math.max(0, stages.findIndex((one) => one.key === key));
    writing.draw(answer, details);
    flow.draw(answer, details);
    heads.draw(answer, details);
    showStage();
    if (fresh || moved) flowing();
  }
  // What the details are for, but for the number that is opened.
  let drawn;
  const question = () => JSON.stringify(["place", "layer", "head", "temperature", "top_k", "top_p", "seed"].map(get));

  // For a moment all ribbons move, so that one sees which way they run.
  let calm = 0;
  function flowing() {
    stage.root.classList.add("fresh");
    clearTimeout(calm);
    calm = setTimeout(() => stage.root.classList.remove("fresh"), 1600);
  }

  stage.on("answer details", draw);
  stage.root.addEventListener("keydown", ({ key }) => { if (key === "Escape") ask({ opened: null }); });
  let size = "";
  const fit = () => {
    const now = `${flow.element.clientWidth} ${stage.root.classList.contains("large")}`;
    if (size === (size = now) || !answer) return;
    flow.draw(answer, details);
    flow.show(stages[at]?.spot ?? "", { after: stages[at]?.after });
  };
  const resized = new ResizeObserver(fit), enlarged = new MutationObserver(fit);
  resized.observe(flow.element);
  enlarged.observe(stage.root, { attributeFilter: ["class"] });
  stage.signal.addEventListener("abort", () => { resized.disconnect(); enlarged.disconnect(); pause(); writing.stop(); clearTimeout(calm); });
  return () => stage.close();
}

export default { render, freshState };
