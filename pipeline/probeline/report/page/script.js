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

  // Buttons that a page without script does not have: copy a command, save a table as CSV, enlarge a figure.
  const status = document.createElement("p");
  status.className = "unseen";
  status.setAttribute("role", "status");
  document.body.append(status);
  const button = (text, label, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-label", label);
    made.addEventListener("click", () => act(made));
    return made;
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "unseen";
      document.body.append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      return copied;
    }
  };
  for (const command of all(".command")) {
    const text = command.textContent;
    command.append(button("Copy", `Copy the command ${text}`, async (made) => {
      const copied = await copy(text);
      made.focus();
      made.textContent = copied ? "Copied" : "Not copied";
      status.textContent = copied ? "The command is copied" : "The browser does not allow copying";
      setTimeout(() => { made.textContent = "Copy"; status.textContent = ""; }, 2000);
    }));
  }

  // A cell that a spreadsheet would run as a formula is led by an apostrophe.
  const quoted = (text) => {
    const safe = /^'*([=@\uff1d\uff0b\uff0d\uff20]|[+-](?![\d.,]+( %)?( \(|$)))/.test(text) ? `'${text}` : text;
    return /[",;|\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const csvOf = (table) => {
    const rows = Array.from(table.rows);
    const isNumber = Array.from(rows[0].cells, (_, column) => rows.some((row) => row.cells[column]?.dataset.value !== undefined));
    const lines = rows.map((row, place) => Array.from(row.cells).flatMap((cell, column) => {
      const text = cell.textContent.trim().replace(/\s+/g, " ");
      if (!isNumber[column]) return [text];
      return [text, place ? cell.dataset.value ?? "" : `${text}, as a number`];
    }));
    return lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
  };
  const hints = [];
  for (const box of all(".scroll")) {
    const tools = document.createElement("div");
    tools.className = "tools";
    const table = box.querySelector("table");
    if (table) {
      const title = table.dataset.name || table.closest("section")?.id || "table";
      const place = all("table", table.closest("section")).indexOf(table);
      tools.append(button("CSV", `Save as CSV: ${box.getAttribute("aria-label")}`, () => {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(new Blob(["\ufeff", csvOf(table)], { type: "text/csv" }));
        link.download = `${title}${place ? `-${place + 1}` : ""}.csv`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      }));
    }
    const figure = box.querySelector(":scope > svg");
    const enlarge = figure && button("Enlarge", `Enlarge: ${box.getAttribute("aria-label")}`, (made) => {
      made.textContent = box.classList.toggle("enlarged") ? "Fit to width" : "Enlarge";
      update();
    });
    const hint = document.createElement("span");
    hint.className = "hint";
    hint.textContent = "scroll sideways for the rest";
    tools.append(...(enlarge ? [enlarge] : []), hint);
    if (table?.classList.contains("summary")) box.after(tools); else box.before(tools);
    const update = () => {
      const isOver = box.scrollWidth > box.clientWidth + 1;
      box.classList.toggle("over", isOver);
      hint.hidden = !isOver;
      const isReduced = figure && figure.getBoundingClientRect().width < 0.75 * Number(figure.getAttribute("width"));
      if (enlarge) enlarge.hidden = !isReduced && !box.classList.contains("enlarged");
      tools.hidden = hint.hidden && !table && (!enlarge || enlarge.hidden);
    };
    hints.push(update);
    const columns = box.parentElement.querySelector(":scope > .columns");
    if (columns) columns.addEventListener("change", update);
  }
  const updateHints = () => { for (const update of hints) update(); };
  window.addEventListener("resize", updateHints);
  updateHints();

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
