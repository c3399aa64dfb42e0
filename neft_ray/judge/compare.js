"use strict";
// Sorts and filters the prompts.
(function () {
  const list = document.getElementById("pairs"), tools = document.getElementById("tools");
  const pairs = Array.from(list.children);
  const judged = pairs.length > 0 && "outcome" in pairs[0].dataset;
  const texts = pairs.map((pair) => pair.textContent.toLowerCase());
  const number = (pair, key) => (pair.dataset[key] === "" ? NaN : Number(pair.dataset[key]));
  const short = (name) => (name.length > 24 ? name.slice(0, 23) + "…" : name);
  const [system, reference] = [short(list.dataset.system), short(list.dataset.reference)];

  function choice(label, options) {
    const select = document.createElement("select");
    select.setAttribute("aria-label", label);
    select.append(...options.map(([text], i) => new Option(text, String(i))));
    tools.append(select);
    return () => options[Number(select.value)][1];
  }

  // A key falls from one pair to the next; what has none comes last.
  const orders = [
    ["in the file’s order", (pair) => -number(pair, "number")],
    ["most different lengths", (pair) => Math.abs(number(pair, "longer"))],
    [system + " longer by most", (pair) => number(pair, "longer")],
    [reference + " longer by most", (pair) => -number(pair, "longer")],
    [system + " repeats most", (pair) => number(pair, "repetition")],
    [reference + " repeats most", (pair) => -number(pair, "repetition")],
  ];
  const outcomes = [["every outcome", () => true]];
  if (judged) {
    orders.push(
      ["clearest wins", (pair) => number(pair, "preference")],
      ["clearest losses", (pair) => -number(pair, "preference")]);
    for (const name of ["won", "lost", "tied", "no verdict"]) {
      outcomes.push([name, (pair) => pair.dataset.outcome === name]);
    }
    outcomes.push(["the orders disagree", (pair) => pair.dataset.disagree !== ""]);
  }
  const sets = [...new Set(pairs.map((pair) => pair.dataset.dataset))].filter(Boolean).sort();

  const order = choice("order", orders);
  const outcome = judged ? choice("outcome", outcomes) : () => outcomes[0][1];
  const dataset = sets.length < 2 ? () => "" : choice("set of prompts",
    [["every set", ""], ...sets.map((name) => [name, name])]);
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = "filter by words";
  search.setAttribute("aria-label", "filter prompts by words");
  const count = document.createElement("output");
  tools.append(search, count);

  function show() {
    const words = search.value.toLowerCase().split(/\s+/);
    const [fits, set, key] = [outcome(), dataset(), order()];
    let shown = 0;
    pairs.forEach((pair, i) => {
      const is = fits(pair) && (!set || pair.dataset.dataset === set) &&
        words.every((word) => texts[i].includes(word));
      pair.hidden = !is;
      shown += is;
    });
    const keys = new Map(pairs.map((pair) => [pair, key(pair)]));
    const last = (value) => (Number.isNaN(value) ? -Infinity : value);
    list.append(...pairs.slice().sort((a, b) => {
      const [x, y] = [last(keys.get(a)), last(keys.get(b))];
      return x === y ? number(a, "number") - number(b, "number") : y > x ? 1 : -1;
    }));
    count.textContent = shown + " of " + pairs.length + " prompts";
  }
  tools.addEventListener("input", show);
  show();
})();
