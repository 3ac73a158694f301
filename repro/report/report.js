"use strict";
// Each picture is a stack of layers; a slider's place between two whole numbers fades one layer into the next.
const STEP = 0.25; // of an arrow key

function show(picture, place) {
  const layers = picture.querySelectorAll(".layer");
  const names = Array.from(layers, (layer) => layer.querySelector("span").textContent);
  const below = Math.floor(place), share = Math.round(100 * (place - below));
  const words = share ? `${names[below]} to ${names[below + 1]}, ${share}%` : names[below];
  layers.forEach((layer, number) => {
    layer.style.opacity = Math.min(1, Math.max(0, place - number + 1));
    layer.setAttribute("aria-hidden", number !== Math.round(place));
  });
  const slider = picture.querySelector("input");
  slider.value = place;
  slider.setAttribute("aria-valuetext", words);
  picture.querySelector("output").textContent = words;
}

function onMoved(slider, move) {
  slider.addEventListener("input", () => move(Number(slider.value)));
  slider.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: STEP, ArrowUp: STEP, ArrowLeft: -STEP, ArrowDown: -STEP, PageUp: 1, PageDown: -1 }[event.key];
    if (steps === undefined) return;
    event.preventDefault();
    slider.value = Math.round((Number(slider.value) + steps) / STEP) * STEP;
    move(Number(slider.value));
  });
}

const pictures = Array.from(document.querySelectorAll(".picture"));
const all = document.querySelector("#all");

function showAll(place) {
  all.value = place;
  document.querySelectorAll(".choices button").forEach((button) =>
    button.setAttribute("aria-pressed", Number(button.dataset.place) === place));
  all.setAttribute("aria-valuetext", "");
  pictures.forEach((picture) => show(picture, place));
  all.setAttribute("aria-valuetext", pictures[0].querySelector("output").textContent);
}

if (pictures.length) {
  document.documentElement.classList.add("fading");
  document.querySelectorAll(".all, .picture input, .picture output").forEach((element) => { element.hidden = false; });
  for (const picture of pictures) {
    onMoved(picture.querySelector("input"), (place) => show(picture, place));
  }
  onMoved(all, showAll);
  document.querySelectorAll(".choices button").forEach((button) =>
    button.addEventListener("click", () => showAll(Number(button.dataset.place))));
  showAll(0);
}
