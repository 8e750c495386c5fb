"use strict";
// Plays the movie of each run: tiles of one image on a canvas, and the displacement below it.

function length(value) {
  return value === null ? "n/a" : `${value.toFixed(2)} mm`;
}

function startPlayer(root) {
  const track = JSON.parse(root.querySelector(".track").textContent);
  const sheet = root.querySelector(".sheet");
  const screen = root.querySelector(".screen");
  const trace = root.querySelector(".fd");
  const play = root.querySelector(".play");
  const slider = root.querySelector(".frame");
  const speed = root.querySelector("select");
  const said = root.querySelector(".said");
  const [width, height] = track.tile;
  const last = track.shown.length - 1;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const margin = { left: 34, right: 4, top: 18, bottom: 6 };
  let at = 0;
  let timer = null;
  // picture, trace and controls fit on a screen together
  root.style.maxWidth = `max(20rem, calc(62vh * ${width / height}))`;

  function frame() {
    return track.shown[at];
  }

  function fitted(canvas, cssHeight) {
    const ratio = window.devicePixelRatio || 1;
    const cssWidth = canvas.clientWidth || 600;
    const tall = cssHeight(cssWidth);
    canvas.width = Math.round(cssWidth * ratio);
    canvas.height = Math.round(tall * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    return [context, cssWidth, tall];
  }

  function drawScreen() {
    const [context, wide, tall] = fitted(screen, (w) => (w * height) / width);
    if (sheet.complete && sheet.naturalWidth > 0) {
      const x = (at % track.columns) * width;
      const y = Math.floor(at / track.columns) * height;
      context.imageSmoothingQuality = "high";
      context.drawImage(sheet, x, y, width, height, 0, 0, wide, tall);
    }
    context.font = "600 13px system-ui, sans-serif";
    context.fillStyle = "#ffffff";
    context.shadowColor = "#000000";
    context.shadowBlur = 4;
    context.fillText("before", 8, 18);
    context.fillText("after", 8, tall / 2 + 18);
  }

  function drawTrace() {
    const [context, wide, tall] = fitted(trace, () => trace.clientHeight || 99);
    const colors = getComputedStyle(root);
    const color = (name) => colors.getPropertyValue("--" + name).trim();
    const step = (wide - margin.left - margin.right) / track.frames;
    const highest = Math.max(1.5 * track.threshold, ...track.before.map((v) => v || 0)) * 1.05;
    const bottom = tall - margin.bottom;
    const x = (t) => margin.left + (t + 0.5) * step;
    const y = (value) => bottom - (value / highest) * (bottom - margin.top);

    context.fillStyle = color("uncorrected");
    track.uncorrected.forEach((yes, t) => {
      if (yes) context.fillRect(x(t) - step / 2, margin.top, step, bottom - margin.top);
    });
    track.status.forEach((status, t) => {
      if (status === "ok") return;
      context.fillStyle = color(status) || color("ink");
      context.fillRect(x(t) - step / 2, bottom, Math.max(step, 2), 4);
    });
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = color("quiet");
    context.textAlign = "left";
    context.fillText("Framewise displacement, mm", margin.left, 12);
    context.textAlign = "right";
    for (const value of [0, highest / 1.05, track.threshold]) {
      // a label that would cover another is left out
      if (value === track.threshold && Math.min(y(0) - y(value), y(value) - margin.top) < 14) continue;
      context.fillText(value.toFixed(1), margin.left - 6, y(value) + 4);
    }
    context.strokeStyle = color("threshold");
    context.setLineDash([5, 3]);
    line(context, [[margin.left, y(track.threshold)], [wide - margin.right, y(track.threshold)]]);
    context.setLineDash([]);
    context.lineWidth = 1.3;
    for (const name of ["before", "after"]) {
      context.strokeStyle = color(name);
      line(context, track[name].map((value, t) => (value === null ? null : [x(t), y(value)])));
    }
    context.strokeStyle = color("ink");
    context.lineWidth = 1.5;
    line(context, [[x(frame()), margin.top - 3], [x(frame()), tall]]);
  }

  function line(context, points) {
    let drawing = false;
    context.beginPath();
    for (const point of points) {
      if (point === null) {
        drawing = false;
      } else if (drawing) {
        context.lineTo(point[0], point[1]);
      } else {
        context.moveTo(point[0], point[1]);
        drawing = true;
      }
    }
    context.stroke();
  }

  function say() {
    const t = frame();
    const text =
      `Frame ${t} of ${track.frames - 1} · FD ${length(track.before[t])}, ` +
      `after correction ${length(track.after[t])} · ${track.status[t]}` +
      (track.uncorrected[t] ? ", not corrected" : "");
    said.textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }

  function draw() {
    drawScreen();
    drawTrace();
  }

  function go(to) {
    at = Math.min(Math.max(to, 0), last);
    slider.value = String(at);
    root.dataset.frame = String(frame());
    say();
    draw();
  }

  function stop() {
    window.clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }

  function start() {
    stop();
    timer = window.setInterval(() => go(at === last ? 0 : at + 1), 1000 / Number(speed.value));
    play.textContent = "Pause";
  }

  function toggle() {
    if (timer === null) start();
    else stop();
  }

  function pick(event) {
    const box = trace.getBoundingClientRect();
    const share = (event.clientX - box.left - margin.left) / (box.width - margin.left - margin.right);
    const place = track.shown.findIndex((t) => t >= Math.floor(share * track.frames));
    stop();
    go(place === -1 ? last : place);
  }

  const keys = {
    ArrowLeft: () => go(at - 1),
    ArrowRight: () => go(at + 1),
    Home: () => go(0),
    End: () => go(last),
  };
  root.addEventListener("keydown", (event) => {
    if (event.target === speed || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === " ") {
      if (event.target === play) return; // the button does it by itself
      toggle();
    } else if (event.key in keys) {
      stop();
      keys[event.key]();
    } else {
      return;
    }
    event.preventDefault();
  });
  play.addEventListener("click", toggle);
  slider.addEventListener("input", () => {
    stop();
    go(Number(slider.value));
  });
  speed.addEventListener("change", () => {
    if (timer !== null) start();
  });
  screen.addEventListener("click", () => {
    slider.focus({ preventScroll: true });
    toggle();
  });
  trace.addEventListener("pointerdown", (event) => {
    slider.focus({ preventScroll: true });
    pick(event);
  });
  trace.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) pick(event);
  });
  if (still.matches) speed.value = "2";
  sheet.addEventListener("load", draw);
  new ResizeObserver(draw).observe(root);
  for (const query of ["(prefers-color-scheme: dark)", "print"]) {
    window.matchMedia(query).addEventListener("change", draw);
  }
  go(0);
}

document.querySelectorAll(".movie").forEach(startPlayer);
