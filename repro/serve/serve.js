"use strict";
// Images that are dropped, pasted or chosen are sent one after the other; each answer is shown above those before.
const main = document.querySelector("main");
const status = document.querySelector("#status");
let last = Promise.resolve();

function say(text, failed = false) {
  status.textContent = text;
  status.classList.toggle("failed", failed);
}

function filled(id) {
  return document.querySelector(`#${id}`).content.firstElementChild.cloneNode(true);
}

async function answer(file) {
  const most = Number(main.dataset.mostBytes);
  if (file.size > most) throw new Error(`it has ${(file.size / 2 ** 20).toFixed(1)} MiB, more than ${(most / 2 ** 20).toFixed(0)}`);
  const reply = await fetch("label" + location.search, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
  if (reply.headers.get("Content-Type")?.startsWith("application/json")) {
    const found = await reply.json();
    if (found.error) throw new Error(found.error);
    return found;
  }
  throw new Error(`the server answered ${reply.status} ${reply.statusText}`);
}

function show(name, found) {
  const result = filled("result");
  result.querySelector("h2").textContent = `${name}, labelled at ${found.width}x${found.height}`;
  for (const net of found.nets) {
    const figure = filled("net");
    figure.querySelector("strong").textContent = net.name;
    figure.querySelector("figcaption span").textContent = `${net.seconds.toFixed(2)} s`;
    const [photograph, labels] = figure.querySelectorAll("img");
    Object.assign(photograph, { src: found.photograph, alt: "", width: found.width, height: found.height });
    Object.assign(labels, { src: net.labels, alt: `${net.name}: ` + net.areas.map((area) => `${area.name} ${area.share}`).join(", ") });
    for (const area of net.areas) {
      const row = figure.querySelector("tbody").insertRow();
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = area.colour;
      row.insertCell().append(swatch, area.name);
      row.insertCell().textContent = area.share;
    }
    result.querySelector(".nets").append(figure);
  }
  document.querySelector("#results").prepend(result);
  document.querySelector(".opacity").hidden = false;
}

async function label(file) {
  const name = file.name || "the image";
  say(`labelling ${name} ...`);
  try {
    const found = await answer(file);
    show(name, found);
    say(`${name}: ${found.nets.map((net) => `${net.name} in ${net.seconds.toFixed(2)} s`).join(", ")}`);
  } catch (error) {
    say(`${name}: ${error.message}`, true);
  }
}

function labelAll(files) {
  for (const file of files) last = last.then(() => label(file));
}

const input = document.querySelector("#file");
input.addEventListener("change", () => { labelAll(input.files); input.value = ""; });
document.addEventListener("paste", (event) => labelAll(event.clipboardData.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); main.classList.add("over"); });
document.addEventListener("dragleave", () => main.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  main.classList.remove("over");
  labelAll(event.dataTransfer.files);
});
document.querySelector("#opacity").addEventListener("input", (event) =>
  document.documentElement.style.setProperty("--opacity", event.target.value / 100));
