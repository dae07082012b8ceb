// Opens pages in headless Chromium and says what is wrong with them.
// node pages.mjs FOLDER_WITH_PACKAGES < questions.json > answers.json
// Questions: [{ file, width, scheme, click }]: a page, the width in CSS pixels, "light" or "dark",
// and a selector of what to click first, or null.
// Answers: [{ violations, overflows, requests, errors, opened }]: what axe-core finds serious or
// critical, whether the page is wider than the window, what it asked the network for, its errors,
// and the text of the box that is open.
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { json } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const questions = await json(process.stdin);
const require = createRequire(join(resolve(process.argv[2]), "package.json"));
const installed = async (name) => (await import(pathToFileURL(require.resolve(name)))).default;
const axe = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");

async function browser() {
  const puppeteer = await installed("puppeteer-core");
  const own = process.env.CHROME;
  if (own) return puppeteer.launch({ executablePath: own, headless: true });
  const chromium = await installed("@sparticuz/chromium");
  const executablePath = await chromium.executablePath();
  return puppeteer.launch({ executablePath, args: chromium.args, headless: "shell" });
}

async function ask(chrome, { file, width, scheme, click }) {
  const tab = await chrome.newPage();
  const errors = [];
  const requests = [];
  const page = pathToFileURL(file).href;
  tab.on("pageerror", (error) => errors.push(String(error)));
  tab.on("console", (line) => errors.push(line.text()));
  tab.on("request", (request) => {
    if (request.url() !== page && !request.url().startsWith("data:")) requests.push(request.url());
  });
  await tab.setViewport({ width, height: 800 });
  await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await tab.goto(page);
  if (click) {
    await tab.focus(click);
    await tab.keyboard.press("Enter");
  }
  const overflows = await tab.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  const opened = await tab.evaluate(
    () => document.querySelector("[popover]:popover-open")?.innerText ?? "",
  );
  await tab.evaluate(axe);
  const { violations } = await tab.evaluate(() => globalThis.axe.run(document));
  const bad = violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).join(" | ")}`);
  await tab.close();
  return { violations: bad, overflows, requests, errors, opened };
}

const chrome = await browser();
try {
  const found = [];
  for (const question of questions) found.push(await ask(chrome, question));
  console.log(JSON.stringify(found));
} finally {
  await chrome.close();
}
