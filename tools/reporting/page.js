// Sorts a table by the clicked column, by a second click the other way round. The signs for "less than" and "and" do not
// occur, so that the page is well-formed XML.
for (const head of document.querySelectorAll("table.sortable th")) head.onclick = () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex, turn = head.dataset.turn === "1" ? -1 : 1;
  const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = (a, b) => isNaN(key(a)) || isNaN(key(b)) ? key(a).localeCompare(key(b)) : key(a) - key(b);
  head.dataset.turn = turn;
  body.append(...[...body.rows].sort((a, b) => turn * order(a, b)));
};
