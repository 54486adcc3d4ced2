"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const svg = by("matrix"), cells = by("matrix-cells"), labels = by("matrix-labels"), view = by("matrix-view");
  const said = by("matrix-said"), cursor = by("matrix-cursor"), find = by("matrix-find");
  const { names, rows, samples } = JSON.parse(by("matrix-data").textContent);
  const total = names.length, margin = +svg.dataset.margin, side = +svg.dataset.side;
  const smallest = Math.min(total, 4), least = 11, rest = labels.innerHTML;
  const state = { x: 0, y: 0, n: total, row: -1, column: -1 };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function label(text, transform, anchor) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", "text");
    node.textContent = text.length > 24 ? text.slice(0, 23) + "…" : text;
    node.setAttribute("transform", transform);
    node.setAttribute("class", "small");
    if (anchor) node.setAttribute("text-anchor", anchor);
    labels.append(node);
  }
  function draw() {
    cells.setAttribute("viewBox", `${state.x} ${state.y} ${state.n} ${state.n}`);
    if (state.n === total) { labels.innerHTML = rest; return; }
    labels.replaceChildren();
    const size = side / state.n, every = Math.max(1, Math.ceil(least / size));
    for (let i = 0; i < total; i += every) {
      const x = (i + 0.5 - state.x) * size, y = (i + 0.5 - state.y) * size;
      if (y > 0 && y < side) label(names[i], `translate(${margin - 6} ${margin + y + 4})`, "end");
      if (x > 0 && x < side) label(names[i], `translate(${margin + x + 4} ${margin - 6}) rotate(-90)`);
    }
  }
  function zoom(n, x, y) {
    // x, y: the place, in cells, that stays where it is.
    const next = clamp(n, smallest, total), left = (x - state.x) / state.n, top = (y - state.y) / state.n;
    state.n = next;
    state.x = clamp(x - left * next, 0, total - next);
    state.y = clamp(y - top * next, 0, total - next);
    draw();
  }
  const middle = () => [state.x + state.n / 2, state.y + state.n / 2];
  function choose(row, column) {
    state.row = clamp(row, 0, total - 1);
    state.column = clamp(column, 0, total - 1);
    cursor.setAttribute("x", state.column);
    cursor.setAttribute("y", state.row);
    cursor.setAttribute("visibility", "visible");
    const found = rows[state.row], at = found.findIndex((value, i) => i % 2 === 0 && value === state.column);
    const count = at < 0 ? 0 : found[at + 1], all = samples[state.row];
    const share = all ? ` (${(100 * count / all).toFixed(1)} %)` : "";
    said.textContent = state.row === state.column
      ? `${names[state.row]}: ${count} of ${all} recognised${share}`
      : `${names[state.row]} taken for ${names[state.column]}: ${count} of ${all}${share}`;
  }
  function show(row, column) {
    state.x = clamp(state.x, column + 1 - state.n, column);
    state.y = clamp(state.y, row + 1 - state.n, row);
    state.x = clamp(state.x, 0, total - state.n);
    state.y = clamp(state.y, 0, total - state.n);
    draw();
  }
  function place(event) {
    const box = svg.getBoundingClientRect(), unit = (side + margin + 6) / box.width;
    const x = ((event.clientX - box.left) * unit - margin) / side, y = ((event.clientY - box.top) * unit - margin) / side;
    return x < 0 || y < 0 || x >= 1 || y >= 1 ? null : [state.x + x * state.n, state.y + y * state.n];
  }
  let drag = null;
  svg.addEventListener("pointerdown", (event) => {
    const at = place(event);
    if (at && state.n < total) { drag = at; svg.setPointerCapture(event.pointerId); }
  });
  svg.addEventListener("pointerup", () => { drag = null; });
  svg.addEventListener("pointercancel", () => { drag = null; });
  svg.addEventListener("pointermove", (event) => {
    const at = place(event);
    if (!at) return;
    if (drag) {
      state.x = clamp(state.x + drag[0] - at[0], 0, total - state.n);
      state.y = clamp(state.y + drag[1] - at[1], 0, total - state.n);
      draw();
    } else choose(Math.floor(at[1]), Math.floor(at[0]));
  });
  svg.addEventListener("dblclick", (event) => { const at = place(event); if (at) zoom(state.n / 2, ...at); });
  view.addEventListener("wheel", (event) => {
    const at = place(event);
    if (!event.ctrlKey || !at) return;
    event.preventDefault();
    zoom(state.n * (event.deltaY > 0 ? 1.25 : 0.8), ...at);
  }, { passive: false });
  const factor = { in: 0.5, out: 2, all: Infinity };
  by("matrix-tools").addEventListener("click", (event) => {
    const wanted = factor[event.target.dataset.zoom];
    if (wanted) zoom(state.n * wanted, ...(state.row < 0 ? middle() : [state.column + 0.5, state.row + 0.5]));
  });
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  view.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (step[event.key]) {
      choose(state.row + step[event.key][0], state.column + step[event.key][1]);
      show(state.row, state.column);
    } else if (event.key === "+" || event.key === "-") {
      zoom(state.n * (event.key === "+" ? 0.5 : 2), ...(state.row < 0 ? middle() : [state.column + 0.5, state.row + 0.5]));
    } else return;
    event.preventDefault();
  });
  find.addEventListener("change", () => {
    const at = names.indexOf(find.value);
    if (at < 0) return;
    zoom(Math.min(total, 24), at + 0.5, at + 0.5);
    choose(at, at);
    show(at, at);
  });
  by("matrix-names").append(...names.map((name) => Object.assign(document.createElement("option"), { value: name })));
  by("matrix-tools").hidden = total <= 12; // all can be read as it is

  function save(blob, ending) {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `confusion.${ending}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  function picture() {
    // A copy that needs no style sheet: what the browser computed becomes attributes.
    const copy = svg.cloneNode(true), nodes = svg.querySelectorAll("*");
    copy.querySelectorAll("*").forEach((node, i) => {
      const style = getComputedStyle(nodes[i]);
      for (const key of ["fill", "fill-opacity", "stroke", "stroke-width", "font-size", "font-family", "font-weight", "text-anchor", "visibility"]) {
        node.setAttribute(key, style.getPropertyValue(key));
      }
      node.removeAttribute("class");
    });
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.style.background = getComputedStyle(document.querySelector("section")).backgroundColor;
    return new XMLSerializer().serializeToString(copy);
  }
  function png() {
    const image = new Image(), canvas = document.createElement("canvas"), scale = 2;
    image.onload = () => {
      canvas.width = scale * svg.width.baseVal.value;
      canvas.height = scale * svg.height.baseVal.value;
      const context = canvas.getContext("2d");
      context.fillStyle = getComputedStyle(document.querySelector("section")).backgroundColor;
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(blob, "png"));
    };
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(picture())}`;
  }
  function csv() {
    // A name that begins like a formula is not to be one in a spreadsheet.
    const quote = (text) => `"${(/^[=+@\t\r-]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
    const lines = rows.map((row, i) => {
      const counts = new Array(total).fill(0);
      for (let at = 0; at < row.length; at += 2) counts[row[at]] = row[at + 1];
      return [quote(names[i]), ...counts].join(",");
    });
    return [["true \\ predicted", ...names].map(quote).join(","), ...lines].join("\r\n") + "\r\n";
  }
  by("matrix-save").addEventListener("click", (event) => {
    const kind = event.target.dataset.save;
    if (kind === "csv") save(new Blob(["\ufeff", csv()], { type: "text/csv" }), kind);
    if (kind === "svg") save(new Blob([picture()], { type: "image/svg+xml" }), kind);
    if (kind === "png") png();
  });
  by("matrix-save").hidden = false;
})();
