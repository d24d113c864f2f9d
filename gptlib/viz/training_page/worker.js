// The worker: it trains, now and then looks at what was learned, and tells the page. What it hears:
// {data} first of all; {begin: settings} for a new run; {change: settings}; {go: whether to train}.

const AT_ONCE = 100; // milliseconds of training between two moments in which it listens
let data, training, going = false, waiting = false, rest = 0, seconds = 0, nextLook = 0;

// What was learned so far. Looks are frequent while most is learned; they hit the steps 50, 100, 200, 400, 800 …
function look() {
  const { step } = training;
  nextLook = step + (step < 100 ? 10 : step < 200 ? 20 : 40);
  return { step, seconds, loss: training.heldOutLoss(), copying: training.copying(), text: training.write(), ...training.example() };
}

// Train for a moment, tell, and come again.
function work() {
  waiting = false;
  const news = { losses: [], looks: [], problem: "" }, begun = performance.now();
  do {
    if (training.step >= nextLook) news.looks.push(look());
    going &&= training.step < rest;
    if (!going) break;
    const loss = training.learn();
    news.losses.push(loss);
    if (!Number.isFinite(loss)) [going, news.problem] = [false, "The loss is no longer a number: the steps were too large. Start anew with a smaller learning rate."];
  } while (going && performance.now() < begun + AT_ONCE);
  seconds += (performance.now() - begun) / 1000;
  postMessage({ ...news, seed: training.seed, step: training.step, tokens: training.tokens, documents: training.read, seconds, going });
  comeAgain();
}

function comeAgain() {
  if (going && !waiting) waiting = setTimeout(work);
}

onmessage = ({ data: { data: given, begin, change, go } }) => {
  if (given) data = given;
  if (begin) {
    training = new Training(data, begin);
    [seconds, nextLook, rest] = [0, 0, data.rest];
    work(); // looks once, even when it does not train yet
  }
  if (change) Object.assign(training, change);
  if (go !== undefined) {
    going = go;
    if (go && training.step >= rest) rest += data.rest;
    if (!go) work();
    comeAgain();
  }
};
