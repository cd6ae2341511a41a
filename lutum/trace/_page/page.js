
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const spans = data.spans;
  const make = (tag, cls, text) => {
    const element = document.createElement(tag);
    if (cls) element.className = cls;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const byId = (id) => document.getElementById(id);
  const seconds = (value) => {
    if (value < 5e-7) return "0 s";
    if (value < 0.0009995) return (value * 1e6).toFixed(0) + " us";
    if (value < 0.9995) return Number((value * 1e3).toPrecision(3)) + " ms";
    if (value < 99.95) return Number(value.toPrecision(3)) + " s";
    const whole = Math.round(value), minutes = Math.floor(whole / 60);
    if (minutes < 60) return minutes + " m " + String(whole % 60).padStart(2, "0") + " s";
    return Math.floor(minutes / 60) + " h " + String(minutes % 60).padStart(2, "0") + " m";
  };
  const percent = (at) => (100 * at / data.length) + "%";

  // The tree: levels, children and folded rows.
  spans.forEach((span, number) => {
    span.number = number;
    span.children = [];
    span.level = span.parent < 0 ? 1 : spans[span.parent].level + 1;
    if (span.parent >= 0) spans[span.parent].children.push(span);
  });
  spans.forEach((span) => {
    span.closed = Boolean(span.folded) || (spans.length > 400 && span.level > 2 && span.children.length > 0);
  });

  const pieces = (span) => {
    const list = [];
    const put = (cls, from, to) => {
      const piece = make("span", "piece " + cls);
      piece.style.left = percent(from);
      piece.style.width = percent(Math.max(0, to - from));
      list.push(piece);
      return piece;
    };
    const asks = ["turn", "attempt", "request"].includes(span.name);
    const works = span.status === "cancelled" ? "cancelled" : span.status === "open" ? "open" : null;
    if (asks) {
      const first = span.first === undefined ? answered(span) : span.first;
      const middle = first === undefined ? span.end : Math.min(first, span.end);
      put(first === undefined && works ? works : "light", span.start, middle);
      if (middle < span.end) put(works || "full", middle, span.end);
    } else {
      const kind = ["wait", "tool", "hook"].includes(span.name) ? span.name : "own";
      put(works ? works + (kind === "own" ? " own" : "") : kind, span.start, span.end);
    }
    if (span.status === "error") {
      const end = put("error end", span.end, span.end);
      end.style.transform = "translateX(-5px)";
    }
    return list;
  };
  const answered = (span) => {
    for (const child of span.children) {
      const first = child.first === undefined ? answered(child) : child.first;
      if (first !== undefined) return first;
    }
    return undefined;
  };

  // The grid.
  const grid = make("div", "grid");
  grid.setAttribute("role", "treegrid");
  grid.setAttribute("aria-labelledby", "spans-title");
  grid.setAttribute("aria-describedby", "legend");
  const head = make("div", "row head");
  head.setAttribute("role", "row");
  const ticks = make("div", "track ticks");
  [0, 0.5, 1].forEach((share, index) => {
    const tick = make("span", "tick " + ["", "middle", "last"][index], seconds(share * data.length));
    tick.style.left = 100 * share + "%";
    ticks.append(tick);
  });
  const titles = [make("div", "name", "Span"), ticks, make("div", "time", "Time"), make("div", "tokens", "Tokens")];
  titles[3].title = "in + out";
  titles.forEach((cell) => { cell.setAttribute("role", "columnheader"); head.append(cell); });
  grid.append(head);

  let current = null;
  const rowOf = (span) => {
    const row = make("div", "row");
    row.setAttribute("role", "row");
    row.setAttribute("aria-level", span.level);
    row.setAttribute("aria-selected", "false");
    row.tabIndex = -1;
    row.span = span;
    const name = make("div", "name");
    name.setAttribute("role", "rowheader");
    name.style.paddingLeft = Math.min(span.level - 1, 12) * 14 + "px";
    const fold = make("span", "fold");
    fold.setAttribute("aria-hidden", "true");
    name.append(fold, make("span", "words", span.label));
    name.title = span.label;
    const track = make("div", "track");
    track.setAttribute("role", "gridcell");
    const said = span.status + ", from " + seconds(span.start) + " to " + seconds(span.end);
    const drawing = make("span");
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-label", said);
    drawing.append(...pieces(span));
    track.append(drawing);
    const time = make("div", "time", seconds(Math.max(0, span.end - span.start)));
    time.setAttribute("role", "gridcell");
    const tokens = make("div", "tokens", span.tokens || "");
    tokens.setAttribute("role", "gridcell");
    row.append(name, track, time, tokens);
    if (span.failure) {
      const failure = make("div", "failure", span.failure);
      failure.setAttribute("role", "gridcell");
      failure.style.paddingLeft = Math.min(span.level - 1, 12) * 14 + 16 + "px";
      row.append(failure);
    }
    span.row = row;
    span.fold = fold;
    return row;
  };
  const rows = document.createDocumentFragment();
  spans.forEach((span) => rows.append(rowOf(span)));
  grid.append(rows);
  byId("spans").append(grid);

  let wanted = "";
  const matches = (span) => !wanted || [span.label, span.status, span.failure || "",
    ...span.fields.map((field) => field.join(" "))].some((text) => text.toLowerCase().includes(wanted));
  const lay = () => {
    let shown = 0;
    for (const span of spans) span.hit = Boolean(wanted) && matches(span);
    if (wanted) {
      for (let number = spans.length - 1; number >= 0; number--) {
        const span = spans[number];
        if (span.hit && span.parent >= 0) spans[span.parent].hit = true;
      }
    }
    for (const span of spans) {
      const parent = span.parent < 0 ? null : spans[span.parent];
      span.shown = wanted ? span.hit : !parent || (parent.shown && !parent.closed);
      span.row.hidden = !span.shown;
      span.row.style.display = span.shown ? "" : "none";
      if (span.children.length) {
        const open = wanted ? true : !span.closed;
        span.row.setAttribute("aria-expanded", String(open));
        span.fold.textContent = open ? "\u25be" : "\u25b8";
      }
      shown += span.shown;
    }
    byId("none").hidden = shown > 0 || spans.length === 0;
    const first = visible()[0];
    if (!current || !current.shown) settle(first || null);
  };
  const visible = () => spans.filter((span) => span.shown);
  const settle = (span) => {
    if (current) { current.row.tabIndex = -1; }
    current = span;
    if (span) span.row.tabIndex = 0;
  };
  const go = (span) => {
    if (!span) return;
    settle(span);
    span.row.focus();
    if (!byId("details").hidden) show(span, false);
  };
  const setClosed = (span, closed) => {
    if (span.children.length) { span.closed = closed; lay(); }
  };

  // Details.
  const list = (pairs) => {
    const dl = make("dl");
    for (const [name, value] of pairs) dl.append(make("dt", "", name), make("dd", "", value));
    return dl;
  };
  const noted = (notes) => {
    const ol = make("ol");
    for (const [name, at, fields] of notes) {
      const said = fields.map(([field, value]) => field + "=" + value).join(" ");
      ol.append(make("li", "", seconds(Math.max(0, at)) + "  " + name + (said ? "  " + said : "")));
    }
    return ol;
  };
  const curve = (points, length, label) => {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 1000 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    const top = Math.max(...points.map((point) => point[1]), 1);
    const x = (at) => (1000 * at / length).toFixed(2), y = (count) => (98 - 94 * count / top).toFixed(2);
    let line = "M" + x(points[0][0]) + " " + y(points[0][1]);
    for (const [at, count] of points.slice(1)) line += "H" + x(at) + "V" + y(count);
    line += "H1000";
    for (const [cls, d] of [["area", line + "V98H" + x(points[0][0]) + "Z"], ["edge", line]]) {
      const path = document.createElementNS(space, "path");
      path.setAttribute("class", cls);
      path.setAttribute("d", d);
      svg.append(path);
    }
    return svg;
  };
  let from = null;
  const show = (span, focus) => {
    if (from) from.row.setAttribute("aria-selected", "false");
    from = span;
    span.row.setAttribute("aria-selected", "true");
    byId("details-title").textContent = span.label;
    const body = byId("details-body");
    const when = span.status + ", " + seconds(Math.max(0, span.end - span.start)) + " from " + seconds(span.start);
    body.replaceChildren(make("p", "status", when));
    if (span.failure) body.append(make("p", "failure", span.failure));
    if (span.curve && span.curve.length > 1) {
      body.append(make("h3", "", "Pieces of output over time"));
      const length = Math.max(span.end - span.start, 1e-9);
      const last = span.curve[span.curve.length - 1][1];
      body.append(curve(span.curve, length, last + " pieces in " + seconds(length)));
    }
    if (span.fields.length) body.append(make("h3", "", "Fields"), list(span.fields));
    if (span.notes.length) body.append(make("h3", "", "Events"), noted(span.notes));
    byId("details").hidden = false;
    document.body.classList.add("detailed");
    if (focus) byId("details-title").focus();
  };
  const hide = () => {
    byId("details").hidden = true;
    document.body.classList.remove("detailed");
    if (from) {
      from.row.setAttribute("aria-selected", "false");
      go(from.shown ? from : current);
      from = null;
    }
  };

  grid.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (!row || !row.span) return;
    settle(row.span);
    if (event.target.closest(".fold") && row.span.children.length) return setClosed(row.span, !row.span.closed);
    show(row.span, true);
  });
  grid.addEventListener("keydown", (event) => {
    const row = event.target.closest(".row");
    if (!row || !row.span || event.altKey || event.ctrlKey || event.metaKey) return;
    const span = row.span, all = visible(), at = all.indexOf(span);
    const keys = {
      ArrowDown: () => go(all[at + 1]),
      ArrowUp: () => go(all[at - 1]),
      Home: () => go(all[0]),
      End: () => go(all[all.length - 1]),
      PageDown: () => go(all[Math.min(at + 15, all.length - 1)]),
      PageUp: () => go(all[Math.max(at - 15, 0)]),
      ArrowRight: () => span.closed ? setClosed(span, false) : go(span.children.find((child) => child.shown)),
      ArrowLeft: () => span.children.length && !span.closed ? setClosed(span, true)
        : span.parent >= 0 && go(spans[span.parent]),
      Enter: () => show(span, true),
      " ": () => show(span, true),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !byId("details").hidden) { event.preventDefault(); hide(); }
  });
  byId("close").addEventListener("click", hide);
  byId("filter").addEventListener("input", (event) => {
    wanted = event.target.value.trim().toLowerCase();
    lay();
  });
  byId("all").addEventListener("click", (event) => {
    const open = event.target.textContent === "Open all";
    spans.forEach((span) => { span.closed = open ? false : span.level > 1 || Boolean(span.folded); });
    event.target.textContent = open ? "Fold" : "Open all";
    lay();
  });

  // Events outside any span, the reason why spans are open, and the tokens of all turns over time.
  if (data.open) grid.before(make("p", "status", "Open: " + data.open + "."));
  if (data.notes.length) {
    const loose = noted(data.notes);
    loose.className = "loose";
    grid.before(loose);
  }
  const steps = [];
  for (const span of spans) {
    let before = 0;
    for (const [at, count] of span.curve || []) {
      steps.push([span.start + at, count - before]);
      before = count;
    }
  }
  if (steps.length > 1) {
    steps.sort((a, b) => a[0] - b[0]);
    let total = 0;
    const points = [[0, 0], ...steps.map(([at, more]) => [at, total += more])];
    const said = total.toLocaleString("en") + " pieces of output in " + seconds(data.length);
    byId("curve").append(curve(points, data.length, said));
    const axis = make("div", "axis");
    axis.append(make("span", "", "0 s"), make("span", "", said), make("span", "", seconds(data.length)));
    byId("curve").append(axis);
    byId("over-time").hidden = false;
  }
  lay();
})();
