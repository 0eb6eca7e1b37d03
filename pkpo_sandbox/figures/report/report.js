
"use strict";
const table = document.getElementById("table");
const body = table ? table.tBodies[0] : null;

// Numbers come first, then texts. Missing values stay last in both directions.
function key(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.number !== undefined) return [0, Number(cell.dataset.number)];
  const text = cell.textContent;
  return text === "" ? [2, ""] : [1, text];
}

function sort(column, direction) {
  const rows = Array.from(body.rows, (row) => [key(row, column), row]);
  rows.sort(([[kind, one]], [[other, two]]) => {
    if (kind === 2 || other === 2) return kind - other;
    if (kind !== other) return direction * (kind - other);
    const order = kind === 0 ? one - two : one.localeCompare(two, "en", { numeric: true });
    return direction * order;
  });
  body.append(...rows.map(([, row]) => row));
}

function filter(words) {
  let shown = 0;
  for (const row of body.rows) {
    row.hidden = !row.textContent.toLowerCase().includes(words);
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("count").value = `${shown} of ${body.rows.length} runs`;
}

if (table) {
  const headings = Array.from(table.tHead.rows[0].cells);
  headings.forEach((heading, column) => {
    heading.firstElementChild.addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sort(column, ascending ? 1 : -1);
    });
  });
  const input = document.getElementById("filter");
  input.addEventListener("input", () => filter(input.value.trim().toLowerCase()));
}

window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
});
