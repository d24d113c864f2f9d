// What the pages of the site do: search, theme, questions, copying. Classic scripts, since a page that was opened from a
// disk has no modules and may not fetch.
"use strict";
{
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const one = (selector, within = document) => within.querySelector(selector);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
// What is remembered in this browser; a browser may keep nothing.
const memory = {
  get(name) { try { return localStorage.getItem(`gptlib.${name}`); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(`gptlib.${name}`, value); } catch { /* then it is forgotten */ } },
};

// ---------------------------------------------------------------------------------------------------- the bar

const page = document.documentElement, theme = one("#theme"), system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (page.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
const tellTheme = () => { theme.ariaPressed = isDark(); };
theme.addEventListener("click", () => {
  page.dataset.theme = isDark() ? "light" : "dark";
  memory.set("theme", page.dataset.theme);
  tellTheme();
});
system.addEventListener("change", tellTheme);
tellTheme();

const menu = one("#menu"), nav = one("#nav");
menu.hidden = !nav;
// The chapter that is read is seen among the others.
const showChapter = () => { one("#nav [aria-current]")?.scrollIntoView({ block: "center" }); };
const openMenu = (open) => {
  menu.ariaExpanded = nav.classList.toggle("open", open);
  showChapter();
};
menu.addEventListener("click", () => openMenu());
nav?.addEventListener("click", ({ target }) => { if (target.closest("a")) openMenu(false); });
showChapter();

// ------------------------------------------------------------------------------------------------- the search

const field = one("#search"), found = one("#found"), MOST = 20;
const TYPED_INTO = "textarea, select, [contenteditable], input:not([type='radio'], [type='checkbox'], [type='range'])";
// Letters and digits in lower case, a space for each other sign: "top-p", "top_p" and "top p" are the same words.
const plain = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}√]/gu, (sign) => " ".repeat(sign.length));
const wordsOf = (text) => plain(text).split(" ").filter(Boolean);
const EMPTY = new Set("a an and are by can do does for from how i in is it my of on or the to what when where why with work you".split(" "));
// The words of a question that say something; "tokens" asks for "token", too.
const askedOf = (text) => {
  const words = wordsOf(text), telling = words.filter((word) => !EMPTY.has(word));
  return (telling.length ? telling : words).map((word) => (word.length > 3 ? word.replace(/(?<=[^s])s$/, "") : word));
};

async function unpacked(base64) {
  const packed = new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))]);
  return new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

const sectionsOf = (pages) => pages.flatMap(([path, title, sections]) => sections.map(([id, heading, text]) => ({
  path, title, id, heading: heading || title, text,
  // "Exercise: gradient descent" has two names, and its number is none.
  names: (heading || title).split(": ").map(wordsOf).map((name) => name.filter((word) => !EMPTY.has(word) && !/^\d+$/.test(word))),
  around: plain(` ${title}`), body: plain(` ${text}`),
})));
let index;  // of each section what is shown, and what is compared, once it has come
const indexed = () => index ??= new Promise((done) => {
  const failed = () => { index = undefined; done([]); };
  document.head.append(make("script", {
    src: `${document.body.dataset.root}assets/search.js`,
    onload: () => { unpacked(globalThis.gptlib["search.js"]).then(sectionsOf).then(done, failed); },
    onerror: failed,
  }));
});

// Who searches wants to learn: first what a word means and what explains it, last what is asked and what is for teachers.
const ASKS = /^(Exercise|Experiment|Quiz|Recap|Break it|What you will be able to do)/;
const CONSTANT = /^[A-Z_]{2,}$/;
const worth = (path, heading) => (path === "glossary.html" ? 1.4 : path.startsWith("teaching/") ? 0.6
  : path.includes("/") ? (CONSTANT.test(heading) ? 0.5 : 0.75) : ASKS.test(heading) ? 0.9 : 1);

// How many of the words a section has, and how well it fits them. Most counts a name that says just this.
function rate({ path, heading, names, around, body }, words) {
  let rank = 0, has = 0;
  const is = (each, word) => each === word || each === `${word}s`, name = names.flat();
  for (const word of words) {
    const inName = name.some((each) => is(each, word)) ? 12 : name.some((each) => each.startsWith(word)) ? 6 : 0;
    const inText = Math.min(body.split(` ${word}`).length - 1, 5) + (around.includes(` ${word}`) ? 3 : 0);
    const within = word.length > 4 && !inName && !inText && body.includes(word) ? 1 : 0;  // "attention" in MultiHeadAttention
    if (inName || inText || within) has += 1;
    rank += inName + inText + within;
  }
  const share = Math.max(...names.map((name) => name.filter((each) => words.some((word) => is(each, word))).length / Math.max(name.length, words.length)));
  rank += share === 1 ? 40 : share * 24;
  if (words.length > 1) {
    const joined = words.join("");
    if (name.some((each) => is(each, joined))) { has = words.length; rank += 60; }  // "layer norm" is LayerNorm
    if (body.includes(` ${words.join(" ")}`)) rank += 10;
  }
  return [has, rank * worth(path, heading)];
}

// The sections that have every word, or else those with the most of them; the best first.
function matches(sections, words) {
  const rated = sections.map((section) => [...rate(section, words), section]);
  const most = rated.reduce((most, [has]) => Math.max(most, has), 1);
  const best = rated.filter(([has]) => has === most).sort(([, a], [, b]) => b - a);
  return { all: most === words.length, hits: best.map(([, , section]) => section) };
}

// A piece of the text around the words, or around the rarest of them, with all that it has of them marked.
function snippet(text, words) {
  const lower = plain(text), often = (word) => lower.split(word).length - 1;
  const [rarest] = words.filter(often).sort((a, b) => often(a) - often(b)), phrase = words.join(" ");
  const hit = lower.includes(phrase) ? lower.indexOf(phrase) : rarest ? lower.indexOf(rarest) : 0;
  const start = hit > 60 ? text.lastIndexOf(" ", hit - 50) + 1 : 0, end = start + 160;
  const parts = [start ? "… " : ""];
  let from = start;
  while (from < end) {
    const hits = words.map((word) => [lower.indexOf(word, from), word.length]).filter(([at]) => at >= 0 && at < end);
    if (!hits.length) break;
    const [at, length] = hits.sort(([a], [b]) => a - b)[0];
    parts.push(text.slice(from, at), make("mark", {}, text.slice(at, at + length)));
    from = at + length;
  }
  return [...parts, text.slice(from, Math.max(end, from)), end < text.length ? " …" : ""];
}

const closeSearch = () => {
  found.hidden = true;
  one("#told").textContent = "";
};

async function search() {
  const words = askedOf(field.value), asked = field.value;
  if (!words.length) { closeSearch(); return; }
  const { all: every, hits } = matches(await indexed(), words);
  if (field.value !== asked) return;
  const links = hits.slice(0, MOST).map(({ path, title, id, heading, text }) => make("a", { href: document.body.dataset.root + path + (id && `#${encodeURIComponent(id)}`) },
    make("b", {}, heading), heading !== title ? ` · ${title}` : "", make("small", {}, ...snippet(text, words))));
  const some = hits.length > MOST ? `the first ${MOST} of ${hits.length} sections` : `${hits.length} section${hits.length > 1 ? "s" : ""}`;
  const told = !hits.length ? "Nothing found." : every ? some[0].toUpperCase() + some.slice(1) : `Nothing found that has every word. With some of them: ${some}`;
  found.dataset.asked = asked;
  found.replaceChildren(make("p", { className: "note" }, told), ...links);
  one("#told").textContent = told;  // a screen reader hears only what was there before
  found.hidden = false;
}
field.addEventListener("focus", indexed);
field.addEventListener("input", search);
field.addEventListener("keydown", (event) => { if (event.key === "Enter") one("a", found)?.click(); });
found.addEventListener("click", ({ target }) => { if (target.closest("a")) closeSearch(); });
addEventListener("pointerdown", ({ target }) => { if (!target.closest("#found, search")) closeSearch(); });
addEventListener("keydown", (event) => {
  const { key, target } = event, links = [field, ...all("a", found)], at = links.indexOf(target);
  if (key === "Escape" && !found.hidden) {
    closeSearch();
    field.focus();
  } else if (key === "Escape" && nav?.classList.contains("open")) {
    openMenu(false);
    menu.focus();
  } else if (!found.hidden && at >= 0 && (key === "ArrowDown" || key === "ArrowUp")) {
    event.preventDefault();
    links[Math.min(Math.max(at + (key === "ArrowDown" ? 1 : -1), 0), links.length - 1)].focus();
  } else if (key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !target.closest(TYPED_INTO)) {
    event.preventDefault();
    field.focus();
    field.select();
  }
});

// ----------------------------------------------------------------------------------------------- the questions

// What was chosen: places, by the names of questions.
let chosen = {};
try { chosen = JSON.parse(memory.get("choices")) ?? {}; } catch { /* what is there is none of ours */ }

function show(question) {
  const place = chosen[question.dataset.name], verdict = one(".verdict", question);
  const labels = all("label", question), right = String(place) === question.dataset.right;
  labels.forEach((label, at) => {
    label.className = at === place ? (right ? "right" : "wrong") : "";
    one("input", label).checked = at === place;
  });
  const reason = labels[place]?.nextElementSibling;
  if (reason) verdict.replaceChildren(make("b", {}, right ? "Right. " : "Not quite. "), reason.content.cloneNode(true));
  else verdict.replaceChildren();
  const result = one(".result", question.parentElement);
  if (result && question.parentElement.matches(".prediction")) result.open = Boolean(reason);
}
// What answers predictions stays shut until they are made.
function reveal() {
  for (const box of all(".later")) box.open = box.dataset.after.split(" ").every((name) => name in chosen);
}
function count() {
  for (const quiz of all(".quiz")) {
    const questions = all(".question", quiz), right = questions.filter(({ dataset: { name, right } }) => String(chosen[name]) === right);
    one(".score", quiz).textContent = `${right.length} of ${questions.length} right`;
  }
}
for (const question of all(".question")) {
  question.addEventListener("change", ({ target }) => {
    chosen[question.dataset.name] = Number(target.value);
    memory.set("choices", JSON.stringify(chosen));
    show(question);
    count();
    reveal();
  });
  show(question);
}
count();
reveal();
// On paper nobody can choose: there every result stands below its question.
addEventListener("beforeprint", () => { for (const result of all(".prediction .result, .later")) result.open = true; });
addEventListener("afterprint", () => {
  all(".question").forEach(show);
  reveal();
});
one("#kept button")?.addEventListener("click", () => {
  chosen = {};
  memory.set("choices", "{}");
  all(".question").forEach(show);
  count();
  reveal();
});

// ---------------------------------------------------------------------------------------------- code and boxes

for (const box of all(".code")) {
  const button = make("button", { className: "copy", type: "button", async onclick() {
    const text = one("code", box).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a page from a disk, or a browser that asks first
      const area = make("textarea", { value: text, style: "position: fixed; top: 0; opacity: 0" });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } }, "Copy");
  box.append(button);
}
// The keyboard reaches what scrolls, and only that.
const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
});
for (const box of all("main pre, .scroll, .long, figure.wide")) resized.observe(box);
}
