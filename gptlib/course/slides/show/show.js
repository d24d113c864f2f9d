// Starts the show. A slide whose content is higher than the stage is first made smaller until it fits.
"use strict";

const SMALLEST = 0.6;

function fit(section) {
  const stage = section.querySelector(":scope > .stage");
  if (!stage) return;
  let scale = 1;
  const overflows = () => stage.scrollHeight > stage.clientHeight + 1 || stage.scrollWidth > stage.clientWidth + 1;
  while (overflows() && scale > SMALLEST) {
    scale -= 0.04;
    stage.style.setProperty("--scale", scale.toFixed(2));
  }
}

const root = document.documentElement;
root.classList.add("measuring");
document.querySelectorAll(".reveal .slides section").forEach(fit);
root.classList.remove("measuring");

Reveal.initialize({
  width: 1280,
  height: 720,
  margin: 0,
  center: false,
  hash: true,
  // One key goes all the way through; the overview (Esc) still shows sections as columns.
  navigationMode: "linear",
  slideNumber: "c/t",
  transition: "none",
  controlsTutorial: false,
  plugins: [RevealNotes],
});
