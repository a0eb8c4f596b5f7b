// node drive.js PAGE [FOLDER]: opens the page offline in Chromium, uses it, prints what happened.
const {chromium} = require("playwright-core");
(async () => {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"],
  });
  const context = await browser.newContext({viewport: {width: 1280, height: 900}, offline: true, hasTouch: true});
  const page = await context.newPage();
  page.setDefaultTimeout(200000);  // ms; drawing in software on a busy machine takes its time
  const problems = [], requests = [];
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) problems.push(m.text()); });
  page.on("pageerror", (e) => problems.push(String(e)));
  page.on("request", (r) => { if (/^(https?|ws):/.test(r.url())) requests.push(r.url()); });
  await page.goto("file://" + process.argv[2]);
  await page.waitForSelector("body[data-state=ready]");
  const state = () => page.evaluate(() => ({
    clock: document.getElementById("clock").textContent,
    time: Number(document.getElementById("scrub").value),
    film: document.querySelector("video").currentTime,
  }));
  const shot = async (name) => {
    if (process.argv[3]) await page.screenshot({path: `${process.argv[3]}/${name}.png`});
    return page.evaluate(() => document.querySelector("#scene canvas").toDataURL().length);
  };
  const seen = {views: {}};
  await page.evaluate(() => {
    const s = document.getElementById("scrub"); s.value = 1.5; s.dispatchEvent(new Event("input"));
  });
  await page.waitForFunction(() => !document.querySelector("video").seeking);
  seen.scrubbed = await state();
  await page.keyboard.press("ArrowRight");
  seen.stepped = await state();
  for (const view of ["orbit", "top", "side", "follow", "camera"]) {
    await page.click(`#views [data-view=${view}]`);
    await page.waitForSelector(`body[data-drawn=${view}]`);
    seen.views[view] = await shot(view);
  }
  await page.click("#play");
  await page.waitForFunction(() => Number(document.getElementById("scrub").value) > 2);
  seen.played = await state();
  await page.click("#play");
  await page.selectOption("#person", {index: 0});
  await page.selectOption("#curve", "speed of left_wrist");
  const timeline = () => page.evaluate(() => document.getElementById("timeline").toDataURL());
  const sure = await timeline();
  await page.selectOption("#doubt", "error");
  seen.doubts = sure !== await timeline();
  await page.locator("#timeline").scrollIntoViewIfNeeded();
  const box = await page.locator("#timeline").boundingBox();
  await page.touchscreen.tap(box.x + box.width / 2, box.y + 20);
  seen.tapped = (await state()).time;
  const got = page.waitForEvent("download");
  await page.click("#files button:nth-child(1)");
  seen.download = (await got).suggestedFilename();
  await shot("end");
  await page.emulateMedia({colorScheme: "dark"});
  await page.setViewportSize({width: 420, height: 850});
  await shot("phone_dark");
  console.log(JSON.stringify({...seen, problems, requests}));
  await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });
