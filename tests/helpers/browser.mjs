// Opens the example page in headless Chromium and asks models what they say of every input.
// node browser.mjs PAGE_FOLDER < questions.json > answers.json
// Questions: [{ folder, inputs, direct }] with export folders, and texts or the paths of images;
// `direct` asks the folder's own snippet once the page is ready, and not by the page's form.
// Answers: [{ status, failed, answers: [{ label, values }] }]; of a snippet what it says as it is.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, resolve } from "node:path";
import { json } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const page = resolve(process.argv[2]);
const questions = await json(process.stdin);
const require = createRequire(join(page, "package.json"));
const installed = async (name) => (await import(pathToFileURL(require.resolve(name)))).default;

const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** The page at /, export folders at /model/0/, /model/1/ …, and files by their paths at /file/. */
async function serve() {
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    const [, number, rest] = path.match(/^\/model\/(\d+)(\/.*)/) ?? [];
    const file = number
      ? join(questions[number].folder, rest)
      : path.startsWith("/file/")
        ? path.slice("/file".length)
        : join(page, path === "/" ? "index.html" : path);
    const found = await stat(file).catch(() => null);
    if (!found?.isFile()) return response.writeHead(404).end();
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    response.writeHead(200, { "Content-Type": type, "Content-Length": found.size });
    createReadStream(file).pipe(response);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return server;
}

async function browser() {
  const puppeteer = await installed("puppeteer-core");
  const own = process.env.CHROME;
  if (own) return puppeteer.launch({ executablePath: own, headless: true });
  const chromium = await installed("@sparticuz/chromium");
  return puppeteer.launch({
    executablePath: await chromium.executablePath(),
    args: chromium.args,
    headless: "shell",
  });
}

/** Waits until the page is no longer busy; its status line. */
async function settled(tab) {
  const status = await tab.waitForSelector("[role=status]:not([data-state=busy])", {
    timeout: 120_000,
  });
  const [state, text] = await status.evaluate((line) => [line.dataset.state, line.textContent]);
  return { failed: state === "failed", status: text };
}

/** What the table says: the label in its first row, if any, and all numbers in the model's order. */
const answer = (tab) =>
  tab.evaluate(() => {
    const numbers = [...document.querySelectorAll("data")];
    numbers.sort((a, b) => a.dataset.index - b.dataset.index);
    const label = document.querySelector("td")?.textContent ?? "";
    return { label, values: numbers.map((number) => Number(number.value)) };
  });

async function ask(tab, input) {
  const textarea = await tab.$("label.text:not([hidden]) textarea");
  await tab.$eval("[role=status]", (line) => (line.dataset.state = "busy"));
  if (textarea) {
    await textarea.evaluate((element, text) => (element.value = text), input);
    await tab.click("button");
  } else {
    const choice = await tab.$("input[type=file]");
    await choice.evaluate((element) => (element.value = ""));
    await choice.uploadFile(input);
  }
  const { failed, status } = await settled(tab);
  if (failed) throw new Error(`${input}: ${status}`);
  return answer(tab);
}

/** What the folder's own `Model` says of a text or of the image at a path. */
const askSnippet = (tab, number, input) =>
  tab.evaluate(
    async (folder, value) => {
      const { Model } = await import(`${folder}/snippets/model.js`);
      const { task } = await (await fetch(`${folder}/contract.json`)).json();
      globalThis.asked ??= await Model.load(folder);
      const image = task.name.startsWith("image");
      const input = image ? await (await fetch(`/file${value}`)).blob() : value;
      const answer = await globalThis.asked.predict(input);
      return answer.mask ? { ...answer, mask: Array.from(answer.mask) } : answer;
    },
    `/model/${number}`,
    input,
  );

async function answersOf(chrome, address, number) {
  const tab = await chrome.newPage();
  tab.on("pageerror", (error) => console.error(error));
  await tab.goto(`${address}/?model=model/${number}`);
  const ready = await settled(tab);
  const answers = [];
  for (const input of ready.failed ? [] : questions[number].inputs) {
    const { direct } = questions[number];
    answers.push(await (direct ? askSnippet(tab, number, input) : ask(tab, input)));
  }
  await tab.close();
  return { ...ready, answers };
}

const server = await serve();
const chrome = await browser();
try {
  const address = `http://127.0.0.1:${server.address().port}`;
  const found = [];
  for (const number of questions.keys()) found.push(await answersOf(chrome, address, number));
  console.log(JSON.stringify(found));
} finally {
  await chrome.close();
  server.close();
}
