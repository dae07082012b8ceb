// Loads an export folder, asks the model, and shows what it says. All that depends on the model
// is in the folder's own snippets/model.js.
import { loadLiteRt } from "@litertjs/core";

const folder = new URL(new URLSearchParams(location.search).get("model") ?? "model", location.href);
const form = document.querySelector("form");
const status = document.querySelector("[role=status]");
const table = document.querySelector("table");
const image = document.querySelector("img");
const canvas = document.querySelector("canvas");

const state = (name, text) => {
  status.dataset.state = name;
  status.textContent = text;
};
const failed = (error) => state("failed", `${error.message ?? error}`);

async function start() {
  const answer = await fetch(`${folder}/contract.json`);
  if (!answer.ok) throw new Error(`There is no export folder at ${folder}.`);
  const { task } = await answer.json();
  const kind = task.name.startsWith("image") ? "image" : "text";
  const { Model, goldenDifference } = await import(`${folder}/snippets/model.js`);
  await loadLiteRt(new URL("node_modules/@litertjs/core/wasm/", location.href).href);
  const model = await Model.load(folder);
  listen(model);
  document.querySelectorAll(`.${kind}`).forEach((element) => (element.hidden = false));
  const { difference, tolerance } = await goldenDifference(model, folder);
  if (difference > tolerance) {
    throw new Error(`The golden examples differ by ${difference}, more than ${tolerance}.`);
  }
  state("ready", `Ready. The golden examples differ by ${difference.toPrecision(2)} at most.`);
}

function listen(model) {
  const ask = async (input) => {
    state("busy", "Working …");
    try {
      const answer = await model.predict(input);
      if (Array.isArray(answer)) showEntities(answer);
      else if (answer.mask) showMask(answer);
      else show(answer);
      state("done", "Done.");
    } catch (error) {
      failed(error);
    }
  };
  const askImage = (file) => {
    if (!file) return;
    URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(file);
    image.hidden = false;
    canvas.hidden = true;
    ask(file);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(form.querySelector("textarea").value);
  });
  form.querySelector("input").addEventListener("change", (event) => askImage(event.target.files[0]));
  form.addEventListener("dragover", (event) => {
    event.preventDefault();
    form.classList.add("over");
  });
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    askImage(event.dataTransfer.files[0]);
  });

  /** Each label with its probability, the largest first, and whether it is given; or each number. */
  function show({ probabilities, labels, prediction }) {
    const rows = probabilities
      ? probabilities.map((p, i) => [model.labels[i], p, `${(100 * p).toFixed(1)} %`, i])
      : numbersOf(prediction).map(([name, number], i) => [name, number, shortest(number), i]);
    if (probabilities) rows.sort((a, b) => b[1] - a[1]);
    table.replaceChildren(...rows.map((row) => rowOf(row, labels?.includes(row[0]))));
  }
}

/** The entities of a text with their types, in its order. */
function showEntities(entities) {
  const rows = entities.map(({ text, type, score }, i) =>
    rowOf([`${text} (${type})`, score, `${(100 * score).toFixed(1)} %`, i]));
  table.replaceChildren(...rows);
}

/** A colour for each label but the first, over the picture, and the share of each in the table. */
function showMask({ mask, width, height, shares }) {
  const labels = Object.entries(shares);
  const colour = (i) => `hsl(${(360 * i) / labels.length} 90% 50%)`;
  Object.assign(canvas, { width, height, hidden: false });
  const context = canvas.getContext("2d");
  for (let i = 0, run; i < mask.length; i += run) {
    for (run = 1; (i + run) % width && mask[i + run] === mask[i]; run++);
    context.fillStyle = mask[i] ? colour(mask[i]) : "transparent";
    context.fillRect(i % width, Math.floor(i / width), run, 1);
  }
  const rows = labels.map(([label, share], i) => {
    const row = rowOf([label, share, `${(100 * share).toFixed(1)} %`, i]);
    if (i) row.cells[0].style.borderLeft = `1rem solid ${colour(i)}`;
    return row;
  });
  table.replaceChildren(...rows);
}

const numbersOf = (prediction) =>
  Object.entries(typeof prediction === "object" ? prediction : { prediction });

/** Four digits, or all before the point. */
const shortest = (number) =>
  Math.abs(number) < 1e4 ? String(Number(number.toPrecision(4))) : number.toFixed(0);

function rowOf([label, value, shown, index], given) {
  const row = document.createElement("tr");
  if (given) row.style.fontWeight = "bold";
  const number = document.createElement("data");
  Object.assign(number, { value, textContent: shown });
  number.dataset.index = index;
  row.insertCell().textContent = label;
  row.insertCell().append(number);
  return row;
}

start().catch(failed);
