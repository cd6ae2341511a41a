
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const make = (tag, cls, text) => {
    const element = document.createElement(tag);
    if (cls) element.className = cls;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const seconds = (value) => {
    if (value < 0.9995) return Number((value * 1e3).toPrecision(3)) + " ms";
    if (value < 99.95) return Number(value.toPrecision(3)) + " s";
    const whole = Math.round(value), minutes = Math.floor(whole / 60);
    return minutes + " m " + String(whole % 60).padStart(2, "0") + " s";
  };
  const score = (value) => (value === null || value === undefined ? "-" : value.toFixed(3));
  const cost = (trial) => (trial.cost === undefined ? "-" : "$" + trial.cost.toFixed(4));

  // The columns: a title, what is shown, what sorts, and whether it is a number.
  const columns = [];
  if (data.arms) columns.push({ title: "arm", show: (t) => t.arm, key: (t) => t.arm });
  columns.push({ title: "case", show: (t) => t.case, key: (t) => t.case, opens: true });
  if (data.trials.some((t) => t.trial)) columns.push({ title: "trial", show: (t) => t.trial, key: (t) => t.trial, number: true });
  columns.push({ title: "result", show: (t) => t.status, key: (t) => t.status, cls: (t) => t.status });
  data.scores.forEach((name, at) => columns.push({
    title: name, show: (t) => score(t.scores[at]), number: true,
    key: (t) => (t.scores[at] === null ? -1 : t.scores[at]),
  }));
  columns.push({ title: "cost", show: cost, key: (t) => t.cost || 0, number: true });
  columns.push({ title: "tokens", show: (t) => t.tokens.toLocaleString("en"), key: (t) => t.tokens, number: true });
  columns.push({ title: "time", show: (t) => seconds(t.seconds), key: (t) => t.seconds, number: true });
  columns.push({ title: "output", show: (t) => (t.failures[0] || t.output).slice(0, 300), key: (t) => t.failures[0] || t.output, cls: () => "said" });

  const table = byId("trials"), body = table.tBodies[0];
  let sorted = null, down = false, current = null;

  const head = make("tr");
  columns.forEach((column) => {
    const cell = make("th");
    cell.scope = "col";
    const button = make("button", "", column.title);
    button.type = "button";
    button.addEventListener("click", () => {
      down = sorted === column ? !down : false;
      sorted = column;
      lay();
    });
    column.cell = cell;
    cell.append(button);
    head.append(cell);
  });
  table.tHead.append(head);

  data.trials.forEach((trial) => {
    trial.words = [trial.arm, trial.case, trial.status, trial.output, ...trial.tags, ...trial.failures].join(" ").toLowerCase();
    const row = make("tr");
    row.setAttribute("aria-selected", "false");
    columns.forEach((column) => {
      const classes = [column.number ? "number" : "", column.cls ? column.cls(trial) : ""];
      const cell = make("td", classes.join(" ").trim());
      if (column.opens) {
        const button = make("button", "", column.show(trial));
        button.type = "button";
        button.addEventListener("click", () => open(trial));
        trial.button = button;
        cell.append(button);
      } else {
        cell.textContent = column.show(trial);
      }
      row.append(cell);
    });
    trial.row = row;
  });

  const lay = () => {
    const wanted = byId("filter").value.trim().toLowerCase(), status = byId("status").value;
    let shown = data.trials.filter((t) => (!wanted || t.words.includes(wanted)) && (!status || t.status === status));
    if (sorted) {
      const sign = down ? -1 : 1;
      shown = shown.slice().sort((a, b) => {
        const x = sorted.key(a), y = sorted.key(b);
        return x < y ? -sign : x > y ? sign : 0;
      });
    }
    columns.forEach((column) => {
      if (column === sorted) column.cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else column.cell.removeAttribute("aria-sort");
    });
    body.replaceChildren(...shown.map((t) => t.row));
    byId("count").textContent = shown.length + " of " + data.trials.length + " trials. The name of a case opens it; Escape closes it.";
  };
  byId("filter").addEventListener("input", lay);
  byId("status").addEventListener("change", lay);

  // One trial: what it came to, what was said, and its trace.
  const pairs = (list, rows) => {
    rows.forEach(([name, value]) => list.append(make("dt", "", name), make("dd", "", value)));
    return list;
  };
  const tree = (trace) => {
    const list = make("ul");
    const levels = [];
    trace.spans.forEach((span, number) => {
      levels[number] = span.parent < 0 ? 0 : levels[span.parent] + 1;
      const item = make("li"), box = make("details"), line = make("summary");
      const label = make("span", "label", span.label);
      label.style.paddingLeft = Math.min(levels[number], 12) * 12 + "px";
      const track = make("span", "track"), piece = make("span", "piece " + span.status);
      piece.style.left = 100 * span.start / trace.length + "%";
      piece.style.width = 100 * Math.max(0, span.end - span.start) / trace.length + "%";
      track.append(piece);
      line.append(label, track, make("span", "time", seconds(Math.max(0, span.end - span.start))));
      const inner = make("div", "inner");
      if (span.failure) inner.append(make("p", "failed", span.failure));
      inner.append(pairs(make("dl"), span.fields));
      box.append(line, inner);
      item.append(box);
      list.append(item);
    });
    return list;
  };
  const open = (trial) => {
    if (current) current.row.setAttribute("aria-selected", "false");
    current = trial;
    trial.row.setAttribute("aria-selected", "true");
    const box = byId("details-body");
    byId("details-title").textContent = [trial.arm, trial.case].filter(Boolean).join(": ") + (trial.trial ? ", trial " + trial.trial : "");
    const rows = [["result", trial.status]];
    data.scores.forEach((name, at) => rows.push([name, score(trial.scores[at])]));
    rows.push(["cost", cost(trial) + ", " + trial.tokens.toLocaleString("en") + " tokens (" + trial.known.replace("_", " ") + ")"]);
    rows.push(["time", seconds(trial.seconds)]);
    if (trial.tries > 1) rows.push(["tries", String(trial.tries)]);
    if (trial.tags.length) rows.push(["tags", trial.tags.join(", ")]);
    const parts = [pairs(make("dl"), rows)];
    trial.failures.forEach((words) => parts.push(make("h3", "", "Error"), make("pre", "failed", words)));
    parts.push(make("h3", "", "Output"), make("pre", "", trial.output));
    if (trial.report !== undefined) parts.push(make("h3", "", "Report"), make("pre", "", trial.report));
    if (trial.trace) {
      parts.push(make("h3", "", "Trace"));
      parts.push(trial.trace.left_out ? make("p", "", trial.trace.left_out) : tree(trial.trace));
    }
    box.replaceChildren(...parts);
    byId("details").hidden = false;
    byId("details-title").focus();
  };
  const close = () => {
    if (byId("details").hidden) return;
    byId("details").hidden = true;
    if (current) {
      current.row.setAttribute("aria-selected", "false");
      current.button.focus();
    }
  };
  byId("close").addEventListener("click", close);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
  lay();
})();
