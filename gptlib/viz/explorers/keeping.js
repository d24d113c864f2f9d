// A cell that runs again after a restart of the kernel shows what it showed: the page keeps that on the cell's element,
// where the next widget of the same `origin` finds it and has it taken up. A widget that goes while its kernel is alive
// goes because its cell runs again, which is to start anew. Gives the function that keeps.
function keeping(root, signal, origin, takeUp) {
  const plain = JSON.stringify(origin), found = () => cell ??= root.closest(".jp-Cell");
  let cell = null, lost = false;
  const look = (tries) => {
    if (signal.aborted || lost) return;
    if (!found()) {  // the page puts a widget into its cell once it is drawn
      if (tries) setTimeout(look, 50, tries - 1);
      return;
    }
    const at = cell.gptlib?.findIndex((one) => one.plain === plain) ?? -1;
    if (at >= 0) takeUp(cell.gptlib.splice(at, 1)[0].state);
  };
  look(200);
  signal.addEventListener("abort", () => { if (!lost && cell) delete cell.gptlib; });
  return (state) => {
    if (lost) return;
    lost = true;
    if (found()) (cell.gptlib ??= []).push({ plain, state });
  };
}
