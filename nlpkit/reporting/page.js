"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const letter = (run) => { let name = ""; for (run += 1; run; run = Math.floor((run - 1) / 26)) name = String.fromCharCode(65 + (run - 1) % 26) + name; return name; };
  const element = (name, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const shown = (value) => Math.abs(value) >= 1e5 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(5)).toString();
  const position = (unit, value) => {
    if (unit !== "time") return `${unit} ${Math.round(value).toLocaleString("en")}`;
    const all = Math.round(value), two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(all / 3600), minutes = Math.floor(all / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(all % 60)}` : `${minutes}:${two(all % 60)}`;
  };
  const nearest = (xs, x) => {
    let low = 0, high = xs.length - 1;
    while (high - low > 1) { const middle = (low + high) >> 1; if (xs[middle] < x) low = middle; else high = middle; }
    return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
  };
  const off = new Set();
  document.body.classList.add("js");

  for (const box of document.querySelectorAll(".run-choice")) {
    box.addEventListener("change", () => {
      const run = Number(box.dataset.run);
      if (box.checked) off.delete(run); else off.add(run);
      for (const part of document.querySelectorAll(`.chart [data-run="${run}"]`)) part.classList.toggle("off", !box.checked);
    });
  }

  for (const [ident, chart] of Object.entries(data.charts)) {
    const svg = document.getElementById(ident), wide = svg.viewBox.baseVal.width;
    const [x0, x1, left, right] = chart.x, [y0, y1, bottom, top] = chart.y;
    const toX = (x) => left + (x - x0) / (x1 - x0) * (right - left);
    const toY = (y) => bottom + (y - y0) / (y1 - y0) * (top - bottom);
    const over = element("g", {});
    svg.append(over);
    let at = null;
    const hide = () => { over.replaceChildren(); tip.hidden = true; at = null; };
    const show = (x, pageX, pageY) => {
      const lines = chart.lines.filter((line) => !off.has(line.run));
      if (!lines.length) { hide(); return; }
      let found = null;
      for (const line of lines) {
        const near = line.x[nearest(line.x, x)];
        if (found === null || Math.abs(near - x) < Math.abs(found - x)) found = near;
      }
      at = found;
      over.replaceChildren(element("path", {d: `M${toX(at)} ${top}V${bottom}`, class: "cross"}));
      const rows = [document.createElement("b")];
      rows[0].textContent = position(chart.unit, at);
      for (const line of lines) {
        const number = nearest(line.x, at);
        const apart = Math.abs(toX(line.x[number]) - toX(at));
        if (apart > 8) continue;
        const colour = `c${line.run % 8}`;
        const mark = element("circle", {cx: toX(line.x[number]), cy: toY(line.y[number]), r: 3.6, class: `mark ${colour}`});
        over.append(mark);
        const row = document.createElement("div");
        const value = line.low ? `${shown(line.y[number])} (${shown(line.low[number])} to ${shown(line.high[number])})` : shown(line.y[number]);
        for (const [kind, text] of [[`badge ${colour}`, letter(line.run)], ["name", data.names[line.run] + (line.dev ? " (dev)" : "")], ["", value]]) {
          const part = document.createElement("span");
          part.className = kind;
          part.textContent = text;
          row.append(part);
        }
        rows.push(row);
      }
      tip.replaceChildren(...rows);
      tip.hidden = false;
      const frame = svg.getBoundingClientRect();
      if (pageX === undefined) { pageX = frame.left + scrollX + toX(at) / wide * frame.width; pageY = frame.top + scrollY + 20; }
      const width = tip.offsetWidth, edge = scrollX + document.documentElement.clientWidth;
      tip.style.left = `${Math.max(scrollX + 4, pageX + 16 + width > edge ? pageX - width - 16 : pageX + 16)}px`;
      tip.style.top = `${pageY + 14}px`;
    };
    svg.addEventListener("pointermove", (event) => {
      const frame = svg.getBoundingClientRect();
      const x = (event.clientX - frame.left) / frame.width * wide;
      show(x0 + (x - left) / (right - left) * (x1 - x0), event.pageX, event.pageY);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      const all = [...new Set(chart.lines.filter((line) => !off.has(line.run)).flatMap((line) => line.x))].sort((a, b) => a - b);
      if (!all.length) return;
      const next = at === null ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, all.indexOf(at) + step));
      show(all[next]);
    });
  }

  for (const one of data.attention) {
    const figure = document.getElementById(one.ident);
    const size = one.tokens.length, map = figure.querySelector(".map"), cells = map.querySelector(".cells");
    const which = figure.querySelector(".which"), weight = figure.querySelector(".weight");
    const values = (layer, head) => {
      const text = one.maps[layer][head];
      return Array.from({length: size * size}, (_, number) => parseInt(text.substr(2 * number, 2), 16) / 255);
    };
    const last = one.maps.length - 1;
    let now = one.maps[last].map((_, head) => values(last, head)).reduce((sum, next) => sum.map((value, number) => value + next[number] / one.maps[last].length), new Array(size * size).fill(0));
    const mark = element("rect", {width: 1, height: 1, class: "at"});
    const choose = (button) => {
      for (const other of figure.querySelectorAll(".head")) other.setAttribute("aria-pressed", other === button);
      const layer = Number(button.dataset.layer), head = Number(button.dataset.head);
      now = values(layer, head);
      const paths = new Map();
      now.forEach((value, number) => {
        const level = Math.round(Math.sqrt(value) * 15);
        if (level) paths.set(level, (paths.get(level) || "") + `M${number % size} ${Math.floor(number / size)}h1v1h-1z`);
      });
      cells.replaceChildren(...[...paths].map(([level, path]) => element("path", {d: path, class: `s${level}`})));
      which.textContent = `Layer ${layer + 1}, head ${head + 1}`;
    };
    for (const button of figure.querySelectorAll(".head")) button.addEventListener("click", () => choose(button));
    map.addEventListener("pointermove", (event) => {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
      const x = Math.floor(point.x), y = Math.floor(point.y);
      if (x < 0 || y < 0 || x >= size || y >= size) return;
      mark.setAttribute("x", x);
      mark.setAttribute("y", y);
      map.append(mark);
      weight.textContent = `${one.tokens[y]} → ${one.tokens[x]}: ${now[y * size + x].toFixed(2)}`;
    });
    map.addEventListener("pointerleave", () => { mark.remove(); weight.textContent = "\u00a0"; });
  }
})();
