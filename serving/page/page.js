// The page of `run.sh serve`: choose a video, follow its job, tie results to the player, ask where a block looks.
// Places are fractions of the width and height of the shown frame; times are seconds. Names and classes reach the
// document as textContent only.

const API = "api/v1/";
const STRIP_FRAMES = 8, ARROWS = 8, SAY_MS = 2000, LIVE_LOOK_MS = 500, LONGEST_WAIT_S = 30, LISTED_SEGMENTS = 500;
const COLOURS = ["#8ecae6", "#ffb703", "#a7c957", "#f4acb7", "#cdb4db", "#f6bd60", "#84dcc6", "#c9cba3"];
const $ = (id) => document.getElementById(id);
const player = $("player");

const page = {
  texts: {}, model: null, status: ["", {}, false], jobs: [], examples: [], unlisted: 0, hasLooked: false,
  // of the video that is shown
  name: "", file: null, video: null, job: null, task: "", work: null, state: "", isShort: false, duration: 0, windows: [], segments: [], whole: [],
  // of the question where a block looks
  point: null, answer: null,
};

// ---------------------------------------------------------------- texts

const say = (key, values = {}) =>
  (page.texts[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
const chinese = () => document.documentElement.lang.startsWith("zh");
const className = (index) => (chinese() && page.model.classes.cn?.[index]) || page.model.classes.en[index];
const clock = (t) => {
  const tenths = Math.round(10 * t); // rounded as a whole: 59.96 s are 1:00.0
  return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
};
/** A line of the server in the page's language, whichever that is when it is shown. */
const inBoth = (english, chineseText) => ({
  toString: () => (chinese() && chineseText) || english.charAt(0).toUpperCase() + english.slice(1),
});
const percent = (score) => `${Math.round(100 * score)} %`;
const element = (tag, text = "") => Object.assign(document.createElement(tag), { textContent: text });

function button(text, onclick) {
  return Object.assign(element("button", text), { type: "button", onclick });
}

function listItem(...nodes) {
  const item = element("li");
  item.append(...nodes);
  return item;
}

function savedLanguage() {
  try { return localStorage.getItem("language"); } catch { return null; } // storage may be switched off
}

async function setLanguage(language) {
  page.texts = await (await fetch(`${language}.json`)).json();
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = say(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", say(node.dataset.label));
  $("language").textContent = say("other_language");
  $("language").lang = chinese() ? "en" : "zh-CN";
  $("keys").replaceChildren(...[["Space", "key_space"], ["← →", "key_arrows"], ["Shift + ← →", "key_shift"],
    ["l", "key_l"], ["a", "key_a"], ["Esc", "key_escape"]].flatMap(([key, text]) => [element("dt", key), element("dd", say(text))]));
  if (page.model) { showModel(); drawAll(); }
}

function showModel() {
  const { arch, blocks, dataset, backend, precision, views, two_streams: both } = page.model;
  const parts = [both ? say("both", { rgb: both.rgb.arch, flow: both.flow.arch }) : arch, blocks.length ? say("blocks", { n: blocks.length }) : "", dataset].filter(Boolean);
  $("model").textContent = `${parts.join(", ")} · ${backend} ${precision}`;
  const about = page.model.tasks.includes("segments") ? "welcome" : "welcome_whole";
  $("about").textContent = say(about);
  $("look-label").textContent = say(both ? "look_rgb" : "look");
  const chosen = $("views").value;
  $("views").replaceChildren(...views.map((name) => new Option(say(`views_${name}`), name, false, name === chosen)));
  drawExamples();
}

function chooseLanguage() {
  const language = chinese() ? "en" : "zh";
  try { localStorage.setItem("language", language); } catch { /* the choice lasts for this visit */ }
  setLanguage(language);
}

let lastSaid = -SAY_MS, pendingSay = 0;
function showState(key, values = {}, bad = false) {
  page.status = [key, values, bad];
  clearTimeout(pendingSay); // a screen reader hears at most one message in two seconds, and always the last one
  pendingSay = setTimeout(() => {
    lastSaid = performance.now();
    $("state").textContent = key && say(key, { ...values, top: topClass() });
    $("state").classList.toggle("bad", bad);
  }, Math.max(0, lastSaid + SAY_MS - performance.now()));
}

/** The most probable class of the whole video so far, as the end of a sentence. */
function topClass() {
  const [top] = page.whole;
  return top ? say("top", { name: className(top.class), score: percent(top.score) }) : "";
}

function showBanner(text) {
  $("banner").textContent = text;
  $("banner").hidden = !text;
}

// ---------------------------------------------------------------- server

class Refused extends Error {
  constructor(status, detail, inChinese) {
    super(detail);
    this.status = status;
    this.text = inBoth(detail, inChinese);
  }
  /** Whether the same request may succeed later: a time limit, an offset that is not the server's, a restart. */
  get mayPass() { return [408, 409, 429, 500, 502, 503, 504].includes(this.status); }
}

function refusal(status, statusText, body) {
  let answer = {};
  try { answer = JSON.parse(body); } catch { /* not the program's own answer */ }
  return new Refused(status, answer.detail || `${status} ${statusText}`, answer.detail_zh);
}

/** The JSON of a route; throws Refused with the server's one-line `detail`. */
async function ask(path, options = {}) {
  const answer = await fetch(API + path, options);
  if (!answer.ok) throw refusal(answer.status, answer.statusText, await answer.text());
  return answer.status === 204 ? null : answer.json();
}
const post = (path, body, signal) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });

const pause = (seconds, signal) => new Promise((resume) => {
  const timer = setTimeout(resume, 1000 * seconds);
  signal?.addEventListener("abort", () => { clearTimeout(timer); resume(); }, { once: true });
});

/** Calls `attempt` until it returns; a broken line is tried again after 1, 2, 4 .. 30 s, from `attempt.worked()` on anew. */
async function persist(signal, attempt) {
  for (let wait = 1; !signal.aborted; wait = Math.min(2 * wait, LONGEST_WAIT_S)) {
    try {
      const result = await attempt(() => { wait = 1; showBanner(""); });
      showBanner("");
      return result;
    } catch (error) {
      if (signal.aborted) break;
      if (error instanceof Refused && !error.mayPass) throw error;
      showBanner(error instanceof Refused ? say("busy", { text: error.text, n: wait }) : say("gone", { n: wait }));
      await pause(wait, signal);
    }
  }
  showBanner("");
  throw new DOMException("stopped", "AbortError");
}

/** The event of one block of a stream of server-sent events. */
function parseEvent(block) {
  return Object.fromEntries(block.split("\n").filter((line) => /^\w/.test(line)).map((line) => {
    const at = line.indexOf(":");
    return [line.slice(0, at), line.slice(at + 1).trim()];
  }));
}

/** Takes in the server-sent events of a job until it ends; after a broken line they go on where they stopped. */
function follow(job, signal) {
  let last = "";
  return persist(signal, async (worked) => {
    const headers = last ? { "Last-Event-ID": last } : {};
    const answer = await fetch(`${API}jobs/${job}/events`, { headers, signal });
    if (!answer.ok) throw refusal(answer.status, answer.statusText, await answer.text());
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", ended = false; ;) {
      const { value, done } = await reader.read();
      if (done && ended) return;
      if (done) throw new Error("the line broke");
      worked();
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      for (const event of blocks.map(parseEvent)) {
        if (!event.event || signal.aborted) continue;
        last = event.id ?? last;
        ended ||= receive(event.event, JSON.parse(event.data || "{}"));
      }
    }
  });
}

/** Takes in one event; true when the job has ended. */
function receive(kind, data) {
  page.whole = data.top5 && kind !== "window" ? data.top5 : page.whole;
  if (kind === "position") showState("queued", { n: data.position });
  if (kind === "state" && page.task === "classes") {
    $("progress").removeAttribute("value"); // how far it is, is not known
    showState("scoring_whole");
  }
  if (kind === "info") {
    page.duration = data.duration;
    page.isShort = data.frames < (page.model.num_frames - 1) * page.model.frame_stride + 1;
    showState("decoding");
  }
  if (kind === "window") {
    page.windows[data.index] = data; // one that comes again changes nothing
    const left = data.seconds_left;
    $("progress").value = page.duration ? Math.min(1, data.end / page.duration) : 0;
    showState(left == null ? "scoring" : "scoring_left", { n: page.windows.length, left: Math.ceil(left ?? 0) });
  }
  if (kind === "segments") page.segments = data.segments;
  if (kind === "done") {
    if (data.warning) finish("warning", { text: inBoth(data.warning, data.warning_zh) });
    else finish(page.isShort ? "short" : "done");
    return true;
  }
  if (kind === "cancelled") { finish("cancelled"); return true; }
  if (kind === "failed") { finish("failed", { text: inBoth(data.detail, data.detail_zh) }, true); return true; }
  drawSoon();
  return false;
}

function finish(key, values = {}, bad = false) {
  page.state = key;
  showState(key, values, bad);
  $("meter").hidden = true;
  if (bad && !page.video) hidePlayer();
  drawAll();
  listJobs();
}

/** Of a video that the server has not taken. */
function hidePlayer() {
  URL.revokeObjectURL(player.src);
  player.removeAttribute("src");
  for (const id of ["stage", "controls", "timeline"]) $(id).hidden = true;
  $("explain").textContent = "";
}

async function listJobs() {
  try { page.jobs = (await ask("jobs")).jobs; } catch (error) { console.info(error.message); }
  drawHistory();
}

// ---------------------------------------------------------------- videos and jobs

/** Drops what was going on and shows another video. work: what `stop` and the next video end. */
function begin(name, source) {
  page.work?.abort();
  showBanner("");
  const work = page.work = new AbortController();
  if (player.src.startsWith("blob:")) URL.revokeObjectURL(player.src);
  Object.assign(page, { name, file: null, video: null, job: null, state: "", isShort: false, windows: [], segments: [], whole: [], duration: 0, point: null });
  delete player.dataset.copy;
  player.src = source;
  for (const id of ["stage", "controls", "timeline"]) $(id).hidden = false;
  $("welcome").hidden = true;
  $("folder").open = false;
  clearLook();
  drawAll();
  return work.signal;
}

/** Runs a piece of work; a refusal ends in its line. */
async function guard(signal, work) {
  try { await work(); } catch (error) {
    if (!signal.aborted) finish("failed", { text: error.text ?? error.message }, true);
  }
}

function upload(file) {
  const limit = page.model.max_upload, mb = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
  if (!file.size) return showState("empty", {}, true);
  if (limit && file.size > limit) return showState("too_large", { size: mb(file.size), limit: mb(limit) }, true);
  const signal = begin(file.name, URL.createObjectURL(file));
  page.file = file;
  return guard(signal, async () => {
    showMeter();
    const begun = performance.now();
    showState("uploading", { done: 0, total: mb(file.size), rate: "–" });
    const progress = (sent) => {
      $("progress").value = sent / file.size;
      const rate = sent / 1e3 / (performance.now() - begun + 1);
      showState("uploading", { done: mb(sent), total: mb(file.size), rate: rate.toFixed(1) });
    };
    const { video_id: id } = await persist(signal, () => post("uploads", { name: file.name, bytes: file.size }, signal));
    const discard = () => ask(`uploads/${id}`, { method: "DELETE" }).catch((error) => console.info(error.message));
    signal.addEventListener("abort", discard);
    try {
      await sendWhole(id, file, signal, progress);
    } finally {
      signal.removeEventListener("abort", discard); // it is whole, or the server has refused and removed it
    }
    page.video = id;
    if (player.dataset.copy === "wanted") showCopy();
    await run(signal);
  });
}

/** Sends a file; after a broken line the rest of it. */
function sendWhole(id, file, signal, progress) {
  let isFirst = true;
  return persist(signal, async (worked) => {
    let offset = 0;
    if (!isFirst) { // what has arrived
      const answer = await fetch(`${API}uploads/${id}`, { method: "HEAD", signal });
      if (!answer.ok) throw new Refused(answer.status, say("upload_gone"));
      offset = Number(answer.headers.get("Upload-Offset"));
    }
    isFirst = false;
    if (offset < file.size) await send(id, file, offset, signal, (sent) => { worked(); progress(sent); });
  });
}

/** PATCHes the file from `offset` on; fetch tells nothing of the bytes sent. */
function send(id, file, offset, signal, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.upload.onprogress = ({ loaded }) => progress(offset + loaded);
    request.onload = () => (request.status < 300 ? resolve() : reject(refusal(request.status, request.statusText, request.responseText)));
    request.onerror = request.onabort = () => reject(new Error("the line broke"));
    signal.addEventListener("abort", () => request.abort());
    request.open("PATCH", `${API}uploads/${id}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("Upload-Offset", offset);
    request.send(file.slice(offset));
  });
}

function openVideo(id, name) {
  const signal = begin(name, `${API}videos/${id}/content`);
  page.video = id;
  return guard(signal, () => run(signal));
}

function openJob({ id, video_id: video, name, task }) {
  const signal = begin(name, `${API}videos/${video}/content`);
  Object.assign(page, { video, job: id });
  setTask(task);
  showMeter();
  return guard(signal, () => follow(id, signal));
}

async function run(signal) {
  setTask(page.model.tasks[0]);
  const body = { video_id: page.video, task: page.task };
  if (page.task === "segments") body.views = $("views").value;
  if ($("stride").value && page.task === "segments") body.stride_seconds = Number($("stride").value);
  showMeter();
  showState("queued_first");
  page.job = (await persist(signal, () => post("jobs", body, signal))).id;
  listJobs();
  await follow(page.job, signal);
}

function again() {
  if (!page.video) return page.file && upload(page.file); // a stopped job has freed its upload
  page.work.abort();
  const { signal } = page.work = new AbortController();
  Object.assign(page, { job: null, state: "", windows: [], segments: [], whole: [] });
  drawAll();
  return guard(signal, () => run(signal));
}

async function stop() {
  page.work?.abort();
  if (page.job) await ask(`jobs/${page.job}`, { method: "DELETE" }).catch((error) => console.info(error.message));
  if (page.file) page.video = null;
  finish("cancelled");
}

/** What the job that is shown finds: segments, or the classes of the whole video, which have no places in time. */
function setTask(task) {
  page.task = task;
  document.body.dataset.task = task;
}

function showMeter() {
  $("meter").hidden = false;
  $("progress").value = 0;
  $("again").disabled = true;
}

/** A job of its own; its file is saved when it is done. */
async function getFeatures() {
  const control = $("get-features"), { signal } = page.work, { video, name } = page;
  control.disabled = true;
  try {
    const { id } = await post("jobs", { video_id: video, task: "features", stage: $("stage-name").value });
    for (;;) {
      const job = await persist(signal, () => ask(`jobs/${id}`, { signal }));
      if (job.state === "done") break;
      if (["failed", "cancelled"].includes(job.state)) throw new Refused(0, job.detail || say("cancelled"), job.detail_zh);
      showState("features_state");
      await pause(0.5, signal);
    }
    const link = Object.assign(element("a"), { href: `${API}jobs/${id}/features.npz`, download: `${name}.npz` });
    link.click();
    showState("done");
  } catch (error) {
    if (!signal.aborted) showState("failed", { text: error.text ?? error.message }, true);
  }
  control.disabled = false;
}

// ---------------------------------------------------------------- results

const covering = (list, t) => list.find(({ start, end }) => start <= t && t < end) ?? list.find(({ end }) => end === t);

function ranking(list, entries) {
  list.replaceChildren(...entries.map(({ class: index, score }) => {
    const row = element("div"), bar = element("meter");
    row.append(element("span", className(index)), element("span", percent(score)));
    bar.value = score;
    bar.setAttribute("aria-hidden", "true"); // its number stands beside it
    return listItem(row, bar);
  }), ...(entries.length ? [] : [element("li", say("nothing"))]));
}

let drawing = 0;
function drawSoon() { // a finished job sends thousands of windows at once
  drawing ||= requestAnimationFrame(() => { drawing = 0; drawResults(); });
}

function segmentBars(segments, duration) {
  return (duration ? segments : []).map(({ start, end, class: index, score }) => {
    const bar = element("span", className(index));
    bar.title = `${className(index)} ${clock(start)} – ${clock(end)}, ${percent(score)}`;
    bar.style.left = `${100 * start / duration}%`;
    bar.style.width = `${100 * (end - start) / duration}%`;
    bar.style.background = COLOURS[index % COLOURS.length];
    return bar;
  });
}

function drawResults() {
  const { duration, segments } = page, windows = duration ? page.windows : [];
  $("results").hidden = !windows.length && !page.whole.length;
  ranking($("whole"), page.whole);
  $("segments").replaceChildren(...segmentBars(segments, duration));
  $("segment-details").hidden = !segments.length;
  if (!$("segment-list").contains(document.activeElement)) // the focus must not be lost
    $("segment-list").replaceChildren(...segments.slice(0, LISTED_SEGMENTS).map(({ start, end, class: index, score }) =>
      listItem(button(`${clock(start)} – ${clock(end)}  ${className(index)}, ${percent(score)}`, () => seek(start)))));
  const canvas = $("curve"), box = canvas.getBoundingClientRect(), scale = devicePixelRatio || 1;
  canvas.width = box.width * scale;
  canvas.height = box.height * scale;
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.body);
  pen.strokeStyle = style.getPropertyValue("--accent");
  pen.lineWidth = 2 * scale;
  pen.beginPath();
  for (const { start, end, top5 } of windows)
    pen.lineTo((start + end) / 2 / duration * canvas.width, (0.95 - 0.85 * top5[0].score) * canvas.height);
  pen.stroke();
  pen.fillStyle = style.getPropertyValue("--quiet");
  for (const { start } of windows) pen.fillRect(start / duration * canvas.width, canvas.height - 4 * scale, scale, 4 * scale);
  const known = Math.max(0, ...windows.map(({ end }) => end), ...segments.map(({ end }) => end));
  $("pending").style.left = `${duration && !page.state ? 100 * Math.min(1, known / duration) : 100}%`;
  if (windows.length > 1) $("stride").placeholder = (windows[1].start - windows[0].start).toFixed(2);
  shown = null;
  drawTime();
}

let shown = null; // the window whose classes stand under "Now"
function drawTime() {
  const t = player.currentTime, length = page.duration || player.duration || 0;
  $("clock").textContent = `${clock(t)} / ${clock(length)}`;
  $("cursor").style.left = length ? `${100 * Math.min(1, t / length)}%` : 0;
  const segment = covering(page.segments, t), timeline = $("timeline");
  const label = segment ? `, ${className(segment.class)}, ${percent(segment.score)}` : "";
  timeline.setAttribute("aria-valuemax", length.toFixed(1));
  timeline.setAttribute("aria-valuenow", Math.min(t, length).toFixed(1));
  timeline.setAttribute("aria-valuetext", clock(t) + label);
  $("now-title").textContent = say("now", { time: clock(t) });
  const top = covering(page.windows, t)?.top5 ?? [];
  if (top !== shown) ranking($("now"), shown = top);
}

/** Videos of the server's folder with their results, until a video is chosen. */
async function followExamples() {
  for (let wait = 0.5; !$("welcome").hidden; wait = Math.min(2 * wait, 10)) {
    try { page.examples = (await ask("examples")).examples; } catch (error) { console.info(error.message); }
    drawExamples();
    if (page.examples.every((example) => example.is_final)) return;
    await pause(wait);
  }
}

function drawExamples() {
  $("examples").hidden = !page.examples.length;
  const places = [...$("examples").querySelectorAll("button")], focused = places.indexOf(document.activeElement);
  $("examples").querySelector("ul").replaceChildren(...page.examples.map(({ video, duration, segments, top5 }) => {
    const press = button("", () => openVideo(video.id, video.name)), strip = element("span");
    strip.className = "segments";
    strip.append(...segmentBars(segments, duration));
    press.append(element("span", video.name), strip, element("span", top5.length ? `${className(top5[0].class)}, ${percent(top5[0].score)}` : ""));
    return listItem(press);
  }));
  if (focused >= 0) $("examples").querySelectorAll("button")[focused]?.focus();
}

/** The next page of the server's folder. */
async function listVideos() {
  const list = $("videos"), { videos, total } = await ask(`videos?offset=${list.children.length}`);
  list.append(...videos.map(({ id, name, bytes }) =>
    listItem(button(name, () => openVideo(id, name)), element("span", `${(bytes / 1e6).toFixed(1)} MB`))));
  page.unlisted = videos.length ? total - list.children.length : 0;
  $("folder").hidden = !list.children.length;
  drawMore();
}

function drawMore() {
  $("more").hidden = page.unlisted <= 0;
  $("more").textContent = say("more", { n: page.unlisted });
}

async function more() {
  const next = $("videos").children.length;
  try { await listVideos(); } catch (error) { $("more").textContent = error.text ?? error.message; }
  $("videos").children[next]?.firstChild.focus();
}

function drawHistory() {
  $("history").hidden = !page.jobs.length;
  $("history").querySelector("ul").replaceChildren(...page.jobs.map((job) => {
    const state = element("span", say(`state_${job.state}`)), file = `${API}jobs/${job.id}/features.npz`;
    if (job.task === "features" && job.state === "done")
      return listItem(Object.assign(element("a", `${job.name}.npz`), { href: file, download: "" }), state);
    const open = button(job.name, () => openJob(job));
    open.disabled = job.task === "features" || ["failed", "cancelled"].includes(job.state);
    return listItem(open, state);
  }));
}

function drawAll() {
  $("play").textContent = say(player.paused ? "play" : "pause");
  const [key, values, bad] = page.status;
  if (key) showState(key, values, bad);
  const ended = ["done", "warning"].includes(page.state);
  $("again").disabled = !page.state || !(page.video || page.file);
  $("downloads").hidden = !ended;
  $("features").hidden = !page.model.tasks.includes("features");
  const files = page.task === "classes" ? ["record.json"] : ["json", "csv", "srt", "vtt"].map((ending) => `segments.${ending}`);
  $("downloads").querySelector("ul").replaceChildren(...files.map((file) =>
    listItem(Object.assign(element("a", file.split(".")[1].toUpperCase()), { href: `${API}jobs/${page.job}/${file}`, download: "" }))));
  drawHistory();
  drawMore();
  drawResults();
  drawLook();
}

// ---------------------------------------------------------------- where it looks

/** IEEE half floats, little endian, of a base64 text: not every browser has Float16Array. */
function halves(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
    const bits = view.getUint16(2 * i, true), exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24 : exponent === 31 ? (fraction ? NaN : Infinity) : (1 + fraction / 1024) * 2 ** (exponent - 15);
    return bits & 32768 ? -size : size;
  });
}

/** The part of the player that the picture covers (the rest are black bars), in CSS pixels. */
function picture() {
  const { clientWidth: w, clientHeight: h, videoWidth, videoHeight } = player;
  const scale = Math.min(w / (videoWidth || w), h / (videoHeight || h));
  const size = [(videoWidth || w) * scale, (videoHeight || h) * scale];
  return { left: (w - size[0]) / 2, top: (h - size[1]) / 2, width: size[0], height: size[1] };
}

let lookNumber = 0, lookedAt = 0, looking = false;
/** Asks for the links of a point of the frame at `time`; without a point the server takes the strongest one. */
async function look(time, point) {
  const number = ++lookNumber;
  page.point = point;
  lookedAt = performance.now();
  looking = true;
  if (player.paused) $("explain").textContent = say(page.hasLooked ? "looking" : "looking_first", { mb: Math.ceil(page.model.weights_bytes / 1e6) });
  try {
    const answer = await post("attention", { video_id: page.video, time, block: $("block").value, arrows: ARROWS, ...point });
    if (number !== lookNumber) return; // a later click has asked again
    page.hasLooked = true;
    page.answer = { ...answer, heat: halves(answer.heat) };
    drawLook();
  } catch (error) { if (number === lookNumber) $("explain").textContent = error.text ?? error.message; }
  if (number !== lookNumber) return;
  looking = false;
  if (player.paused && Math.abs(player.currentTime - time) > 0.02) lookAgain(); // it was moved meanwhile
}

/** Looks again at another time, while the video plays at most twice a second. */
function lookAgain() {
  if (!$("look").checked || !page.video || looking || performance.now() - lookedAt < LIVE_LOOK_MS && !player.paused) return;
  look(player.currentTime, page.point);
}

function setLook(on) {
  $("look").checked = on;
  $("stage").classList.toggle("look", on);
  $("hint").hidden = !on;
  clearLook();
  if (on) lookAgain();
}

function clearLook() {
  lookNumber++;
  looking = false;
  Object.assign(page, { answer: null, point: null });
  $("overlay").width = 0;
  $("explain").textContent = "";
  $("strip").replaceChildren();
}

/** Frames of the clip for the strip, ascending: the point's own, the links', then others evenly. */
function stripFrames({ frames, frame, targets }) {
  const count = Math.min(STRIP_FRAMES, frames.length), even = frames.map((_, i) => Math.floor(i * frames.length / count) % frames.length);
  return [...new Set([frame, ...targets.map((target) => target.frame), ...even, ...frames.keys()])].slice(0, count).sort((a, b) => a - b);
}

function drawLook() {
  const { answer } = page;
  if (!answer) return;
  const strongest = answer.targets[0];
  const times = (weight) => (answer.signed ? "" : ` (${say("times", { n: (weight / answer.uniform).toFixed(1) })})`);
  $("explain").textContent = strongest ? say("links", { time: clock(strongest.t), weight: strongest.weight.toFixed(3) + times(strongest.weight) }) : "";
  const canvas = $("overlay"), scale = devicePixelRatio || 1, box = picture(), pen = canvas.getContext("2d");
  canvas.width = player.clientWidth * scale;
  canvas.height = player.clientHeight * scale;
  pen.scale(scale, scale);
  drawHeat(pen, box, answer, answer.frame);
  drawLinks(pen, box, answer, answer.targets, true);
  const figures = stripFrames(answer).map((frame) => {
    const own = answer.targets.filter((target) => target.frame === frame), t = answer.frames[frame];
    const caption = [clock(t), frame === answer.frame ? say("point") : "", own.length ? say("link", { weight: own[0].weight.toFixed(3) + times(own[0].weight) }) : ""];
    const panel = document.createElement("canvas"), figure = element("figure"), press = button("", (event) => {
      const area = panel.getBoundingClientRect(), byMouse = event.detail > 0; // the Enter key has no place
      const point = byMouse ? { x: (event.clientX - area.left) / area.width, y: (event.clientY - area.top) / area.height } : null;
      player.pause();
      seek(t);
      look(t, point);
    });
    press.setAttribute("aria-label", caption.filter(Boolean).join(", "));
    panel.width = 320;
    panel.height = Math.round(320 * box.height / box.width) || 240;
    press.append(panel);
    figure.append(press, element("figcaption", caption.filter(Boolean).join(" · ")));
    return { figure, panel, frame, own };
  });
  const paint = ({ panel, frame, own }, source) => {
    const brush = panel.getContext("2d"), area = { left: 0, top: 0, width: panel.width, height: panel.height };
    brush.clearRect(0, 0, panel.width, panel.height);
    brush.filter = "grayscale(1)"; // ignored where the browser has none
    if (source) brush.drawImage(source, 0, 0, panel.width, panel.height);
    brush.filter = "none";
    drawHeat(brush, area, answer, frame);
    drawLinks(brush, area, answer, own, frame === answer.frame);
  };
  for (const figure of figures) paint(figure);
  const focused = [...$("strip").querySelectorAll("button")].indexOf(document.activeElement);
  $("strip").replaceChildren(...figures.map(({ figure }) => figure));
  $("strip").querySelectorAll("button")[focused]?.focus();
  if (player.paused) stripWork = stripWork.then(() => paintFrames(figures, answer, paint));
}

let stripWork = Promise.resolve();
const stills = Object.assign(document.createElement("video"), { muted: true, preload: "auto" }); // seeks beside the player
async function paintFrames(figures, answer, paint) {
  if (stills.src !== player.src) stills.src = player.src;
  for (const figure of figures) {
    if (answer !== page.answer) return;
    const isReady = await new Promise((resolve) => {
      stills.onseeked = () => resolve(true);
      setTimeout(() => resolve(false), 2000);
      stills.currentTime = answer.frames[figure.frame] + 0.005; // behind the rounded start of the frame
    });
    if (isReady) paint(figure, stills);
  }
}

/** The heat of a frame of the clip over the picture in `box`, and hatching over what the network does not see. */
function drawHeat(pen, box, { grid, heat, heat_area: area, frames_per_step: perStep, seen }, frame) {
  const [steps, height, width] = grid, first = Math.min(steps - 1, Math.floor(frame / perStep)) * height * width;
  const low = heat.reduce((least, value) => Math.min(least, value)), high = heat.reduce((most, value) => Math.max(most, value));
  // from the smallest weight to the largest; where there are both signs, from 0 to the larger size
  const strength = low < 0 ? (value) => Math.abs(value) / Math.max(-low, high) : (value) => (value - low) / (high - low || 1);
  const small = Object.assign(document.createElement("canvas"), { width, height }), dots = small.getContext("2d");
  const image = dots.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    const value = heat[first + i];
    image.data.set([...(value < 0 ? [47, 107, 255] : [255, 130, 0]), 190 * strength(value)], 4 * i);
  }
  dots.putImageData(image, 0, 0);
  const rectangle = (part) => [box.left + part.left * box.width, box.top + part.top * box.height, part.width * box.width, part.height * box.height];
  pen.save();
  pen.beginPath();
  pen.rect(...rectangle(seen));
  pen.clip();
  pen.drawImage(small, ...rectangle(area));
  pen.restore();
  pen.save();
  pen.beginPath();
  pen.rect(box.left, box.top, box.width, box.height);
  pen.rect(...rectangle(seen));
  pen.clip("evenodd");
  pen.fillStyle = "rgb(0 0 0 / .45)";
  pen.fillRect(box.left, box.top, box.width, box.height);
  pen.strokeStyle = "rgb(255 255 255 / .45)";
  pen.beginPath();
  for (let x = -box.height; x < box.width; x += 9) {
    pen.moveTo(box.left + x, box.top + box.height);
    pen.lineTo(box.left + x + box.height, box.top);
  }
  pen.stroke();
  pen.restore();
}

/** Arrows from the point to the ends of links, stronger ones less transparent, and the point itself. */
function drawLinks(pen, box, answer, targets, withPoint) {
  const place = ({ x, y }) => [box.left + x * box.width, box.top + y * box.height], [fromX, fromY] = place(answer);
  pen.lineWidth = 2;
  for (const target of targets) {
    const [x, y] = place(target), angle = Math.atan2(y - fromY, x - fromX), size = 9;
    pen.globalAlpha = 0.35 + 0.65 * Math.abs(target.weight / answer.targets[0].weight);
    pen.strokeStyle = target.weight < 0 ? "#2f6bff" : "#ffd400";
    pen.beginPath();
    pen.moveTo(fromX, fromY);
    pen.lineTo(x, y);
    for (const turn of [-0.45, 0.45]) {
      pen.moveTo(x, y);
      pen.lineTo(x - size * Math.cos(angle + turn), y - size * Math.sin(angle + turn));
    }
    pen.stroke();
  }
  pen.globalAlpha = 1;
  if (!withPoint) return;
  pen.fillStyle = "#00e5ff";
  pen.strokeStyle = "#000";
  pen.beginPath();
  pen.arc(fromX, fromY, 6, 0, 7);
  pen.fill();
  pen.stroke();
}

// ---------------------------------------------------------------- hands

const seek = (t) => { player.currentTime = Math.max(0, Math.min(t, player.duration || page.duration || 0)); };
const seekAt = (event) => {
  const box = $("timeline").getBoundingClientRect();
  seek((event.clientX - box.left) / box.width * (page.duration || player.duration || 0));
};
const toggle = () => (player.paused ? player.play().catch((error) => console.info(error.message)) : player.pause());

function step(direction, bySegment) {
  const t = player.currentTime;
  if (!bySegment) return seek(t + direction);
  const starts = page.segments.map(({ start }) => start);
  const next = direction > 0 ? starts.find((s) => s > t + 0.01) : starts.filter((s) => s < t - 0.01).pop();
  if (next !== undefined) seek(next);
}

/** The server's copy for the browser, where it cannot play the file. */
function showCopy() {
  player.dataset.copy = "shown";
  player.src = `${API}videos/${page.video}/preview.mp4`;
}

function onPlayerError() {
  if (!player.getAttribute("src") || player.dataset.copy === "wanted") return;
  if (player.dataset.copy === "shown") { $("explain").textContent = say("unplayable"); return; }
  player.dataset.copy = "wanted";
  $("explain").textContent = say("preview");
  if (page.video) showCopy();
}

function onStageClick(event) {
  if (!$("look").checked || !page.video) return;
  const box = picture(), stage = player.getBoundingClientRect();
  const x = (event.clientX - stage.left - box.left) / box.width, y = (event.clientY - stage.top - box.top) / box.height;
  if (x < 0 || x > 1 || y < 0 || y > 1) return;
  player.pause();
  look(player.currentTime, { x, y });
}

function onKey(event) {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input:not([type=checkbox]), select")) return;
  const onControl = target.matches("button, a, summary, input"), onTimeline = target.id === "timeline";
  const hands = {
    " ": onControl ? null : toggle, // Space presses what has the focus
    ArrowLeft: () => step(-1, event.shiftKey), ArrowRight: () => step(1, event.shiftKey),
    ArrowDown: onTimeline ? () => step(-1) : null, ArrowUp: onTimeline ? () => step(1) : null,
    Home: onTimeline ? () => seek(0) : null, End: onTimeline ? () => seek(Infinity) : null,
    l: chooseLanguage, a: page.model.blocks.length ? () => setLook(!$("look").checked) : null, Escape: () => setLook(false),
  }[event.key];
  if (!hands || $("stage").hidden && event.key !== "l") return;
  event.preventDefault();
  hands();
}

function listen() {
  $("file").onchange = () => { if ($("file").files[0]) upload($("file").files[0]); $("file").value = ""; };
  for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, (event) => {
    event.preventDefault(); // a file beside the zone must not replace the page
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]);
  });
  $("more").onclick = more;
  $("play").onclick = toggle;
  $("speed").onchange = () => { player.playbackRate = Number($("speed").value); };
  $("look").onchange = () => setLook($("look").checked);
  $("block").onchange = () => $("look").checked && look(player.currentTime, page.point);
  $("again").onclick = again;
  $("stop").onclick = stop;
  $("get-features").onclick = getFeatures;
  $("stage").onclick = onStageClick;
  $("timeline").onpointerdown = (event) => { $("timeline").setPointerCapture(event.pointerId); seekAt(event); };
  $("timeline").onpointermove = (event) => event.buttons && seekAt(event);
  player.onplay = player.onpause = () => { $("play").textContent = say(player.paused ? "play" : "pause"); lookAgain(); };
  player.onloadedmetadata = () => { player.playbackRate = Number($("speed").value); drawAll(); };
  player.ontimeupdate = () => { drawTime(); if (!player.paused) lookAgain(); };
  player.onseeked = () => { drawTime(); lookAgain(); };
  player.onerror = onPlayerError;
  if (player.requestVideoFrameCallback) {
    const frame = () => { drawTime(); player.requestVideoFrameCallback(frame); };
    player.requestVideoFrameCallback(frame);
  }
  new ResizeObserver(() => { drawSoon(); drawLook(); }).observe($("left"));
  document.addEventListener("keydown", onKey);
}

async function main() {
  $("language").onclick = chooseLanguage;
  await setLanguage(savedLanguage() ?? (navigator.language.startsWith("zh") ? "zh" : "en"));
  const { signal } = new AbortController();
  const model = page.model = await persist(signal, () => ask("model"));
  await persist(signal, listVideos);
  setTask(model.tasks[0]);
  for (const node of document.querySelectorAll(".attention")) node.hidden = !model.blocks.length;
  const options = (id, names) => $(id).replaceChildren(...names.map((name) => new Option(name, name)));
  options("block", model.blocks);
  options("stage-name", [...model.stages].reverse()); // the last one first
  listen();
  showModel();
  drawAll();
  listJobs();
  followExamples();
}

main().catch((error) => showState("failed", { text: error.text ?? error.message }, true));
