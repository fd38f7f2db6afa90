(() => {
  "use strict";
  const root = document.documentElement;
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));

  // Light or dark: what the device prefers until the reader says otherwise, and nothing of it is kept.
  const theme = document.getElementById("theme");
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const name = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); });
  prefersDark.addEventListener("change", name);
  theme.hidden = false;
  name();

  // Sorting: the columns' heads become buttons. Cells without a value stay at the end.
  const valueOf = (row, column, number) => {
    const cell = row.cells[column];
    if (!number) return cell.textContent.trim();
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  for (const table of all("table.rows")) {
    const body = table.tBodies[0];
    const first = Array.from(body.rows);
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const number = head.dataset.sort === "number";
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const usual = number ? "descending" : "ascending";
        const other = number ? "ascending" : "descending";
        const order = head.getAttribute("aria-sort") === usual ? other : usual;
        for (const one of heads) one.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const keyed = first.map((row, place) => ({ row, place, key: valueOf(row, column, number) }));
        keyed.sort((a, b) => {
          const empty = (one) => one.key === null || one.key === "";
          if (empty(a) || empty(b)) return empty(a) - empty(b) || a.place - b.place;
          const way = number ? a.key - b.key : a.key.localeCompare(b.key);
          return sign * way || a.place - b.place;
        });
        body.append(...keyed.map((one) => one.row));
      });
    });
  }

  // Filtering.
  for (const form of all("form.filter")) {
    const rows = Array.from(document.getElementById(form.dataset.for).tBodies[0].rows);
    const shown = form.querySelector("output");
    const apply = () => {
      const text = form.elements.text.value.trim().toLowerCase();
      const wanted = { method: form.elements.method.value, backbone: form.elements.backbone?.value };
      let count = 0;
      for (const row of rows) {
        const there = row.textContent.toLowerCase().includes(text)
          && Object.entries(wanted).every(([name, value]) => !value || row.dataset[name] === value);
        row.hidden = !there;
        count += there ? 1 : 0;
      }
      shown.textContent = count === rows.length ? "" : `${count} of ${rows.length} rows`;
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    apply();
  }

  // What a mark tells: at once, for pointer and keyboard; arrows go from mark to mark of one figure.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);
  const told = new Map();
  for (const mark of all(".told")) {
    const title = mark.querySelector(":scope > title");
    if (title) { told.set(mark, title.textContent); title.remove(); }
  }
  const show = (mark) => {
    tip.textContent = told.get(mark);
    tip.hidden = false;
    const box = mark.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), root.clientWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${(above < 0 ? box.bottom + 8 : above) + window.scrollY}px`;
  };
  const hide = () => { tip.hidden = true; };
  const markOf = (event) => (event.target instanceof Element ? event.target.closest(".told") : null);
  document.addEventListener("pointerover", (event) => { const mark = markOf(event); if (mark) show(mark); else hide(); });
  document.addEventListener("focusin", (event) => { const mark = markOf(event); if (mark) show(mark); else hide(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  for (const figure of all("svg[role=group]")) {
    const marks = all(".told", figure);
    marks.forEach((mark, place) => mark.setAttribute("tabindex", place ? "-1" : "0"));
    figure.addEventListener("keydown", (event) => {
      const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const place = marks.indexOf(document.activeElement);
      if (!way || place < 0) return;
      const next = marks[(place + way + marks.length) % marks.length];
      marks.forEach((mark) => mark.setAttribute("tabindex", mark === next ? "0" : "-1"));
      next.focus();
      event.preventDefault();
    });
  }
})();
