// Copyright (c) 2026 virtmem.libvirt contributors
// SPDX-License-Identifier: GPL-3.0-or-later

// Sorts the guests by a column, and shows those only that are looked for.
"use strict";
(() => {
  const rows = [...document.querySelectorAll(".guests tbody tr")];
  const value = (row, column, kind) => {
    const cell = row.cells[column];
    return kind === "number" ? Number(cell.dataset.n) : cell.textContent.toLowerCase();
  };
  for (const button of document.querySelectorAll(".guests th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const table = head.closest("table");
      const kind = button.dataset.kind;
      // What a person looks for first: the largest number, the first name.
      const first = kind === "number" ? "descending" : "ascending";
      const other = kind === "number" ? "ascending" : "descending";
      const order = head.ariaSort === first ? other : first;
      for (const each of table.querySelectorAll("th[aria-sort]")) each.ariaSort = "none";
      head.ariaSort = order;
      const body = table.tBodies[0];
      const column = head.cellIndex;
      const sign = order === "ascending" ? 1 : -1;
      const sorted = [...body.rows].sort((one, two) => {
        const [a, b] = [value(one, column, kind), value(two, column, kind)];
        return a < b ? -sign : a > b ? sign : 0;
      });
      body.append(...sorted);
    });
  }
  const find = document.getElementById("find");
  const wrong = document.getElementById("wrong");
  if (!find || !wrong) return;
  const show = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = `${row.cells[0].textContent} ${row.cells[1].textContent}`.toLowerCase();
      row.hidden = (wrong.checked && !row.classList.contains("wrong")) || !words.every((word) => text.includes(word));
    }
  };
  find.addEventListener("input", show);
  wrong.addEventListener("change", show);
})();
