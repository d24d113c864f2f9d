// A click on a heading sorts the rows by that column, and the next one the other way round.
for (const button of document.querySelectorAll(".marks button")) {
  button.onclick = () => {
    const heading = button.parentElement, place = heading.cellIndex;
    const up = heading.getAttribute("aria-sort") === "descending" || (place === 0 && heading.getAttribute("aria-sort") !== "ascending");
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = document.querySelector(".marks tbody");
    const order = (a, b) => place === 0
      ? a.cells[0].textContent.localeCompare(b.cells[0].textContent)
      : a.cells[place].dataset.value - b.cells[place].dataset.value;
    body.append(...[...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)));
  };
}
