// Tells that the kernel is gone and keeps what was chosen. It is seen only then.
export default {
  render({ model, el }) {
    const closing = new AbortController(), told = document.createElement("p");
    told.setAttribute("role", "alert");
    el.append(told);
    el.classList.add("gptlib-keeper");
    const keep = keeping(el, closing.signal, model.get("origin"), (chosen) => model.send({ chosen }));
    const lost = () => {
      keep(model.get("chosen"));
      el.classList.add("lost");
      told.textContent = "The kernel was restarted. Run the cell again to go on from here.";
      for (const button of el.closest(".gptlib-asked")?.querySelectorAll("button") ?? []) button.disabled = true;
    };
    model.on("comm_live_update", lost);
    return () => {
      model.off("comm_live_update", lost);
      closing.abort();
    };
  },
};
