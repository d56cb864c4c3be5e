// The live page of metaspo. Everything that comes from a run is set as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const MOST_LINES = 600;  // of the log that are kept
const FEW_LINES = 40;  // that are drawn while others go by too fast to be read
const CALM = 500;  // milliseconds without such haste after which all are drawn
const name = new URLSearchParams(location.search).get("run") || "";

const seen = { state: null, candidates: new Map(), lines: [], skipped: 0, hurried: 0, answers: null, answersFor: "" };
const ui = { tab: "candidates", axis: "calls", filter: "", selected: "" };
const dirty = new Set();
let waiting = false;

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const percent = (score) => (score === null || score === undefined ? "–" : (100 * score).toFixed(1) + "%");
const number = (value) => Math.round(value).toLocaleString("en");
const slug = (text) => text.replaceAll(" ", "-");
const unbroken = (text) => text.replaceAll(" ", "\u00a0");
const tight = (text) => text.replaceAll(" → ", unbroken(" → ")).replaceAll("–", "\u2060–\u2060");  // what belongs together stays in one line
const say = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };

function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds)), minutes = Math.floor(whole / 60), two = (n) => String(n).padStart(2, "0");
  return minutes >= 60 ? `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)} h` : `${minutes}:${two(whole % 60)} min`;
}

// Drawn at most once a frame, and only what has changed: any number of events a second costs the same.
function changed(...parts) {
  parts.forEach((part) => dirty.add(part));
  if (waiting) return;
  waiting = true;
  setTimeout(() => requestAnimationFrame(draw), 120);
}

function draw() {
  waiting = false;
  const parts = new Set(dirty);
  dirty.clear();
  if (parts.has("state") && seen.state) drawState(seen.state);
  if (parts.has("candidates") && ui.tab === "candidates") drawTree();
  if (parts.has("servers") && ui.tab === "servers") drawServers();
  if (parts.has("tasks") && ui.tab === "tasks") drawTasks();
  if (parts.has("answers") && ui.tab === "answers") drawAnswers();
  if (parts.has("log") && ui.tab === "log") drawLog();
}

function drawState(state) {
  const running = state.state === "running", progress = state.progress, spent = state.spent, points = state.points;
  document.title = (progress && running ? Math.floor((100 * progress.settled) / progress.planned) + "% · " : "") + state.name;
  say("title", state.name);
  say("state", state.state);
  $("state").className = "pill " + slug(state.state);
  $("state").hidden = false;
  drawStop(state);
  say("models", [state.models.base && "answers: " + state.models.base, state.models.optimizer && "prompts: " + state.models.optimizer, state.models.judge && "grades: " + state.models.judge].filter(Boolean).join(" · "));
  const warnings = state.stopped ? ["The run has stopped: " + state.stopped, ...state.warnings] : state.warnings;
  $("warnings").hidden = !warnings.length;
  $("warnings").replaceChildren(...warnings.map((text) => el("li", {}, text)));

  const share = state.state === "finished" ? 1 : progress ? progress.settled / progress.planned : null;
  say("share", share === null ? "–" : Math.floor(100 * share) + "%");
  $("bar").style.width = 100 * (share || 0) + "%";
  say("left", running ? (progress ? progress.left : "") : state.state === "finished" ? "done" : !state.goes_on_with ? "start it again to go on: everything paid for is kept" : "everything paid for is kept; to go on:");
  $("again").hidden = !state.goes_on_with;
  if ($("again-command").textContent !== state.goes_on_with) $("again-command").replaceChildren(...state.goes_on_with.split(" ").flatMap((word) => [el("span", { class: "word" }, word), " "]).slice(0, -1));
  drawStage();

  const first = points.length ? points[0].score : null, best = points.length ? Math.max(...points.map((point) => point.score)) : null;
  const gain = state.gains[0] || (seen.answers && seen.answers.gains[0]);
  const onTest = state.gains.length > 0;
  say("best-title", onTest ? (gain.role === "target" ? "Unseen tasks, before and after" : "Test examples, before and after") : "Best so far, on the train examples");
  say("best", onTest ? `${percent(gain.before)} → ${percent(gain.after)}` : first === null ? "–" : `${percent(first)} → ${percent(best)}`);
  const [change, interval = ""] = gain ? gain.text.split(/(?=\()/) : [""];
  if ($("gain").textContent !== change + interval) $("gain").replaceChildren(change, el("span", { class: "whole" }, interval));
  $("gain").className = gain && gain.clear ? (gain.after > gain.before ? "good" : "bad") : "";
  say("verdict", gain ? gain.verdict + (onTest ? "" : "; on the examples that it was chosen by, which flatters") : "");

  const cap = spent.cap || {};
  const priced = spent.text !== "unknown";  // of a model without prices the calls are what it took
  say("dollars", priced ? spent.text : `${number(spent.calls)} calls`);
  const capped = cap.dollars ? [spent.dollars, cap.dollars, "$" + cap.dollars.toFixed(2)] : cap.calls ? [spent.calls, cap.calls, number(cap.calls) + " calls"] : cap.tokens ? [spent.tokens, cap.tokens, number(cap.tokens) + " tokens"] : null;
  $("cap-bar").hidden = !capped;
  if (capped) $("cap").style.width = Math.min(100, (100 * capped[0]) / capped[1]) + "%";
  say("calls", `${priced ? number(spent.calls) + " calls, " : ""}${number(spent.tokens)} tokens${priced ? "" : "; no price is known"}${capped ? "; the cap is " + capped[2] : ""}`);
  drawElapsed();
  drawCurve(points);
  say("prompt", state.system_prompt || "");
  say("why-none", state.no_system_prompt);
}

// Stopping takes two presses within some seconds: the first one asks.
const stop = { asked: false, sent: false, timer: 0 };

function drawStop(state) {
  if (state.state !== "running") Object.assign(stop, { asked: false, sent: false });
  $("stop").hidden = !state.stoppable;
  $("stop").disabled = stop.sent;
  say("stop", stop.sent ? "stopping …" : stop.asked ? "really stop? What is paid for is kept" : "stop");
}

async function pressStop() {
  clearTimeout(stop.timer);
  stop.sent = stop.asked;
  stop.asked = !stop.asked;
  if (stop.asked) stop.timer = setTimeout(() => { stop.asked = false; drawStop(seen.state); }, 6000);
  drawStop(seen.state);
  if (!stop.sent) return;
  const answer = await fetch(`/stop?run=${encodeURIComponent(name)}`, { method: "POST", headers: { "X-Metaspo": "watch" } });
  if (answer.ok) return;
  stop.sent = false;
  drawStop(seen.state);
  say("link", await answer.text());
}

function drawStage() {
  const state = seen.state;
  if (!state) return;
  const asked = state.progress && state.progress.asked ? `; waiting for ${state.progress.asked} prompt${state.progress.asked === 1 ? "" : "s"} from the optimizer` : "";
  const ago = state.state === "running" && state.progress ? Date.now() / 1000 - state.progress.wall : 0;
  say("stage", state.state === "finished" ? "" : state.stage + asked + (ago > 10 ? `; last news ${clock(ago)} ago` : ""));
}

function drawElapsed() {
  const state = seen.state;
  if (!state) return;
  const running = state.state === "running" && state.since;
  say("elapsed", running ? "for " + clock(Date.now() / 1000 - state.since) + " now" : state.seconds ? "in " + clock(state.seconds) : "");
}

// Round steps for an axis: 1, 2 or 5 times a power of ten.
function ticks(low, high, count) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw);
  const every = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high + step * 1e-9; place += 1) every.push(place * step || 0);
  return { every, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

function drawCurve(points) {
  const box = $("curve"), width = box.clientWidth || 600, height = 190, left = 44, bottom = 26, top = 10, right = 14;
  const priced = points.some((point) => point.dollars > 0);
  document.querySelector('[data-axis="dollars"]').hidden = !priced;
  if (!priced && ui.axis === "dollars") ui.axis = "calls";
  box.setAttribute("viewBox", `0 0 ${width} ${height}`);
  if (!points.length) { box.replaceChildren(svg("text", { x: left, y: 60 }, "The first prompts are being scored.")); return; }
  const xs = points.map((point) => point[ui.axis]), ys = points.map((point) => 100 * point.score);
  const now = ui.axis === "calls" ? seen.state.spent.calls : ui.axis === "dollars" ? seen.state.spent.dollars : seen.state.seconds;
  const far = Math.max(now, ...xs) || 1, low = Math.max(0, Math.min(...ys) - 5), high = Math.min(100, Math.max(...ys) + 5);
  const x = (value) => left + (value / far) * (width - left - right), y = (value) => top + (1 - (value - low) / (high - low || 1)) * (height - top - bottom);
  const parts = [], up = ticks(low, high, 4), along = ticks(0, far, width < 500 ? 3 : 6);
  for (const value of up.every) parts.push(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }), svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(up.digits) + "%"));
  for (const value of along.every) parts.push(svg("text", { x: x(value), y: height - 8, "text-anchor": value ? "middle" : "start" }, ui.axis === "seconds" ? clock(value) : (ui.axis === "dollars" ? "$" : "") + (along.digits ? value.toFixed(along.digits) : number(value))));
  const way = xs.map((value, i) => `${i ? "H" + x(value) + "V" + y(ys[i]) : "M" + x(value) + "," + y(ys[i])}`).join("") + "H" + x(far);
  parts.push(svg("path", { class: "way", d: way }));
  points.forEach((point, i) => {
    const dot = svg("circle", { cx: x(xs[i]), cy: y(ys[i]), r: 4 });
    dot.append(svg("title", {}, `${point.address}: ${percent(point.score)}, ${number(point.calls)} calls`));
    parts.push(dot);
  });
  box.replaceChildren(...parts);
}

// Candidates: a tree for the system prompt and one for each task, children below the prompt that they were to improve on.
const nodes = new Map();

function drawTree() {
  const groups = new Map();
  for (const one of seen.candidates.values()) {
    const group = one.level === "system" ? "System prompts" : "User prompts of " + one.task;
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(one);
  }
  const tree = $("tree"), wanted = [];
  const titles = [...groups.keys()].sort((a, b) => (a === "System prompts" ? -1 : b === "System prompts" ? 1 : a.localeCompare(b)));
  for (const title of titles) {
    const every = groups.get(title), kept = every.filter((one) => one.outcome === "kept").length;
    const heading = nodes.get(title) || el("h3", {});
    nodes.set(title, heading);
    const text = `${title}: ${every.length} proposals, ${kept} kept`;
    if (heading.textContent !== text) heading.textContent = text;
    wanted.push(heading);
    const children = new Map();
    for (const one of every) {
      const parent = seen.candidates.has(one.parent) ? one.parent : "";
      if (!children.has(parent)) children.set(parent, []);
      children.get(parent).push(one);
    }
    const walk = (parent, depth) => {
      const below = children.get(parent) || [];
      const same = new Map();  // of those for which nobody was asked one stands for all that have its reason
      for (const one of below) if (one.unasked) same.set(one.outcome, (same.get(one.outcome) || 0) + 1);
      for (const one of below) {
        if (one.unasked && !same.has(one.outcome)) continue;
        wanted.push(candidateNode(one, depth, same.get(one.outcome) || 1));
        if (one.unasked) same.delete(one.outcome);
        if (one.address !== parent) walk(one.address, depth + 1);
      }
    };
    walk("", 0);
  }
  if (!wanted.length) wanted.push(el("p", { class: "soft" }, "No prompt has been proposed yet."));
  wanted.forEach((node, place) => { if (tree.children[place] !== node) tree.insertBefore(node, tree.children[place] || null); });
  while (tree.children.length > wanted.length) tree.lastChild.remove();
}

function candidateNode(one, depth, times) {
  const key = "@" + one.address, open = one.outcome === "being scored", going = seen.state && seen.state.state === "running";
  const outcome = open && !going ? "not scored" : one.outcome;
  let node = nodes.get(key);
  const says = JSON.stringify([one, outcome, depth, times]);
  if (!node) {
    node = el("details", { "data-address": one.address }, el("summary", {}), el("div", { class: "inside" }));
    node.addEventListener("toggle", () => { if (node.open) openCandidate(one.address, node); });
    nodes.set(key, node);
  }
  if (node.says === says) return node;
  node.says = says;
  node.classList.remove("depth-0", "depth-1", "depth-2", "depth-3", "depth-4");
  node.classList.add("depth-" + Math.min(depth, 4));
  const known = open || ["kept", "passed over", "dropped"].includes(outcome);
  node.firstChild.replaceChildren(
    el("span", { class: "score" }, percent(one.score)),
    el("span", { class: "tag " + (known ? slug(outcome) : "") }, known ? outcome : times > 1 ? `no prompt, ${times}×` : "no prompt"),
    el("span", { class: "what", title: one.place }, one.text || one.outcome),
  );
  if (node.open) openCandidate(one.address, node);
  return node;
}

async function openCandidate(address, node) {
  const answer = await fetch(`/candidate?run=${encodeURIComponent(name)}&address=${encodeURIComponent(address)}`);
  if (!answer.ok) return;
  const one = await answer.json(), inside = node.lastChild;
  const text = el("div", { class: "text diff" });
  for (const span of one.spans) text.append(span.change === "added" ? el("ins", {}, span.text) : span.change === "removed" ? el("del", {}, span.text) : span.text);
  const button = el("button", {}, "copy");
  button.addEventListener("click", () => copy(one.text, button));
  inside.replaceChildren(
    el("p", { class: "soft" }, one.place + (one.why ? ": " + one.why : "")),
    one.text ? el("div", { class: "row" }, el("span", { class: "soft" }, "What changed against the prompt that it was to improve on:"), button) : el("p", { class: "soft" }, one.outcome),
    one.text ? text : null,
    ...one.steps.flatMap(([step, said]) => [el("p", { class: "soft" }, "The optimizer, asked to " + step + ":"), el("div", { class: "text" }, said)]),
  );
  while (inside.lastChild && inside.lastChild.textContent === "null") inside.lastChild.remove();
}

const TEXTS = new Set(["role", "metric", "run", "date", "state", "models", "changed"]);
const side = (column) => (TEXTS.has(column) ? "left " : "") + "of-" + slug(column);

function table(target, columns, rows) {
  target.replaceChildren(el("tr", {}, ...columns.map((column) => el("th", { class: side(column) }, column))), ...rows.map((row) => el("tr", {}, ...row.map((cell, place) => el("td", { class: side(columns[place]) }, tight(cell))))));
}

function drawTasks() {
  const state = seen.state, own = state && state.tasks, found = own || (seen.answers && seen.answers.table);
  table($("task-table"), found ? found.columns : [], found ? found.rows : []);
  say("task-note", own ? "On the test examples, with 95% intervals." : found ? "On the train examples so far: first prompts against the best so far." : seen.answers ? "Nothing to compare yet." : "Reading the answers …");
}

function drawServers() {
  const lanes = Object.entries((seen.state && seen.state.lanes) || {}), running = seen.state && seen.state.state === "running";
  $("lanes").replaceChildren(...(lanes.length ? lanes.map(([lane, now]) => el("div", {},
    el("h3", {}, `${lane} model`), now.stopped ? el("p", { class: "bad" }, now.stopped) : null,
    el("dl", {},
      ...(running ? [
        el("dt", {}, "calls out"), el("dd", {}, `${now.in_flight} of ${now.concurrency} at once; ${number(now.queued)} waiting for their turn, ${now.retrying} to be tried again`),
        el("dt", {}, "speed"), el("dd", {}, `${number(now.tokens_per_second)} tokens a second; ${number(now.answered)} answered`),
      ] : [el("dt", {}, "calls"), el("dd", {}, `${number(now.answered)} answered, up to ${now.concurrency} at once`)]),
      el("dt", {}, "limits"), el("dd", {}, limits(now)),
      el("dt", {}, "servers"), el("dd", {}, ...now.endpoints.map((server) => el("div", { class: server.health === "down" ? "bad" : "" }, `${server.name}: ${server.health}, ${running ? `${server.in_flight} out, ` : ""}${number(server.answered)} answered`)))))) : [el("p", { class: "soft" }, "Nothing is known of the servers: this run was not watched by a version that says so.")]));
}

function limits(now) {
  const said = [];
  if (now.requests_per_minute) said.push(`${number(now.requests_in_minute)} of ${number(now.requests_per_minute)} requests a minute`);
  if (now.tokens_per_minute) said.push(`${number(now.tokens_in_minute)} of ${number(now.tokens_per_minute)} tokens a minute`);
  said.push(`refused for the rate ${now.refused} time${now.refused === 1 ? "" : "s"}`);
  if (now.held > 0) said.push(`held back for ${Math.ceil(now.held)} s more`);
  return said.join("; ");
}

async function loadAnswers() {
  const points = seen.state ? seen.state.points.length + seen.state.state : "";
  if (!points || seen.answersFor === points) return;
  seen.answersFor = points;
  const answer = await fetch(`/answers?run=${encodeURIComponent(name)}`);
  if (!answer.ok) { seen.answersFor = ""; return; }
  seen.answers = await answer.json();
  changed("answers", "tasks", "state");
}

const FILTERS = {
  "": () => true,
  worse: (each) => each.change === "worse",
  better: (each) => each.change === "better",
  wrong: (each) => each.after && each.after.grade !== null && each.after.grade < 1,
  malformed: (each) => each.after && each.after.status === "malformed",
};

function readAs(outcome) {
  if (!outcome) return "not in the cache";
  if (outcome.status === "failed") return "no answer: " + (outcome.reason || "");
  return outcome.read === null ? "not in the form asked for" : outcome.read;
}

function drawAnswers() {
  const found = seen.answers;
  say("answers-note", found ? [found.after ? "After: " + found.after + "." : "", found.why].filter(Boolean).join(" ") : "Reading the answers …");
  if (!found) return;
  $("answer-list").replaceChildren(...found.tasks.flatMap((task) => {
    const shown = task.examples.filter(FILTERS[ui.filter]);
    const counts = Object.entries(task.counts).filter(([, count]) => count).map(([change, count]) => `${count} ${change}`).join(", ");
    return [
      el("h3", {}, `${task.task} (${task.role}, ${task.split} examples): ${counts}`),
      ...confusion(task),
      ...shown.map(answerNode),
      task.left_out ? el("p", { class: "soft" }, `${task.left_out} more are shown by metaspo answers --all.`) : null,
    ].filter(Boolean);
  }));
}

function confusion(task) {
  if (!task.confusion.before || ui.filter) return [];
  const { before, after } = task.confusion, right = Object.keys(before);
  const read = [...new Set([...right, ...right.flatMap((label) => [...Object.keys(before[label]), ...Object.keys(after[label])])])];
  const rows = right.map((label) => [label, ...read.map((each) => { const a = before[label][each] || 0, b = after[label][each] || 0; return a || b ? `${a} → ${b}` : "·"; })]);
  const made = el("table", {});
  table(made, ["right answer", ...read], rows);
  return [el("p", { class: "soft" }, "How often it was read as (before → after):"), el("div", { class: "scroll" }, made)];
}

function answerNode(each) {
  const side = (label, outcome) => [el("dt", {}, label), el("dd", {}, el("b", { class: outcome && outcome.grade !== null ? (outcome.grade >= 1 ? "good" : "bad") : "" }, readAs(outcome)), outcome && outcome.text ? el("div", { class: "text" }, outcome.text) : "")];
  return el("details", {},
    el("summary", {}, el("span", { class: "tag " + slug(each.change) }, each.change), el("span", { class: "what" }, each.question)),
    el("dl", { class: "inside" }, el("dt", {}, "question"), el("dd", { class: "text" }, each.question), el("dt", {}, "where"), el("dd", { class: "soft" }, each.where), ...(each.expected.some(Boolean) ? [el("dt", {}, "expected"), el("dd", {}, each.expected.join(" or "))] : []), ...side("before", each.before), ...side("after", each.after)));
}

function drawLog() {
  const box = $("lines"), atEnd = box.scrollTop + box.clientHeight > box.scrollHeight - 30;
  box.textContent = (seen.hurried ? seen.lines.slice(-FEW_LINES) : seen.lines).map(lineText).join("\n");
  say("skipped", seen.skipped > 0 ? `${number(seen.skipped)} lines went by too fast to be shown; the journal has them all.` : "");
  if (atEnd) box.scrollTop = box.scrollHeight;
}

function shown(value) {
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
  const text = (typeof value === "string" ? value : JSON.stringify(value)).replaceAll("\n", " ⏎ ");
  return text.length > 160 ? text.slice(0, 159) + "…" : text;
}

function lineText(line) {
  const { event, address, t, crc32, ...rest } = line;
  const said = Object.entries(rest).map(([key, value]) => `${key}=${shown(value)}`).join("  ");
  return `${(t === undefined ? "" : Number(t).toFixed(3)).padStart(9)}  ${event}  ${address || ""}  ${said}`;
}

function showTab(tab) {
  ui.tab = tab;
  for (const button of document.querySelectorAll("#tabs button")) button.setAttribute("aria-selected", String(button.dataset.tab === tab));
  for (const panel of document.querySelectorAll('[role="tabpanel"]')) panel.hidden = panel.id !== tab;
  changed(tab);
}

function watchRun() {
  $("run").hidden = $("keys").hidden = false;
  const source = new EventSource(`/events?run=${encodeURIComponent(name)}`);
  source.onopen = () => say("link", "");
  source.onerror = () => say("link", "not connected; trying again");
  source.addEventListener("state", (event) => {
    const before = seen.state;
    seen.state = JSON.parse(event.data);
    changed("state", "servers", "tasks", ...(before && before.state !== seen.state.state ? ["candidates"] : []));
    loadAnswers();
  });
  source.addEventListener("candidates", (event) => {
    for (const one of JSON.parse(event.data)) seen.candidates.set(one.address, one);
    changed("candidates");
  });
  source.addEventListener("log", (event) => {
    const { lines, skipped } = JSON.parse(event.data);
    seen.skipped += skipped;
    seen.lines.push(...lines.filter((line) => line.event !== "spent"));
    if (skipped > 0) {
      clearTimeout(seen.hurried);
      seen.hurried = setTimeout(() => { seen.hurried = 0; changed("log"); }, CALM);
    }
    if (seen.lines.length > MOST_LINES) seen.lines.splice(0, seen.lines.length - MOST_LINES);
    changed("log");
  });
  setInterval(() => { drawStage(); drawElapsed(); }, 1000);
  addEventListener("resize", () => changed("state"));
}

// A comparison fills up: methods by domain and seed.
function gridNodes(grid) {
  const cell = (one) => {
    if (!one) return el("td", {});
    const bar = el("i", {}), text = one.score || (one.state === "to come" ? "·" : one.share ? Math.floor(100 * one.share) + "%" : one.state);
    bar.style.width = 100 * (one.state === "finished" ? 1 : one.share || 0) + "%";
    const broken = ["finished", "running", "to come"].includes(one.state) || text === one.state ? null : el("div", {}, one.state);
    return el("td", { class: "cell " + slug(one.state), title: one.state }, one.name ? el("a", { href: "/?run=" + encodeURIComponent(one.name) }, text) : text, el("div", { class: "bar" }, bar), broken);
  };
  const head = el("tr", {}, ...["method", ...grid.columns].map((column) => el("th", {}, column)));
  return [
    el("h2", {}, `${grid.name}: ${grid.done} of ${grid.all} runs done; best score so far on the train examples`),
    el("div", { class: "scroll" }, el("table", { class: "study" }, head, ...grid.rows.map((row) => el("tr", {}, el("td", {}, row.method), ...row.cells.map(cell))))),
    ...(grid.fixed.length ? [el("p", {}, `Fixed prompts, scored on the test splits at the end: ${grid.fixed.join(", ")}.`)] : []),
  ];
}

async function watchAll() {
  $("overview").hidden = false;
  try {
    const found = await (await fetch("/runs")).json();
    if (found.runs.length === 1 && !location.hash) { location.replace("/?run=" + encodeURIComponent(found.runs[0].name)); return; }
    say("link", "");
    $("no-runs").hidden = found.runs.length > 0;
    const running = found.runs.filter((run) => run.state === "running").length;
    say("title", `${found.runs.length} runs${running ? `, ${running} going on` : ""}`);
    $("grids").replaceChildren(...found.grids.flatMap(gridNodes));
    const head = el("tr", {}, ...["run", ...found.columns].map((column) => el("th", { class: side(column) }, column)));
    $("runs").replaceChildren(head, ...found.runs.map((run) => {
      const bar = el("i", {});
      bar.style.width = 100 * (run.state === "finished" ? 1 : run.share || 0) + "%";
      const cells = run.texts.map((text, place) => el("td", { class: side(found.columns[place]), "data-head": found.columns[place], ...(text ? {} : { "data-empty": "" }) }, tight(text)));
      return el("tr", {}, el("td", {}, el("a", { href: "/?run=" + encodeURIComponent(run.name) }, run.name), el("div", { class: "bar" }, bar)), ...cells);
    }));
  } catch { say("link", "not connected; trying again"); }
  setTimeout(watchAll, 2000);
}

async function copy(text, button) {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = el("textarea", {});
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
}

function step(by) {
  const every = [...document.querySelectorAll('[role="tabpanel"]:not([hidden]) details')];
  if (!every.length) return;
  const at = every.findIndex((node) => node.classList.contains("selected"));
  if (at >= 0) every[at].classList.remove("selected");
  const next = every[Math.min(every.length - 1, Math.max(0, at + by))];
  next.classList.add("selected");
  next.firstChild.focus();
  next.scrollIntoView({ block: "nearest" });
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const tabs = ["candidates", "tasks", "servers", "answers", "log"];
  if (tabs[event.key - 1]) showTab(tabs[event.key - 1]);
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "o") location.href = "/#all";
});

addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("#tabs button")) button.addEventListener("click", () => showTab(button.dataset.tab));
  const press = (selector, key, part) => {
    for (const button of document.querySelectorAll(selector)) button.addEventListener("click", () => {
      ui[key] = button.dataset[key];
      for (const other of document.querySelectorAll(selector)) other.setAttribute("aria-pressed", String(other === button));
      changed(part);
    });
  };
  press("[data-axis]", "axis", "state");
  press("[data-filter]", "filter", "answers");
  $("home").href = "/#all";
  $("stop").addEventListener("click", pressStop);
  for (const button of document.querySelectorAll("[data-copies]")) button.addEventListener("click", () => copy($(button.dataset.copies).textContent, button));
  if (name) watchRun(); else watchAll();
});
