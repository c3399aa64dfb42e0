"use strict";
// Sorts and filters the trials, points at curves, and singles out a trial or an arm.
(function () {
  const trials = JSON.parse(document.getElementById("data").textContent);
  const table = document.getElementById("trials");
  const rows = Array.from(table.tBodies[0].rows);

  function make(tag, text, parent) {
    const element = document.createElement(tag);
    element.textContent = text;
    if (parent) parent.append(element);
    if (tag === "button") element.type = "button";
    return element;
  }

  // What in a picture is a trial, by the ids that matplotlib was given.
  for (const group of document.querySelectorAll("figure svg g[id]")) {
    const one = group.id.match(/-(curve|bar)\.(t\d+)(?:\.(\w+))?$/);
    const several = group.id.match(/-points\.(.+)$/);
    if (one) {
      group.dataset.trial = one[2];
      group.dataset.metric = one[3] || "";
    } else if (several) {
      const names = several[1].split(".");
      group.querySelectorAll("use").forEach((mark, i) => { mark.dataset.trial = names[i]; });
    }
  }
  for (const group of document.querySelectorAll('figure svg g[id*="-curve."]')) {
    const line = group.querySelector("path");
    if (!line) continue;
    const wide = line.cloneNode();
    wide.removeAttribute("style");
    wide.setAttribute("class", "hit");
    group.append(wide);
  }

  // Pointing.
  const tip = make("div", "", document.body);
  tip.id = "tip";
  tip.hidden = true;
  const words = { select_loss: "select loss", train_eval_loss: "training loss, noise off" };

  function nearest(group, event) {
    const series = (trials[group.dataset.trial].series || {})[group.dataset.metric];
    const path = group.querySelector("path");
    if (!series || !path) return "";
    const corners = (path.getAttribute("d").match(/[ML]\s*[-\d.]+\s+[-\d.]+/g) || [])
      .map((text) => parseFloat(text.slice(1)));
    if (corners.length !== series.length) return "";
    const point = new DOMPoint(event.clientX, event.clientY)
      .matrixTransform(path.getScreenCTM().inverse());
    let best = 0;
    corners.forEach((x, i) => {
      if (Math.abs(x - point.x) < Math.abs(corners[best] - point.x)) best = i;
    });
    const [step, loss] = series[best];
    return "\nstep " + step + ": " + words[group.dataset.metric] + " " + loss.toFixed(4);
  }

  function showTip(event) {
    const part = event.target.closest("svg [data-trial]");
    tip.hidden = !part;
    if (!part) return;
    const name = part.dataset.trial, trial = trials[name];
    tip.textContent = name + " · " + trial.arm + ", " + trial.phase + ", " + trial.status + "\n" +
      trial.text + "\n" + trial.best + nearest(part, event);
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - box.width - 8)) + "px";
    tip.style.top = Math.max(4, event.clientY - box.height - 12) + "px";
  }
  document.addEventListener("pointermove", showTip);
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // Singling out.
  const bar = make("div", "", document.body);
  bar.id = "picked";
  bar.hidden = true;
  const said = make("span", "", bar);
  make("button", "Show all", bar).addEventListener("click", () => pick("", ""));
  let picked = "";

  function pick(name, kind) {
    picked = picked === name ? "" : name;
    const is = (trial) => (kind === "arm" ? trials[trial].arm === picked : trial === picked);
    document.body.classList.toggle("picked", picked !== "");
    for (const part of document.querySelectorAll("[data-trial]")) {
      part.classList.toggle("on", picked !== "" && is(part.dataset.trial));
    }
    bar.hidden = picked === "";
    said.textContent = kind === "arm" ? "Only the " + picked + " arm stands out."
      : picked && picked + ": " + trials[picked].text;
  }
  document.addEventListener("click", (event) => {
    const part = event.target.closest("svg [data-trial]");
    if (part) pick(part.dataset.trial, "trial");
  });
  for (const card of document.querySelectorAll(".arm[data-arm]")) {
    const button = make("button", "Highlight", card);
    button.className = "pick";
    button.addEventListener("click", () => pick(card.dataset.arm, "arm"));
  }
  for (const row of rows) {
    const cell = row.cells[0], name = cell.textContent;
    cell.textContent = "";
    make("button", name, cell).addEventListener("click", () => pick(name, "trial"));
  }

  // Sorting.
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = make("button", head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const order = (one, other) => {
        const [a, b] = [key(one), key(other)];
        if (a === "" || b === "") return (a === "") - (b === "");  // nothing comes last
        const numbers = a - b;
        const result = Number.isNaN(numbers) ? a.localeCompare(b) : numbers;
        return falls ? -result : result;
      };
      table.tBodies[0].append(...rows.slice().sort(order));
    });
  });

  // Filtering.
  const tools = document.getElementById("tools");
  const selects = [1, 2, Number(table.dataset.status)].map((column) => {
    const select = make("select", "", tools);
    const title = table.tHead.rows[0].cells[column].textContent.toLowerCase();
    select.setAttribute("aria-label", title);
    make("option", "every " + title, select).value = "";
    for (const value of new Set(rows.map((row) => row.cells[column].textContent))) {
      make("option", value, select).value = value;
    }
    return [select, column];
  });
  const words_ = make("input", "", tools);
  words_.type = "search";
  words_.placeholder = "filter, such as 1e-3 stopped";
  words_.setAttribute("aria-label", "filter trials by text");
  const number = make("output", "", tools);

  function filter() {
    const wanted = words_.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = wanted.every((word) => text.includes(word)) && selects.every(
        ([select, column]) => !select.value || row.cells[column].textContent === select.value);
      row.hidden = !fits;
      shown += fits;
    }
    number.textContent = shown + " of " + rows.length + " trials";
  }
  tools.addEventListener("input", filter);
  filter();
})();
