"use strict";
// The pages are whole without this script. It makes table heads sort, rows filter, and keeps both
// in the address, so that what is seen can be sent to someone else.
(() => {
  const say = (text) => { document.getElementById("say").textContent = text; };
  const tables = [...document.querySelectorAll("table[data-board]")];
  const state = new URLSearchParams(location.search);
  const remember = () => {
    const query = state.toString();
    history.replaceState(null, "", location.pathname + (query ? `?${query}` : "") + location.hash);
  };

  // --- sorting --------------------------------------------------------------------------
  const order = (row, column) => {
    const cell = row.cells[column];
    if (!cell) return null;
    if (cell.tagName === "TH") return (cell.querySelector("a") || cell).textContent.trim();
    const text = cell.dataset.order;
    if (text === undefined || text === "") return null;
    const number = Number(text);
    return Number.isFinite(number) ? number : text;
  };
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null); // missing goes last
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  };
  // Rows that are not ranked, and those of older versions, stay below whatever is sorted.
  const shelf = (row) => (row.classList.contains("old") ? 2 : row.classList.contains("aside") ? 1 : 0);
  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...body.rows].map((row, place) => [shelf(row), order(row, column), place, row]);
    rows.sort((a, b) => a[0] - b[0] || compare(a[1], b[1], sign) || a[2] - b[2]);
    body.append(...rows.map((entry) => entry[3]));
    [...table.tHead.rows[0].cells].forEach((head, k) => {
      if (k === column) head.setAttribute("aria-sort", direction);
      else head.removeAttribute("aria-sort");
    });
  };
  const keyOf = (head) => head.dataset.key;
  for (const table of tables) {
    const name = `sort-${table.id}`;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.dataset.first || "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const direction = head.getAttribute("aria-sort") === first ? other : first;
        sort(table, column, direction);
        state.set(name, `${keyOf(head)}.${direction}`);
        remember();
        say(`Sorted by ${button.querySelector(".head").textContent.trim()}, ${direction}`);
      });
    });
    const wanted = state.get(name);
    if (wanted) {
      const cut = wanted.lastIndexOf(".");
      const column = [...table.tHead.rows[0].cells].findIndex((h) => keyOf(h) === wanted.slice(0, cut));
      const direction = wanted.slice(cut + 1);
      if (column >= 0 && ["ascending", "descending"].includes(direction)) sort(table, column, direction);
    }
  }

  // --- filtering ------------------------------------------------------------------------
  const tools = document.querySelector("[data-tools]");
  if (tools && tables.length) {
    const labelled = (text, control) => {
      const label = document.createElement("label");
      const name = document.createElement("span");
      name.textContent = text;
      label.append(name, control);
      tools.append(label);
      return control;
    };
    const search = labelled("Find a model", document.createElement("input"));
    search.type = "search";
    search.value = state.get("find") || "";
    const tier = labelled("Tier", document.createElement("select"));
    for (const [value, text] of [["", "all"], ["audited", "audited"], ["checked", "checked or audited"]]) {
      tier.append(new Option(text, value));
    }
    tier.value = ["audited", "checked"].includes(state.get("tier")) ? state.get("tier") : "";
    const old = labelled("Older versions", document.createElement("select"));
    for (const [value, text] of [["", "shown"], ["hide", "hidden"]]) old.append(new Option(text, value));
    old.value = state.get("old") === "hide" ? "hide" : "";
    const clear = document.createElement("button");
    clear.type = "button";
    clear.textContent = "Clear";
    const found = document.createElement("span");
    found.className = "found";
    tools.append(clear, found);
    const fits = (row) => {
      const words = search.value.trim().toLowerCase();
      const named = row.querySelector("th").textContent.toLowerCase().includes(words);
      const trusted = tier.value === "" || row.dataset.tier === "audited" || row.dataset.tier === tier.value;
      const present = old.value === "" || !row.classList.contains("old");
      // Baselines stay in the table whatever is filtered.
      return row.classList.contains("baseline") ? present : named && trusted && present;
    };
    const filter = () => {
      const seen = new Set();
      for (const table of tables) {
        for (const row of table.tBodies[0].rows) {
          if (!row.dataset.id && !row.querySelector("th")) continue;
          row.hidden = !fits(row);
          if (!row.hidden) seen.add(row.dataset.id);
        }
      }
      found.textContent = `${seen.size} ${seen.size === 1 ? "row" : "rows"}, baselines among them`;
      for (const [key, value] of [["find", search.value.trim()], ["tier", tier.value], ["old", old.value]]) {
        if (value) state.set(key, value); else state.delete(key);
      }
      remember();
    };
    search.addEventListener("input", filter);
    tier.addEventListener("change", filter);
    old.addEventListener("change", filter);
    clear.addEventListener("click", () => {
      search.value = ""; tier.value = ""; old.value = "";
      filter();
      search.focus();
    });
    tools.hidden = false;
    filter();
  }
})();
