"use strict";
// The map of explorer.py's data on a canvas. Names of tracks and genres are set as text, never as HTML.
(() => {
  const $ = (id) => document.getElementById(id);
  const given = JSON.parse($("data").textContent);
  const unpack = ({ type, data }) =>
    new window[type](Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)).buffer);
  const { ids, genres, splits, sounds } = given;
  const [genre, split, place, nearest, distance] =
    ["genre", "split", "place", "nearest", "distance"].map((name) => unpack(given[name]));
  const predicted = given.predicted && unpack(given.predicted), percent = given.percent && unpack(given.percent);
  const N = ids.length, K = nearest.length / N, FINE = 65535, DISTANCES = 10000;

  const canvas = $("canvas"), pen = canvas.getContext("2d");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const hidden = new Set(); // numbers of genres
  let colour = genre, shown = [], ready = {}, seen = null, selected = -1, hovered = -1, wanted = false;
  const view = { x: 0.5, y: 0.5, zoom: 1 }; // the middle of the canvas, and how far it is magnified

  // ---------------------------------------------------------------- which tracks are shown

  const isWrong = (i) => predicted && predicted[i] !== genre[i];

  function choose() {
    const part = splits.indexOf($("split").value), wrong = $("wrong").checked;
    shown = [];
    for (let i = 0; i < N; i++)
      if (!hidden.has(colour[i]) && (part < 0 || split[i] === part) && (!wrong || isWrong(i))) shown.push(i);
    const right = splits.map((name, s) => { // each for itself: it has learned the training tracks
      const there = shown.filter((i) => split[i] === s), good = there.filter((i) => !isWrong(i)).length;
      return there.length && `${name} ${((100 * good) / there.length).toFixed(1)} %`;
    }).filter(Boolean), number = (n) => n.toLocaleString("en");
    $("status").textContent = `${number(shown.length)} of ${number(N)} tracks shown` +
      (predicted && shown.length ? `, classified right: ${right.join(", ")}` : "");
    hovered = -1;
    show();
  }

  // ---------------------------------------------------------------- drawing

  const extent = [0.01, 0.01]; // of the map, in place's units of FINE
  place.forEach((value, n) => (extent[n % 2] = Math.max(extent[n % 2], value / FINE)));
  const unit = () => Math.min(canvas.clientWidth / extent[0], canvas.clientHeight / extent[1]) * 0.93 * view.zoom;
  const toX = (i) => canvas.clientWidth / 2 + (place[2 * i] / FINE - view.x) * unit();
  const toY = (i) => canvas.clientHeight / 2 - (place[2 * i + 1] / FINE - view.y) * unit();
  const room = () => Math.sqrt((canvas.clientWidth * canvas.clientHeight) / shown.length); // of a point
  const radius = () => Math.min(8, Math.max(1.6, 0.15 * room() * view.zoom ** 0.4 + 1));

  function tint(hex) { // on a dark page halfway to white, where it is too dark to be seen
    const parts = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const light = (0.3 * parts[0] + 0.59 * parts[1] + 0.11 * parts[2]) / 255;
    const add = dark.matches ? Math.max(0.1, 0.62 - light) : 0;
    return `rgb(${parts.map((part) => Math.round(part + (255 - part) * add))})`;
  }

  function sprite(number, r, alpha) { // four shapes in turn, so that no genre is told by its colour alone
    const made = document.createElement("canvas"), scale = devicePixelRatio || 1;
    made.width = made.height = Math.ceil(2 * (r + 1.5) * scale);
    const p = made.getContext("2d"), c = r + 1.5;
    p.scale(scale, scale);
    p.globalAlpha = alpha;
    p.fillStyle = tint(given.colours[number]);
    p.strokeStyle = dark.matches ? "#1b222a" : "#ffffff";
    p.lineWidth = 0.6;
    const corners = [null, [[-1, -1], [1, -1], [1, 1], [-1, 1]], [[0, -1.3], [1.2, 0.9], [-1.2, 0.9]],
      [[0, -1.35], [1.35, 0], [0, 1.35], [-1.35, 0]]][number % 4];
    p.beginPath();
    if (corners) corners.forEach(([x, y]) => p.lineTo(c + x * r * 0.88, c + y * r * 0.88));
    else p.arc(c, c, r, 0, 7);
    p.closePath();
    p.fill();
    if (r > 2) p.stroke();
    return made;
  }

  function stamp(number, r, alpha, stride) { // its pixels as triples: where from the corner, colour, weight of 256
    const made = sprite(number, r, alpha), { width, height } = made, pixels = [];
    new Uint32Array(made.getContext("2d").getImageData(0, 0, width, height).data.buffer).forEach((word, at) => {
      const weight = word >>> 24;
      if (weight > 8) pixels.push(Math.floor(at / width) * stride + (at % width), word, weight + (weight >> 7));
    });
    return Int32Array.from(pixels);
  }

  function show() { // once a frame, however often it is asked for
    if (!wanted) requestAnimationFrame(draw);
    wanted = true;
  }

  function prepare(scale, r) { // what stays the same while the map is moved
    const width = Math.round(canvas.clientWidth * scale), height = Math.round(canvas.clientHeight * scale);
    const key = [width, height, r, scale, dark.matches].join();
    if (ready.key === key) return;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const edge = Math.ceil(2 * (r + 1.5) * scale), image = pen.createImageData(width + 2 * edge, height + 2 * edge);
    const [sprites, faded] = [0.85, 0.1].map((alpha) => genres.map((_, n) => stamp(n, r, alpha, image.width)));
    ready = { key, edge, image, pixels: new Uint32Array(image.data.buffer), sprites, faded };
  }

  function draw() { // the points pixel by pixel, several times faster than drawImage where there is no GPU
    wanted = false;
    const scale = devicePixelRatio || 1, r = radius(), u = unit() * scale, half = (r + 1.5) * scale;
    prepare(scale, r);
    const { image, edge, pixels } = ready, { width, height } = image, { imul, round } = Math;
    const left = width / 2 - view.x * u - half, top = height / 2 + view.y * u - half;
    pixels.fill(dark.matches ? 0xff2a221b : 0xffffffff); // --card, as bytes run
    for (const i of shown) {
      const x = round(left + (place[2 * i] / FINE) * u), y = round(top - (place[2 * i + 1] / FINE) * u);
      if (x < 0 || y < 0 || x > width - edge || y > height - edge) continue; // there is an edge all round
      const made = (seen === null || seen === colour[i] ? ready.sprites : ready.faded)[colour[i]];
      for (let k = 0, from = y * width + x; k < made.length; k += 3) {
        const at = from + made[k], word = made[k + 1], a = made[k + 2], b = 256 - a, there = pixels[at];
        pixels[at] = 0xff000000 |
          (((imul(there & 0xff00ff, b) + imul(word & 0xff00ff, a)) >>> 8) & 0xff00ff) |
          ((imul((there >> 8) & 0xff, b) + imul((word >> 8) & 0xff, a)) & 0xff00);
      }
    }
    pen.putImageData(image, -edge, -edge);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    if (selected >= 0) drawSelected(r);
    if (hovered >= 0) ring(hovered, r + 3, 2);
  }

  function drawSelected(r) {
    pen.strokeStyle = dark.matches ? "#e6ebf0" : "#1d2733";
    pen.lineWidth = 1;
    pen.globalAlpha = 0.55;
    pen.beginPath();
    for (const j of near(selected)) {
      pen.moveTo(toX(selected), toY(selected));
      pen.lineTo(toX(j), toY(j));
    }
    pen.stroke();
    pen.globalAlpha = 1;
    for (const j of [selected, ...near(selected)]) {
      pen.drawImage(sprite(colour[j], r, 1), toX(j) - r - 1.5, toY(j) - r - 1.5, 2 * (r + 1.5), 2 * (r + 1.5));
      ring(j, r + (j === selected ? 5 : 2), j === selected ? 3 : 1.3);
    }
  }

  function ring(i, r, width) {
    pen.strokeStyle = dark.matches ? "#ffffff" : "#1d2733";
    pen.lineWidth = width;
    pen.beginPath();
    pen.arc(toX(i), toY(i), r, 0, 7);
    pen.stroke();
  }

  // ---------------------------------------------------------------- moving about

  function at(x, y, most) { // the shown track nearest to a place on the canvas; all are looked at: that takes no time
    let best = -1, least = most * most;
    for (const i of shown) {
      const d = (toX(i) - x) ** 2 + (toY(i) - y) ** 2;
      if (d <= least) [best, least] = [i, d];
    }
    return best;
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) { // about a place that stays
    const before = unit(), dx = x - canvas.clientWidth / 2, dy = canvas.clientHeight / 2 - y;
    view.zoom = Math.min(200, Math.max(0.5, view.zoom * factor));
    view.x += dx / before - dx / unit();
    view.y += dy / before - dy / unit();
    show();
  }

  function whole() {
    Object.assign(view, { x: extent[0] / 2, y: extent[1] / 2, zoom: 1 });
    show();
  }

  const fingers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, event);
    canvas.setPointerCapture(event.pointerId);
    if (fingers.size === 1) moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return hover(event);
    const others = [...fingers.values()].filter((finger) => finger.pointerId !== event.pointerId);
    const dx = event.offsetX - before.offsetX, dy = event.offsetY - before.offsetY;
    if (others.length) {
      const apart = (one) => Math.hypot(one.offsetX - others[0].offsetX, one.offsetY - others[0].offsetY) || 1;
      zoom(apart(event) / apart(before), others[0].offsetX, others[0].offsetY);
    } else {
      view.x -= dx / unit();
      view.y += dy / unit();
    }
    moved += Math.abs(dx) + Math.abs(dy);
    fingers.set(event.pointerId, event);
    $("tip").hidden = true;
    show();
  });
  canvas.addEventListener("pointerup", (event) => {
    const touch = event.pointerType === "touch";
    if (fingers.size === 1 && moved < (touch ? 12 : 5)) {
      const found = at(event.offsetX, event.offsetY, touch ? 24 : radius() + 6);
      if (found >= 0) select(found, { play: true });
    }
    fingers.delete(event.pointerId);
  });
  canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => { hovered = -1; $("tip").hidden = true; show(); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(2 ** (-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), event.offsetX, event.offsetY);
  }, { passive: false });

  function hover(event) {
    const found = at(event.offsetX, event.offsetY, radius() + 4), tip = $("tip");
    if (found !== hovered) show();
    hovered = found;
    tip.hidden = found < 0;
    if (found < 0) return;
    tip.textContent = `${ids[found]}\n${facts(found).map(([name, value]) => `${name}: ${value}`).join("\n")}`;
    const room = canvas.clientWidth - tip.offsetWidth - 4, over = event.offsetY - tip.offsetHeight - 14;
    tip.style.left = `${Math.max(4, Math.min(room, event.offsetX + 14))}px`;
    tip.style.top = `${over > 0 ? over : event.offsetY + 18}px`;
  }

  // ---------------------------------------------------------------- one track

  const near = (i) => nearest.subarray(i * K, i * K + K);
  const facts = (i) => [
    ["genre", genres[genre[i]]],
    ...(predicted ? [["predicted", `${genres[predicted[i]]}, ${percent[i]} %${isWrong(i) ? " (wrong)" : ""}`]] : []),
    ["split", splits[split[i]]],
  ];

  function element(name, text, ...children) {
    const made = document.createElement(name);
    made.textContent = text;
    made.append(...children);
    return made;
  }

  function entry(number, name, value, act) { // a button with the sign of a genre
    const button = element("button", "", sprite(number, 5, 1), element("b", name), element("i", value));
    button.type = "button";
    button.title = name;
    button.addEventListener("click", act);
    return button;
  }

  function select(i, { play = false, move = false } = {}) {
    selected = i;
    if (move || !inView(i)) Object.assign(view, { x: place[2 * i] / FINE, y: place[2 * i + 1] / FINE });
    $("panel").hidden = false;
    $("name").textContent = ids[i];
    $("facts").replaceChildren(...facts(i).flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
    $("neighbours").replaceChildren(...Array.from(near(i), (j, rank) => element("li", "", entry(
      colour[j], `${ids[j]}  ${genres[colour[j]]}`, (distance[i * K + rank] / DISTANCES).toFixed(3), () => {
        select(j, { play: true, move: true });
        $("neighbours").querySelector("button").focus();
      }))));
    canvas.setAttribute("aria-label", `Map of the tracks, at ${ids[i]}, ${facts(i).flat().join(" ")}`);
    sound(i, play);
    show();
  }

  function sound(i, play) {
    const audio = $("audio"), source = sounds[i];
    audio.hidden = !source;
    $("silent").textContent = source ? "" : sounds.length ? "No audio of this track here." :
      "The page was made without audio (explore.py explains how to hear the tracks).";
    if (audio.dataset.track !== ids[i]) {
      audio.pause();
      audio.dataset.track = ids[i];
      if (source) audio.src = source;
      else audio.removeAttribute("src");
    }
    if (source && play) audio.play().catch(() => {}); // what is wrong is told by its error event
  }

  $("audio").addEventListener("error", () => {
    if (sounds[selected]) $("silent").textContent = "Its audio is not where it was when this page was made.";
  });

  function close() {
    selected = -1;
    $("audio").pause();
    $("panel").hidden = true;
    canvas.setAttribute("aria-label", "Map of the tracks");
    show();
  }

  const inView = (i) => toX(i) > 0 && toY(i) > 0 && toX(i) < canvas.clientWidth && toY(i) < canvas.clientHeight;

  // ---------------------------------------------------------------- keyboard

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  function step([dx, dy]) { // to the nearest shown track in that direction, within 45 degrees of it
    if (selected < 0) return select(at(canvas.clientWidth / 2, canvas.clientHeight / 2, 1e9));
    let best = -1, least = Infinity;
    for (const i of shown) {
      const x = place[2 * i] - place[2 * selected], y = place[2 * i + 1] - place[2 * selected + 1];
      const ahead = x * dx + y * dy, aside = Math.abs(x * dy) + Math.abs(y * dx);
      if (ahead > 0 && aside <= ahead && ahead + aside < least) [best, least] = [i, ahead + aside];
    }
    if (best >= 0) select(best);
  }

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (ARROWS[event.key] && shown.length) step(ARROWS[event.key]);
    else if (event.key === "Enter" && selected >= 0) sound(selected, true);
    else if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0") whole();
    else return;
    event.preventDefault();
  });
  for (const list of ["neighbours", "legend", "found"])
    $(list).addEventListener("keydown", (event) => { // up and down go through a list
      const way = { ArrowDown: 1, ArrowUp: -1 }[event.key], all = [...$(list).querySelectorAll("button")];
      const next = way && all[all.indexOf(document.activeElement) + way];
      if (next) { next.focus(); event.preventDefault(); }
    });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || selected < 0) return;
    close();
    canvas.focus();
  });

  // ---------------------------------------------------------------- controls

  function find() {
    const text = $("search").value.trim().toLowerCase(), found = [];
    for (let i = 0; text && i < N && found.length < 8; i++) if (ids[i].toLowerCase().includes(text)) found.push(i);
    const exact = text ? ids.findIndex((id) => id.toLowerCase() === text) : -1;
    if (exact >= 0 && !found.includes(exact)) found.unshift(exact);
    found.sort((one, other) => (other === exact) - (one === exact));
    $("found").replaceChildren(...found.map((i) =>
      element("li", "", entry(colour[i], ids[i], genres[colour[i]], () => select(i, { move: true, play: true })))));
    if (text && !found.length) $("found").append(element("li", "no track has that in its id"));
    return found[0];
  }

  $("search").addEventListener("input", find);
  $("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    const first = find();
    if (first !== undefined) select(first, { move: true, play: true });
  });
  $("colour").addEventListener("change", () => {
    colour = $("colour").value === "predicted" ? predicted : genre;
    legend();
    find();
    if (selected >= 0) select(selected);
    choose();
  });
  $("split").addEventListener("change", choose);
  $("wrong").addEventListener("change", choose);
  $("nearer").addEventListener("click", () => zoom(1.5));
  $("farther").addEventListener("click", () => zoom(1 / 1.5));
  $("whole").addEventListener("click", whole);
  $("close").addEventListener("click", () => { close(); canvas.focus(); });
  $("every").addEventListener("click", () => { hidden.clear(); legend(); choose(); });
  $("none").addEventListener("click", () => { genres.forEach((_, n) => hidden.add(n)); legend(); choose(); });

  function legend() {
    const count = new Array(genres.length).fill(0);
    colour.forEach((number) => count[number]++);
    $("legend").replaceChildren(...genres.map((name, number) => {
      const button = entry(number, name, count[number].toLocaleString("en"), () => {
        if (!hidden.delete(number)) hidden.add(number);
        button.setAttribute("aria-pressed", !hidden.has(number));
        choose();
      });
      button.setAttribute("aria-pressed", !hidden.has(number));
      const light = { mouseenter: number, focus: number, mouseleave: null, blur: null };
      for (const [event, value] of Object.entries(light))
        button.addEventListener(event, () => { seen = value; show(); });
      return button;
    }));
  }

  for (const name of splits) $("split").append(new Option(`${name} only`, name));
  $("colour-by").hidden = $("only-wrong").hidden = !predicted;
  dark.addEventListener("change", () => { legend(); if (selected >= 0) select(selected); show(); });
  new ResizeObserver(show).observe(canvas);
  legend();
  whole();
  choose();
})();
