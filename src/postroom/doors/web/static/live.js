// Keeps the page of one job true while it is open. Each event is the whole job, so after a lost connection the first one
// puts everything right. A changed status brings the server's own page of that status; nothing is ever built from data.

const REOPEN_AFTER_MS = 3000;
const COUNTS = ["sent", "failed", "skipped", "unconfirmed", "unsent"];

let source = null;
let reopening = null;
let latest = null;
let shown = null;
let rendering = false;
let isOver = false;

const main = () => document.getElementById("main");

function put(name, text) {
  for (const place of document.querySelectorAll(`[data-field="${name}"]`)) {
    if (place.textContent !== text) place.textContent = text;
  }
}

function duration(seconds) {
  for (const [unit, name, most] of [[1, "s", 90], [60, "min", 90], [3600, "h", 48]]) {
    const rounded = Math.round(seconds / unit);
    if (rounded < most) return `${Math.max(1, rounded)} ${name}`;
  }
  return `${Math.round(seconds / 86400)} days`;
}

function drawBar(job) {
  let x = 0;
  for (const name of COUNTS.slice(0, -1)) {
    const width = (1000 * job[name]) / job.recipient_count;
    const part = document.querySelector(`[data-bar] .${name}`);
    part?.setAttribute("x", String(x));
    part?.setAttribute("width", String(width));
    x += width;
  }
}

function show(job) {
  for (const name of COUNTS) put(name, job[name].toLocaleString("en-US"));
  put("sentence", job.sentence);
  put("status_label", job.status_label);
  put("rate", job.per_second === null ? "not known yet" : `${job.per_second.toFixed(1)} a second`);
  put("left", job.seconds_left === null ? "not known yet" : `about ${duration(job.seconds_left)}`);
  if (job.queue !== null) {
    put("queue_position", job.queue.position.toLocaleString("en-US"));
    put("starts_in", job.queue.starts_in_s === null ? "not known yet" : `in about ${duration(job.queue.starts_in_s)}`);
  }
  if (job.preflight !== null) {
    put("checked", job.preflight.checked.toLocaleString("en-US"));
    document.querySelector("progress[data-checked]")?.setAttribute("value", String(job.preflight.checked));
  }
  drawBar(job);
}

// Whether the page on the screen is the server's page of this state, and only its numbers may be old.
function isSamePage(job) {
  const { status, waitsFor, held, checked, paused, alarm, contradictions } = main().dataset;
  const isChecked = job.preflight === null ? undefined : String(job.preflight.checked >= job.preflight.to_check);
  return job.status === status && String(job.queue?.waits_for ?? "") === waitsFor && isChecked === checked &&
    (job.waits_for ?? "") === held && String(job.paused !== null) === paused && String(job.alarm !== null) === alarm &&
    job.contradictions.join(" ") === contradictions;
}

// What the numbers cannot say (buttons, queue, trail) comes as the server renders it, and replaces the content in place.
async function follow() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  signedOut(answer.status === 401);
  if (!answer.ok) return;
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = next.getElementById("main");
  if (fresh === null) return;
  const kept = inUse();
  main().replaceWith(document.adoptNode(fresh));
  document.title = next.title;
  putBack(kept);
}

// A control, or what can be opened, by what stays the same from page to page: where it stands and what it is.
function nameOf(element) {
  const form = element.closest("form")?.getAttribute("action") ?? "";
  const name = element.getAttribute("name") ?? element.getAttribute("href") ?? element.textContent.replace(/[0-9,]+/g, "#").trim();
  return [form, element.tagName, element.id, name].join(" ");
}

const USABLE = "a[href], button, input, textarea, select, summary, [tabindex]";

// What a person has in hand: where the focus is, what is written and not sent yet, what is open.
function inUse() {
  const focused = main().contains(document.activeElement) ? document.activeElement : null;
  return {
    hadFocus: focused !== null,
    focus: focused && nameOf(focused),
    selection: focused?.matches("textarea, input:not([type])") ? [focused.selectionStart, focused.selectionEnd] : null,
    written: [...main().querySelectorAll("input:not([type=hidden]), textarea")]
      .filter((one) => one.value !== one.defaultValue).map((one) => [nameOf(one), one.value]),
    open: [...main().querySelectorAll("details[open] > summary")].map(nameOf),
  };
}

function putBack({ hadFocus, focus, selection, written, open }) {
  const places = new Map([...main().querySelectorAll(USABLE)].reverse().map((one) => [nameOf(one), one]));
  for (const [name, value] of written) if (places.has(name)) places.get(name).value = value;
  for (const name of open) places.get(name)?.parentElement.setAttribute("open", "");
  if (!hadFocus) return;
  // Where it was is gone: the content begins anew, and so does whoever reads it by keyboard.
  const place = places.get(focus) ?? main();
  if (place === main()) place.tabIndex = -1;
  place.focus({ preventScroll: true });
  if (selection !== null && place !== main()) place.setSelectionRange(...selection);
}

function lost(isLost) {
  const note = document.querySelector("[data-connection]");
  if (note !== null) note.hidden = !isLost;
}

// Until somebody signs in again nothing new comes: what would be opened again ends at once, and whoever comes back looks anew.
function signedOut(isOut) {
  const note = document.querySelector("[data-signed-out]");
  if (note !== null) note.hidden = !isOut;
  if (isOut) lost(false);
}

// The browser says of an answer that is no stream only that it was none.
async function openAgain() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (answer?.status === 401) signedOut(true);
  else if (source !== null) reopening = setTimeout(open, REOPEN_AFTER_MS);
}

function close() {
  clearTimeout(reopening);
  source?.close();
  source = null;
}

// One at a time, and the latest always last: a page that was on its way never covers a newer number.
async function render() {
  if (rendering) return;
  rendering = true;
  while (shown !== latest) {
    const job = latest;
    if (!isSamePage(job)) await follow().catch(() => {});
    if (job.status === main().dataset.status) show(job);
    shown = job;
  }
  rendering = false;
}

function open() {
  close();
  source = new EventSource(main().dataset.events);
  source.addEventListener("job", (event) => {
    latest = JSON.parse(event.data);
    lost(false);
    signedOut(false);
    render();
  });
  source.addEventListener("end", () => {
    isOver = true;
    close();
    if (main().dataset.final !== "true") follow().catch(() => {});
  });
  source.addEventListener("error", () => {
    lost(true);
    // The browser tries again by itself, unless the server answered with an error; then we do.
    if (source?.readyState === EventSource.CLOSED) openAgain();
  });
}

// A hidden tab gives its connection back: browsers allow six to a server. Of a job that is over only a person's decision changes
// anything, and whoever made it elsewhere comes back to this tab.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) close();
  else if (isOver) follow().catch(() => {});
  else open();
});

if (!document.hidden) open();
