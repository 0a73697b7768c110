// Writing to the page. Text from data goes in as text, never as markup; nodes are reused, and untouched where nothing changed.
export const byId = (id) => document.getElementById(id);

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

export function make(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

// Exactly `n` children, made by `create` where they are missing.
export function resize(parent, n, create) {
  while (parent.children.length > n) parent.lastElementChild.remove();
  while (parent.children.length < n) parent.append(create());
  return [...parent.children];
}

// Rows of a table body; a cell is text, [text, class], or null to leave it to the caller. Without rows, one line says what is missing.
export function fillRows(body, rows, columns, nothing) {
  if (!rows.length) {
    if (body.dataset.empty === nothing) return;
    const row = make("tr");
    const cell = make("td", "empty", nothing);
    cell.colSpan = columns;
    row.append(cell);
    body.replaceChildren(row);
    body.dataset.empty = nothing;
    return;
  }
  if (body.dataset.empty !== undefined) {
    body.replaceChildren();
    delete body.dataset.empty;
  }
  const nodes = resize(body, rows.length, () => {
    const row = make("tr");
    for (let i = 0; i < columns; i += 1) row.append(make("td"));
    return row;
  });
  rows.forEach((cells, i) => {
    cells.forEach((cell, j) => {
      if (cell === null) return;
      const [text, name] = Array.isArray(cell) ? cell : [cell, ""];
      setText(nodes[i].children[j], text);
      setClass(nodes[i].children[j], name);
    });
  });
}

// A bar from 0 to 1; the figure beside it says the same in text.
export function setBar(node, share) {
  const scale = `scaleX(${Math.max(0, Math.min(1, share)).toFixed(4)})`;
  if (node.style.transform !== scale) node.style.transform = scale;
}
