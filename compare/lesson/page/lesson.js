"use strict";
// The moving parts of the lesson. Without this script the page shows one position of each.
document.documentElement.classList.add("js");
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// ---- numbers

const plain = (value) => String(value === 0 ? 0 : value).replaceAll("-", "−");
const rounded = (value, digits) => plain(Number(value.toPrecision(digits)));
// The digits that are certain within `error`: whatever lies within it is at most one unit of the last one away.
function certain(value, error) {
  if (error === 0) return rounded(value, 12);
  const place = Math.ceil(Math.log10(2 * error)), units = Math.floor(value / 10 ** place + 0.5);
  if (place < 1 || units === 0) return rounded(units * 10 ** place, 12);
  const digits = String(Math.abs(units)); // an exponent in the place of zeros that would look certain
  const mantissa = digits[0] + (digits.length > 1 ? `.${digits.slice(1)}` : "");
  return `${units < 0 ? "−" : ""}${mantissa}e${place + digits.length - 1}`;
}
const tiny = (value) => (value === 0 || value >= 0.01 ? rounded(value, 2) : value.toExponential(1).replaceAll("-", "−"));
const counted = (value) => value.toLocaleString("en-US");

// ---- what belongs to one equation: a click on a tag keeps it lit

for (const tag of document.querySelectorAll("button.tag")) {
  let owner = tag.parentElement, name;
  while (owner && !(name = [...owner.classList].find((one) => /-\d$/.test(one)))) owner = owner.parentElement;
  if (!name) continue;
  tag.addEventListener("click", () => {
    if (document.body.dataset.pinned === name) delete document.body.dataset.pinned;
    else document.body.dataset.pinned = name;
    for (const other of document.querySelectorAll("button.tag[aria-pressed]")) other.removeAttribute("aria-pressed");
    if (document.body.dataset.pinned) tag.setAttribute("aria-pressed", "true");
  });
}

// ---- chapter 1: counting parameters

const counter = byId("counter");
function count() {
  const [side, channels, units, kernel] = [...counter.querySelectorAll("input")].map((input) => Number(input.value));
  const fine = [side, channels, units, kernel].every((value) => Number.isInteger(value) && value > 0);
  byId("count-dense").textContent = fine ? counted(side * side * channels * units + units) : "whole numbers above 0, please";
  byId("count-conv").textContent = !fine ? "–"
    : kernel > side ? "the kernel is larger than the picture" : counted(channels * kernel * kernel * units + units);
}
counter.addEventListener("input", count);

// ---- what both moving windows share

const outputSize = (size, kernel, stride, padding) => Math.floor((size + 2 * padding - kernel) / stride) + 1;
const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

// Plays `step` until it is pressed again, or until `step` says that it is at the end.
function playButton(button, step) {
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; show(); };
  const show = () => { button.textContent = timer ? "❚❚ pause" : "▶ play"; button.setAttribute("aria-pressed", String(Boolean(timer))); };
  button.addEventListener("click", () => {
    if (timer) return stop();
    step();
    timer = setInterval(() => { if (!step()) stop(); }, 450);
    show();
  });
}

// ---- chapter 2: the window

const windows = data.window;
const SIZE = windows.size;
const digits = windows.digits.map((digit) => Float32Array.from(atob(digit.pixels), (c) => Math.fround(c.charCodeAt(0) / 255)));
const state = { values: [], own: false, row: 0, column: 0, map: [], now: null };
const SMALLEST = 1e-30, LARGEST = 1e30; // weights between them neither overflow nor underflow in float32

// The pixel at (k, l) of the padded picture.
function pixel(k, l, padding) {
  const row = k - padding, column = l - padding;
  const inside = row >= 0 && row < SIZE && column >= 0 && column < SIZE;
  return inside ? state.now.digit[row * SIZE + column] : 0;
}

// One sum of products, equation (1), in float64, and the same over absolute values.
function sumAt(i, j) {
  const { stride, padding } = state.now;
  let exact = 0, magnitude = 0;
  state.values.forEach((weights, u) => weights.forEach((weight, v) => {
    const product = pixel(i * stride + u, j * stride + v, padding) * weight;
    exact += product;
    magnitude += Math.abs(product);
  }));
  return { exact, magnitude };
}

// What the controls say, and what follows from it: read once for each change, as a map asks thousands of times.
function settings() {
  const stride = Number(chosen("stride")), padding = Number(chosen("padding")), digit = digits[Number(chosen("digit"))];
  const [height, width] = [state.values.length, state.values[0].length];
  return { digit, stride, padding, height, width, rows: outputSize(SIZE, height, stride, padding), columns: outputSize(SIZE, width, stride, padding) };
}

function update() {
  state.now = settings();
  const { rows, columns, stride, padding } = state.now;
  state.map = Array.from({ length: rows * columns }, (_, at) => sumAt(Math.floor(at / columns), at % columns).exact);
  byId("row").max = rows - 1;
  byId("column").max = columns - 1;
  byId("picture-size").textContent = `${SIZE + 2 * padding}×${SIZE + 2 * padding}`;
  byId("map-size").textContent = `${rows}×${columns}`;
  byId("purpose").textContent = state.own ? "Your own kernel." : windows.kernels[byId("kernel").value].purpose;
  byId("sum-difference").closest("tr").hidden = state.own;
  if (!state.own) {
    byId("sum-difference").textContent = tiny(windows.differences[`${byId("kernel").value}/${stride}/${padding}`][Number(chosen("digit"))]);
  }
  move(state.row, state.column);
}

function move(row, column) {
  const { rows, columns, stride, padding, height, width } = state.now;
  state.row = Math.max(0, Math.min(rows - 1, row));
  state.column = Math.max(0, Math.min(columns - 1, column));
  byId("row").value = state.row;
  byId("column").value = state.column;
  byId("place").textContent = `${state.row},${state.column}`;
  const table = state.values.map((weights, u) => weights.map((weight, v) => {
    const x = pixel(state.row * stride + u, state.column * stride + v, padding);
    return `${rounded(x, 4)} · ${rounded(weight, 4)} = ${rounded(x * weight, 4)}`;
  }));
  fill(byId("products"), table);
  const { exact, magnitude } = sumAt(state.row, state.column), terms = height * width;
  byId("sum-both").textContent = certain(exact, worstCase(terms) * magnitude);
  byId("sum-bound").textContent = tiny(2 * growth(terms) * magnitude);
  byId("sum-exact").textContent = rounded(exact, 13);
  draw();
}

// γ_K, and min(γ_K, λ·√K·u): see chapter 7.
const U = 2 ** -24;
const worstCase = (terms) => (terms * U) / (1 - terms * U);
const growth = (terms) => Math.min(worstCase(terms), 4 * Math.sqrt(terms) * U);

function fill(table, rows, style = () => "") {
  table.tBodies[0].replaceChildren(...rows.map((cells, i) => {
    const line = document.createElement("tr");
    line.append(...cells.map((content, j) => {
      const cell = document.createElement("td");
      cell.append(content);
      cell.className = style(i, j);
      return cell;
    }));
    return line;
  }));
}

// ---- drawing: one rectangle for each number

const mixed = (from, to, share) => `rgb(${from.map((value, n) => Math.round(value + (to[n] - value) * share)).join()})`;
const NEUTRAL = [247, 247, 247], RED = [202, 0, 32], BLUE = [5, 113, 176];
const signed = (value, scale) => mixed(NEUTRAL, value < 0 ? BLUE : RED, Math.min(1, Math.abs(value) / (scale || 1)));
const grey = (value) => mixed([0, 0, 0], [255, 255, 255], value);

function paint(canvas, rows, columns, cell, colourAt) {
  canvas.width = columns * cell;
  canvas.height = rows * cell;
  const pen = canvas.getContext("2d");
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      pen.fillStyle = colourAt(i, j);
      pen.fillRect(j * cell, i * cell, cell, cell);
    }
  }
  return pen;
}

function outline(pen, cell, row, column, height, width) {
  for (const [thickness, style] of [[5, "#000"], [3, "#ffd000"]]) {
    pen.lineWidth = thickness;
    pen.strokeStyle = style;
    pen.strokeRect(column * cell, row * cell, width * cell, height * cell);
  }
}

const CELL = 10;
function draw() {
  const { stride, padding, height, width, rows, columns } = state.now, side = SIZE + 2 * padding;
  const outside = (i, j) => i < padding || j < padding || i >= side - padding || j >= side - padding;
  const pen = paint(byId("picture"), side, side, CELL, (i, j) => (outside(i, j) ? "#274060" : grey(pixel(i, j, padding))));
  outline(pen, CELL, state.row * stride, state.column * stride, height, width);
  const map = state.map, scale = map.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const ink = paint(byId("map"), rows, columns, CELL, (i, j) => signed(map[i * columns + j], scale));
  outline(ink, CELL, state.row, state.column, 1, 1);
}

// ---- what moves the window

function onward(step) {
  const { rows, columns } = state.now, at = state.row * columns + state.column + step;
  move(Math.floor(Math.max(0, at) / columns), Math.max(0, at) % columns);
  if (at >= rows * columns) move(rows - 1, columns - 1);
  return at < rows * columns - 1;
}

function follow(canvas, place) {
  const from = (event) => {
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / canvas.clientWidth / CELL;
    move(...place((event.clientY - box.top - canvas.clientTop) * scale, (event.clientX - box.left - canvas.clientLeft) * scale));
  };
  canvas.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse" || event.buttons) from(event); });
  canvas.addEventListener("pointerdown", from);
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!steps) return;
    event.preventDefault();
    move(state.row + steps[0], state.column + steps[1]);
    byId("said").textContent = `row ${state.row}, column ${state.column}: ${byId("sum-both").textContent}`;
  });
  canvas.hidden = false;
}

follow(byId("picture"), (row, column) => {
  const { stride, height, width } = state.now;
  return [Math.round((row - height / 2) / stride), Math.round((column - width / 2) / stride)];
});
follow(byId("map"), (row, column) => [Math.floor(row), Math.floor(column)]);
byId("row").addEventListener("input", (event) => move(Number(event.target.value), state.column));
byId("column").addEventListener("input", (event) => move(state.row, Number(event.target.value)));
byId("back").addEventListener("click", () => onward(-1));
byId("forward").addEventListener("click", () => onward(1));
playButton(byId("play"), () => {
  const { rows, columns } = state.now;
  if (state.row === rows - 1 && state.column === columns - 1) { move(0, 0); return true; }
  return onward(1);
});

// ---- the kernel: chosen, or typed

function showWeights() {
  const inputs = state.values.flatMap((weights, u) => weights.map((weight, v) => {
    const input = document.createElement("input");
    input.type = "number";
    input.step = "any";
    input.value = String(Number(weight.toPrecision(4)));
    input.ariaLabel = `weight in row ${u + 1}, column ${v + 1}`;
    input.addEventListener("input", () => {
      const value = Number(input.value), size = Math.abs(value);
      const fine = input.value !== "" && (value === 0 || (size >= SMALLEST && size <= LARGEST));
      input.ariaInvalid = String(!fine);
      byId("weights-note").textContent = fine ? "" : `a weight is 0, or from ${SMALLEST} to ${LARGEST} with either sign: the one before counts`;
      if (!fine) return;
      state.values[u][v] = Math.fround(value);
      own();
    });
    return input;
  }));
  byId("weights").style.setProperty("--cols", state.values[0].length);
  byId("weights").replaceChildren(...inputs);
}

function own() {
  state.own = true;
  byId("kernel").value = "own";
  update();
}

function choose() {
  byId("weights-note").textContent = "";
  state.own = byId("kernel").value === "own";
  if (!state.own) state.values = windows.kernels[byId("kernel").value].values.map((row) => [...row]);
  showWeights();
  update();
}

byId("kernel").addEventListener("change", choose);
for (const id of ["digit", "stride", "padding"]) byId(id).addEventListener("change", update);
[state.row, state.column] = [Number(byId("row").value), Number(byId("column").value)];
choose();

// ---- chapter 3: the way back

const back = { pixel: null };

function way() {
  const kernel = Number(byId("back-kernel").value), stride = Number(chosen("back-stride")), padding = Number(chosen("back-padding"));
  const result = data.back.results[`${kernel}/${stride}/${padding}`];
  const g = result.grad_output;
  return { weights: data.back.kernels[kernel].values, stride, padding, result, g, rows: g.length, columns: g[0].length };
}

// The outputs that are shown: the chosen one, or all up to it.
function outputs() {
  const { rows, columns } = way(), last = Number(byId("output").value);
  const all = Array.from({ length: rows * columns }, (_, at) => [Math.floor(at / columns), at % columns]);
  return chosen("back-mode") === "one" ? [all[last]] : all.slice(0, last + 1);
}

// What the outputs that are shown send back: equations (2), (3) and (4), on the padded picture.
function sentBack() {
  const { weights, stride, padding, g } = way(), x = data.back.patch, size = x.length + 2 * padding;
  const dx = Array.from({ length: size }, () => Array(size).fill(0));
  const dw = weights.map((row) => row.map(() => 0));
  let db = 0;
  for (const [i, j] of outputs()) {
    db += g[i][j];
    weights.forEach((row, u) => row.forEach((weight, v) => {
      const k = i * stride + u, l = j * stride + v;
      dx[k][l] += g[i][j] * weight;
      dw[u][v] += g[i][j] * (x[k - padding]?.[l - padding] ?? 0);
    }));
  }
  return { dx, dw, db };
}

function button(text, label, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.ariaLabel = label;
  made.addEventListener("click", action);
  return made;
}

function showBack() {
  const { weights, stride, padding, g, rows, columns } = way(), x = data.back.patch, size = x.length;
  byId("output").max = rows * columns - 1;
  const [i, j] = outputs().at(-1), { dx, dw, db } = sentBack();
  const inWindow = ([a, b], [k, l]) => weights[k - a * stride]?.[l - b * stride] !== undefined;
  const through = back.pixel ? outputs().filter((output) => inWindow(output, back.pixel)) : [];
  const reached = (k, l) => (back.pixel ? k === back.pixel[0] && l === back.pixel[1] : inWindow([i, j], [k, l]));
  const cut = (k, l) => k < padding || l < padding || k >= size + padding || l >= size + padding;
  const look = (k, l) => [reached(k, l) ? "reached" : "", cut(k, l) ? "cut" : ""].join(" ").trim();
  const lies = (u, v) => through.some(([a, b]) => back.pixel[0] - a * stride === u && back.pixel[1] - b * stride === v);
  const padded = dx.map((row, k) => row.map((_, l) => plain(x[k - padding]?.[l - padding] ?? 0)));
  fill(byId("back-x"), padded, look);
  fill(byId("back-w"), weights.map((row) => row.map(plain)), (u, v) => (lies(u, v) ? "reached" : ""));
  const focused = document.activeElement?.closest?.("#back-g, #back-dx")?.id, label = document.activeElement?.ariaLabel;
  fill(byId("back-g"), g.map((row, a) => row.map((value, b) =>
    button(plain(value), `output ${a},${b}`, () => { byId("output").value = a * columns + b; back.pixel = null; showBack(); }))),
  (a, b) => {
    if (!back.pixel && a === i && b === j) return "now";
    return (back.pixel ? through : outputs()).some(([c, d]) => c === a && d === b) ? "reached" : "";
  });
  fill(byId("back-dx"), dx.map((row, k) => row.map((value, l) => (cut(k, l) ? plain(value)
    : button(plain(value), `pixel ${k - padding},${l - padding}`, () => { back.pixel = [k, l]; showBack(); })))), look);
  fill(byId("back-dw"), dw.map((row) => row.map(plain)));
  fill(byId("back-db"), [[plain(db)]]);
  if (focused) [...byId(focused).querySelectorAll("button")].find((one) => one.ariaLabel === label)?.focus();
  byId("back-words").textContent = back.pixel ? pixelWords(...back.pixel) : outputWords(i, j);
  byId("back-verdict").replaceChildren(...verdict());
}

const factor = (value) => (value < 0 ? `(${plain(value)})` : plain(value));

function outputWords(i, j) {
  const { weights, stride, g } = way(), [k, l] = [i * stride, j * stride];
  return `Output [${i},${j}] has g = ${plain(g[i][j])}. Each pixel of its window, and no other, gets g times its weight: the first one ` +
    `${plain(g[i][j])}·${factor(weights[0][0])} = ${plain(g[i][j] * weights[0][0])}. Each weight gets g times the pixel under it: the first one ` +
    `${plain(g[i][j])}·${factor(padded(k, l))} = ${plain(g[i][j] * padded(k, l))}. The bias gets g itself.`;
}

function padded(k, l) {
  const { padding } = way();
  return data.back.patch[k - padding]?.[l - padding] ?? 0;
}

function pixelWords(k, l) {
  const { weights, stride, padding, g } = way(), names = [], parts = [];
  let sum = 0;
  for (const [i, j] of outputs()) {
    const [u, v] = [k - i * stride, l - j * stride];
    if (weights[u]?.[v] === undefined) continue;
    names.push(`g[${i},${j}]·w[${u},${v}]`);
    parts.push(`${factor(g[i][j])}·${factor(weights[u][v])}`);
    sum += g[i][j] * weights[u][v];
  }
  const place = `Pixel [${k - padding},${l - padding}]`;
  if (!parts.length) return `${place} is in no window of the outputs that are shown: 0.`;
  return `${place} is in ${parts.length} window${parts.length > 1 ? "s" : ""} of the outputs that are shown: ${names.join(" + ")} = ${parts.join(" + ")} = ${plain(sum)}.`;
}

// Once all outputs are added up, the numbers of both libraries stand beside ours.
function verdict() {
  const { rows, columns, result } = way();
  if (chosen("back-mode") === "one" || outputs().length < rows * columns) {
    return [`Shown: ${outputs().length} of ${rows * columns} outputs. When all are added up, this is what NumPy and torch give.`];
  }
  const { padding } = way(), size = data.back.patch.length, { dx, dw, db } = sentBack();
  const inner = dx.slice(padding, size + padding).map((row) => row.slice(padding, size + padding));
  const ours = [...inner.flat(), ...dw.flat(), db];
  const off = (twin) => {
    const theirs = [...result[twin].grad_input.flat(), ...result[twin].grad_weight.flat(), result[twin].grad_bias];
    return Math.max(...ours.map((value, n) => Math.abs(value - theirs[n])));
  };
  return [`All outputs are added up: ${inner.flat().length} + ${dw.flat().length} + 1 numbers. NumPy’s differ from them by ${tiny(off("scratch"))}, torch’s by ${tiny(off("torch"))}.`];
}

function onwardBack(step) {
  const { rows, columns } = way(), at = Math.max(0, Math.min(rows * columns - 1, Number(byId("output").value) + step));
  byId("output").value = at;
  back.pixel = null;
  showBack();
  return at < rows * columns - 1;
}

for (const id of ["back-kernel", "back-stride", "back-padding", "back-mode"]) {
  byId(id).addEventListener("change", () => {
    const { rows, columns } = way();
    back.pixel = null;
    byId("output").max = rows * columns - 1;
    if (id !== "back-mode" && id !== "back-kernel") byId("output").value = rows * columns - 1;
    showBack();
  });
}
byId("output").addEventListener("input", () => { back.pixel = null; showBack(); });
byId("back-back").addEventListener("click", () => onwardBack(-1));
byId("back-forward").addEventListener("click", () => onwardBack(1));
playButton(byId("back-play"), () => {
  const { rows, columns } = way();
  if (Number(byId("output").value) === rows * columns - 1) { byId("output").value = 0; showBack(); return true; }
  return onwardBack(1);
});
byId("output").value = 0;
showBack();

// ---- who comes back to the page finds the controls as they were left, set after this script has run

addEventListener("pageshow", () => {
  if (byId("kernel").value === "own" && !state.own) byId("kernel").value = "0"; // the weights that were typed are gone
  if (!state.own) choose();
  count();
  showBack();
});

// ---- on paper everything is open

let shut = [];
addEventListener("beforeprint", () => {
  shut = [...document.querySelectorAll("details:not([open])")];
  for (const one of shut) one.open = true;
});
addEventListener("afterprint", () => { for (const one of shut) one.open = false; });
