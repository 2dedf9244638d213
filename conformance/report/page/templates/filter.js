// SPDX-License-Identifier: GPL-2.0-only
"use strict";
// Shows the rows of a table that have what the form asks for. Without this script all are shown.
for (const filter of document.querySelectorAll("fieldset.filter")) {
  const rows = document.querySelectorAll(`#${filter.dataset.table} tbody tr`);
  const fields = filter.querySelectorAll("select, input");
  const shown = filter.querySelector("output");
  const words = new Map([...rows].map((row) => [row, row.textContent.toLowerCase()]));
  const fits = (row, field) =>
    field.name === "text"
      ? words.get(row).includes(field.value.trim().toLowerCase())
      : field.value === "" || row.dataset[field.name].split("|").includes(field.value);
  const apply = () => {
    let number = 0;
    for (const row of rows) {
      row.hidden = ![...fields].every((field) => fits(row, field));
      number += row.hidden ? 0 : 1;
    }
    shown.value = `${number} of ${rows.length} ${filter.dataset.rows} shown`;
  };
  filter.addEventListener("input", apply);
  filter.querySelector("button").addEventListener("click", () => {
    fields.forEach((field) => { field.value = ""; });
    apply();
  });
  filter.hidden = false;
  apply();
}
