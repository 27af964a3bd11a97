"use strict";
// Tables that are sorted and filtered, players of which one plays at a time, and the blind test.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const make = (name, properties) => Object.assign(document.createElement(name), properties);

function sortable(table) {
  const body = table.tBodies[0];
  const heads = all("thead th", table);
  const key = (row, place) => {
    const cell = row.cells[place];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
  };
  const compare = (a, b) => {
    const numbers = (typeof b === "number") - (typeof a === "number"); // whoever has no number stands last
    return numbers || (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  };
  heads.forEach((head, place) => {
    const button = make("button", { type: "button", textContent: head.textContent });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((one, other) => compare(key(one, place), key(other, place)));
      body.append(...(down ? rows.reverse() : rows));
    });
  });
}

function filterable(table) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 8) return;
  const input = make("input", { type: "search", size: 24 });
  const label = make("label", { className: "filter", textContent: "Filter " });
  const count = table.closest("details").querySelector(".count");
  label.append(input);
  table.closest(".scroll").before(label);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = shown === rows.length ? rows.length : `${shown} of ${rows.length}`;
  });
}

const drawing = (name, path) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const shape = document.createElementNS(svg.namespaceURI, "path");
  shape.setAttribute("d", path);
  svg.setAttribute("viewBox", "0 0 14 14");
  svg.setAttribute("class", name);
  svg.setAttribute("aria-hidden", "true");
  svg.append(shape);
  return svg;
};

// The browser's own controls serve where there are no scripts; these have the spectrogram as their slider.
function playable(player) {
  const audio = player.querySelector("audio");
  if (!audio) return;
  const name = audio.getAttribute("aria-label");
  const picture = player.querySelector(".spectrogram");
  const head = player.querySelector(".head");
  const controls = make("div", { className: "controls" });
  const button = make("button", { type: "button", title: "Play or pause; the arrow keys go a second back and on" });
  const time = make("span", { className: "time" });
  button.append(drawing("play", "M3 1l10 6-10 6z"), drawing("pause", "M2 1h4v12H2zM8 1h4v12H8z"));
  controls.append(button, time);
  audio.removeAttribute("controls");
  audio.after(controls);
  const show = () => {
    button.setAttribute("aria-label", `${audio.paused ? "Play" : "Pause"} ${name}`);
    player.classList.toggle("playing", !audio.paused);
    head.style.left = `${(100 * audio.currentTime) / (audio.duration || 1)}%`;
    time.textContent = `${audio.currentTime.toFixed(1)} / ${(audio.duration || 0).toFixed(1)} s`;
  };
  const follow = () => {
    show();
    if (!audio.paused) requestAnimationFrame(follow);
  };
  const start = () => {
    hush(audio);
    audio.play().catch(show); // another was started meanwhile
  };
  for (const event of ["loadedmetadata", "pause", "ended", "seeked"]) audio.addEventListener(event, show);
  audio.addEventListener("play", follow);
  button.addEventListener("click", () => (audio.paused ? start() : audio.pause()));
  button.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    audio.currentTime = Math.min(Math.max(0, audio.currentTime + step), audio.duration || 0);
    event.preventDefault();
  });
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    audio.currentTime = ((audio.duration || 0) * (event.clientX - box.left)) / box.width;
    start();
  });
  show();
}

function hush(but) {
  for (const other of [...all("audio"), blind]) if (other !== but) other.pause();
}

// Mulberry32, by Tommy Ettinger: the same order for the same seed.
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(pairs, seed) {
  const draw = random(seed);
  const order = pairs.map(([one, other, text]) => (draw() < 0.5 ? [one, other, text] : [other, one, text]));
  for (let last = order.length - 1; last > 0; last--) {
    const place = Math.floor(draw() * (last + 1));
    [order[last], order[place]] = [order[place], order[last]];
  }
  return order;
}

function listeningTest() {
  const { version, pairs } = JSON.parse(document.getElementById("listening-pairs").textContent);
  const box = document.querySelector(".test");
  if (!box || !pairs.length) return;
  const at = (name) => document.getElementById(name);
  const sources = new Map(all("[data-sample]").map((player) => [player.dataset.sample, player.querySelector("audio")]));
  const seed = crypto.getRandomValues(new Uint32Array(1))[0];
  const hex = (byte) => byte.toString(16).padStart(2, "0");
  const test = Array.from(crypto.getRandomValues(new Uint8Array(16)), hex).join("");
  const order = shuffled(pairs, seed);
  const answers = [];
  const choices = all("[data-preferred]", box);
  const plays = [at("play-first"), at("play-second")];
  let heard = new Set();

  function ask() {
    heard = new Set();
    const done = answers.length === order.length;
    at("test-progress").value = answers.length;
    at("test-place").textContent = done ? "All answered" : `Pair ${answers.length + 1} of ${order.length}`;
    at("test-text").textContent = done ? "Thank you. Save your answers, please." : `“${order[answers.length][2]}”`;
    at("test-save").disabled = !answers.length;
    for (const button of plays) {
      button.classList.remove("heard");
      button.disabled = done;
    }
    for (const choice of choices) choice.disabled = true;
  }
  plays.forEach((button, side) =>
    button.addEventListener("click", () => {
      blind.src = sources.get(order[answers.length][side]).src;
      hush(blind);
      blind.play().catch(() => {}); // the other was started meanwhile
      heard.add(side);
      button.classList.add("heard");
      for (const choice of choices) choice.disabled = heard.size < 2;
      at("test-said").textContent = heard.size < 2 ? "Hear the other one, too." : "";
    }),
  );
  for (const choice of choices) {
    choice.addEventListener("click", () => {
      const [first, second] = order[answers.length];
      answers.push({ first, second, preferred: choice.dataset.preferred });
      blind.pause();
      ask();
      at("test-said").textContent = `${answers.length} answered.`;
      plays[0].focus();
    });
  }
  at("test-save").addEventListener("click", () => {
    const told = { kind: "valle-listening-test", test, version, seed, listener: at("test-listener").value, answers };
    const link = make("a", {
      href: URL.createObjectURL(new Blob([JSON.stringify(told, null, 1)], { type: "application/json" })),
      download: `ratings-${test.slice(0, 8)}.json`,
    });
    link.click();
    at("test-said").textContent = `Saved as ${link.download}: valle ratings ${link.download} takes it. For another hearing, load this page again.`;
  });
  at("test-seed").textContent = seed;
  box.hidden = false;
  ask();
}

const blind = new Audio();
all("table").forEach(sortable);
all("table").forEach(filterable);
all(".player").forEach(playable);
listeningTest();
