// What the page itself measures, in milliseconds. It runs in the page, so that the way to it is not in the numbers.

window.timed = (() => {
  const wait = (time) => new Promise((done) => setTimeout(done, time));
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const all = (selector) => [...document.querySelectorAll(selector)];

  // An act's own share, and until the frame after it is out.
  async function act(call) {
    const started = performance.now();
    call();
    const handled = performance.now() - started;
    await painted();
    return [handled, performance.now() - started];
  }

  // `call(n)` for n from 0, as often as said; the first few are not counted.
  async function repeated(times, call, warmUp = 5) {
    const taken = [];
    for (let n = 0; n < times + warmUp; n++) taken.push(await call(n));
    return taken.slice(warmUp);
  }

  const emptyFrames = () => repeated(60, async () => (await act(() => {}))[1]);

  // `bench.explorer`, drawn from the state of `bench.model` into an element of its own.
  const firstPaints = () => repeated(10, async () => {
    const el = document.createElement("div");
    document.querySelector("main").prepend(el);
    let close;
    const [, taken] = await act(() => { close = bench.explorer.render({ model: bench.model, el }); });
    close();
    el.remove();
    return taken;
  }, 1);

  function pointAt(matrix, share) {
    const { left, top, height } = matrix.getBoundingClientRect();
    const place = { clientX: left + 5, clientY: top + height * share };
    matrix.dispatchEvent(new PointerEvent("pointermove", { ...place, bubbles: true }));
  }

  const hovers = () => {
    const matrix = document.querySelector(".matrix");
    return repeated(100, async (n) => (await act(() => pointAt(matrix, 0.1 + 0.008 * (n % 100))))[0]);
  };

  const selects = () => {
    const tiles = all(".tile");
    return repeated(100, async (n) => (await act(() => tiles[(7 * n) % tiles.length].click()))[0]);
  };

  // New answers, as often as said, one after the other.
  const updates = (times) => repeated(times, (n) => {
    bench.model.set("answer", { ...bench.model.get("answer") });
    const tiles = all(".tile");
    tiles[(7 * n) % tiles.length].click();
    return wait(0);
  }, 0);

  // From the button that removes a head until the bars that the kernel sent are painted.
  const switchedOff = () => {
    const tiles = all(".tile"), remove = document.querySelector("button[value=zero]");
    return repeated(55, async (n) => {
      tiles[n % tiles.length].click();
      await wait(250);
      const started = performance.now();
      const redrawn = new Promise((done) => {
        const observer = new MutationObserver(() => { observer.disconnect(); done(painted()); });
        observer.observe(document.querySelector(".says"), { childList: true, subtree: true });
      });
      remove.click();
      await redrawn;
      const taken = performance.now() - started;
      await wait(100);
      return taken;
    });
  };

  // From the slider's move until new bars are painted. The moves come as fast as from a hand that drags it.
  const temperature = () => {
    const input = document.querySelector(".generation input[aria-label=temperature]");
    const bars = () => document.querySelector(".generation .bars");
    return repeated(100, async (n) => {
      const before = bars();
      const [, taken] = await act(() => {
        input.value = 0.1 + ((37 * n) % 39) / 20;
        input.dispatchEvent(new Event("input", { bubbles: true }));
      });
      await wait(50);
      return bars() === before ? Infinity : taken;
    });
  };

  // A number to the kernel and back; the widget that does it leaves `roundTrip`.
  const roundTrips = () => repeated(55, async () => {
    const started = performance.now();
    await roundTrip();
    const taken = performance.now() - started;
    await wait(100);
    return taken;
  });

  // For so many seconds: select a head, point at the matrix, remove the head, undo, type words or delete them.
  // Each is timed until every question has its answer and the frame after that is out. Gives the times by name, in
  // order and without the first round, how many questions are open at the end, and what the page says is wrong.
  async function use(seconds) {
    const root = document.querySelector(".attention"), find = (selector) => root.querySelector(selector);
    const [tiles, matrix, box, remove] = [all(".tile"), find(".matrix"), find("textarea"), find("button[value=zero]")];
    const undo = [...root.querySelectorAll("button")].find((button) => button.textContent === "undo");
    const open = () => bench.model.get("asked") - bench.model.get("answered");
    const text = box.value, words = " and the kite";
    const type = (text) => { box.value = text; box.dispatchEvent(new Event("input")); };
    const acts = {
      select: (n) => tiles[(7 * n) % tiles.length].click(),
      hover: (n) => pointAt(matrix, 0.1 + (n % 8) / 10),
      remove: () => remove.click(),
      undo: () => undo.click(),
      type: (n) => type(n % 2 ? text : text + words),
    };
    const answered = async () => { do await painted(); while (open()); };
    while (!undo.disabled) {
      undo.click();
      await answered();
    }
    const taken = Object.fromEntries(Object.keys(acts).map((name) => [name, []])), began = performance.now();
    for (let n = 0; performance.now() - began < 1000 * seconds; n++)
      for (const [name, call] of Object.entries(acts)) {
        for (let at = 1; name === "type" && at < words.length; at++) {
          type(text + words.slice(0, n % 2 ? -at : at));
          await wait(60); // a fast hand: the next letter comes before the answer to this one
        }
        const started = performance.now();
        call(n);
        await answered();
        taken[name].push(performance.now() - started);
        await wait(200);
      }
    await wait(2000);
    for (const times of Object.values(taken)) times.shift();
    return [taken, open(), find(".problem").textContent];
  }

  return { emptyFrames, firstPaints, hovers, selects, updates, switchedOff, temperature, roundTrips, use };
})();
