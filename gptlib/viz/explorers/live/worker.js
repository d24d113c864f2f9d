// The worker's side of the page: it opens one model and answers the questions of any number of explorers, one at a time.
// In:  {open: the packed model (gzip), life: the name of a lock to hold}; then {id, kind, who, traits}.
// Out: {opened: {name, config}} or {problem}; then {id, answer, details, traits, problem}. `answer` is left out where it
// is the one that `who` got before; `traits` are those that the answer moved, also where there is a `problem`.

const ANSWERS = { attention: AttentionAnswers, generation: GenerationAnswers, patching: PatchingAnswers };

// What went wrong, for a reader of the page.
function sentenceOf(error) {
  const { name, message } = error, told = name === "Error" ? message : `${name}: ${message}`;
  const text = name === "RangeError" && /alloc|length|stack/i.test(message)
    ? "the browser has no memory left for this; a shorter text would do, or fewer open pages" : told;
  return `${text.slice(0, 1).toUpperCase()}${text.length > 400 ? `${text.slice(1, 399)}…` : text.slice(1)}`;
}

function answerQuestions(page) {
  const explorers = new Map(); // who answers, by `who` asks
  let model; // a promise of {gpt, tokenizer, name}

  async function open(packed, life) {
    // The page holds its breath for this lock: when the worker dies, whatever of, the page gets it.
    await new Promise((held) => {
      if (!page.navigator.locks) return held();
      page.navigator.locks.request(life, () => { held(); return new Promise(() => {}); }).catch(held);
    });
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return openModel(await new Response(stream).arrayBuffer());
  }

  async function answer(kind, who, traits) {
    const opened = await model;
    if (!explorers.has(who)) explorers.set(who, new ANSWERS[kind](opened));
    return explorers.get(who).answer(traits);
  }

  page.onmessage = async ({ data: { id, open: packed, life, kind, who, traits } }) => {
    try {
      if (packed) {
        model = open(packed, life);
        const { name, gpt } = await model;
        page.postMessage({ opened: { name, config: gpt.config } });
      } else page.postMessage({ id, problem: "", ...await answer(kind, who, traits) });
    } catch (error) {
      page.postMessage({ id, problem: sentenceOf(error), traits: error.traits });
    }
  };
}

if (typeof WorkerGlobalScope !== "undefined") answerQuestions(self);
