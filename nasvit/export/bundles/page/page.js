// Classifies pictures that people choose, drop, paste or photograph; ?image=FILE classifies one of this server.

import * as ort from "./onnxruntime-web/ort.wasm.bundle.min.mjs";
import { numbersOf, planesOf, softmax } from "./pixels.js";

const SHOWN = 5; // classes of a picture
const RUNS = 9; // of which the median is shown; fewer of a slow network
const LONGEST = 1500; // milliseconds, for all runs of a picture
const LARGEST = 16e6; // pixels of a canvas that every phone has memory for

const network = JSON.parse(document.getElementById("network").textContent);
const list = document.getElementById("pictures");
const drop = document.getElementById("drop");
const shown = []; // { planes, item } of every picture
const sessions = new Map(); // name of a file -> promise of its session
let last = Promise.resolve(); // one thing at a time

ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
ort.env.wasm.wasmPaths = { wasm: new URL("onnxruntime-web/ort-wasm-simd-threaded.wasm", import.meta.url).href };

function say(text, bad = false) {
  const state = document.getElementById("state");
  state.textContent = text;
  state.classList.toggle("bad", bad);
}

function chosenFile() {
  return document.querySelector("input[name=file]:checked")?.value ?? network.files[0];
}

function session(file) {
  if (!sessions.has(file)) {
    const loaded = ort.InferenceSession.create(new URL(file, import.meta.url).href, { executionProviders: ["wasm"] });
    loaded.catch(() => sessions.delete(file)); // so that the next try loads it again
    sessions.set(file, loaded);
  }
  return sessions.get(file);
}

/** Run a task after all earlier ones; what goes wrong is shown and stops nothing else. */
function enqueue(task) {
  last = last.then(task).catch((error) => say(inWords(error), true));
  return last;
}

function inWords(error) {
  if (location.protocol === "file:") return "Browsers load networks from a server only: python -m http.server, then open its address.";
  return error.message ?? String(error);
}

async function classify(planes) {
  const loaded = await session(chosenFile());
  const { channels, side } = network.input;
  const pixels = new ort.Tensor("float32", numbersOf(planes), [1, channels, side, side]);
  const times = [];
  const began = performance.now();
  let scores;
  while (times.length < RUNS && (times.length === 0 || performance.now() - began < LONGEST)) {
    const start = performance.now();
    scores = (await loaded.run({ [network.input.name]: pixels }))[network.output];
    times.push(performance.now() - start);
  }
  times.sort((one, other) => one - other);
  return { probabilities: softmax(scores.data), median: times[Math.floor(times.length / 2)], runs: times.length };
}

/** RGBA of a picture, turned as its camera says, colors as they are stored, what is transparent on white. */
async function decoded(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  } catch {
    throw new Error("This is no picture that the browser can read.");
  }
  const scale = Math.min(1, Math.sqrt(LARGEST / (bitmap.width * bitmap.height)));
  const [width, height] = [bitmap.width, bitmap.height].map((edge) => Math.max(1, Math.round(edge * scale)));
  const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

function add(tag, parent, text = "", style = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = style;
  parent.append(made);
  return made;
}

function drawn(planes) {
  const { side } = network.input;
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side, title: "As the network sees it" });
  const image = new ImageData(side, side);
  for (let at = 0; at < side * side; at += 1) {
    for (let channel = 0; channel < 3; channel += 1) image.data[4 * at + channel] = planes[channel % planes.length][at];
    image.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

async function show(blob, name) {
  const item = document.createElement("li");
  list.prepend(item);
  try {
    const planes = planesOf(await decoded(blob), network.input);
    const figure = add("figure", item);
    Object.assign(add("img", figure), { src: URL.createObjectURL(blob), alt: name });
    figure.append(drawn(planes));
    const picture = { planes, name, told: add("div", item) };
    await tell(picture);
    shown.push(picture);
  } catch (error) {
    item.replaceChildren();
    add("p", item, `${name}: ${inWords(error)}`, "bad");
  }
}

async function tell({ planes, name, told }) {
  const { probabilities, median, runs } = await classify(planes);
  const best = probabilities.map((_, index) => index).sort((one, other) => probabilities[other] - probabilities[one]);
  told.replaceChildren();
  add("p", told, network.classes[best[0]], "best");
  const took = `${median < 10 ? median.toFixed(2) : median.toFixed(0)} ms`;
  add("p", told, `${took} · ${name}`, "about").title = `median of ${runs} runs of the network`;
  const bars = add("ol", told, "", "classes");
  for (const index of best.slice(0, SHOWN)) {
    const bar = add("li", bars);
    bar.style.setProperty("--share", probabilities[index]);
    Object.assign(bar.dataset, { class: network.classes[index], probability: probabilities[index] });
    add("span", bar, network.classes[index]);
    add("span", bar, `${(100 * probabilities[index]).toFixed(1)}%`);
  }
}

function take(files) {
  for (const file of files) enqueue(() => show(file, file.name));
}

for (const input of document.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // so that the same picture can be chosen again
  });
}
for (const input of document.querySelectorAll("input[name=file]")) {
  input.addEventListener("change", () => shown.forEach((picture) => enqueue(() => tell(picture))));
}
addEventListener("paste", (event) => take(event.clipboardData.files));
addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget === null && drop.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take(event.dataTransfer.files);
});

await enqueue(async () => {
  await session(chosenFile());
  say("");
});
const asked = new URLSearchParams(location.search).getAll("image");
for (const address of asked) {
  await enqueue(async () => {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`${address}: ${answer.status} ${answer.statusText}`);
    await show(await answer.blob(), address);
  });
}
