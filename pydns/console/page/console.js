// The console polls /data once a second and shows it. It changes nothing on the server.
// Names come from clients and may be hostile: every text becomes a text node (`element`, `set`), never markup.
"use strict";

const SPAN_S = 600; // the chart shows ten minutes
const PATIENCE_MS = 5000; // an answer of the server may take this long
const BETWEEN_MS = 300; // the pause between two questions: the server refuses questions that come sooner
const MOST_LINES = 200;
const MOST_RECORDS = 20;
const SVG = "http://www.w3.org/2000/svg";
const SOURCE_TITLES = {
  table: "table", cache: "cache", upstream: "upstreams", stale: "expired", none: "refused",
};
const RCODE_COLOURS = { NOERROR: "c0", NXDOMAIN: "c2", SERVFAIL: "cbad", REFUSED: "c4" };
const INDICATORS = { programming: "Change served", lookups: "Lookup", errors: "SERVFAIL" };
const GROUPS = { own: "own names", forwarded: "forwarded names" };

const state = { periods: [], bySource: true, paused: false, data: null, heard: 0, mark: null, asked: 0, mayAsk: 0, last: 0, lines: [], filter: "" };
const wait = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });
const byId = (id) => document.getElementById(id);

// Showing texts

function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name === "class") made.className = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return made;
}

// Change a text only if it differs, so that a text which the reader has selected stays selected.
function set(target, text, className) {
  const node = typeof target === "string" ? byId(target) : target;
  if (node.textContent !== text) node.textContent = text;
  if (className !== undefined && node.className !== className) node.className = className;
}

// Show rows in a table body. A cell is a text, or {text, class, tag, swatch, path}.
function showRows(body, rows, columns) {
  if (!rows.length) rows = [[{ text: "none", class: "empty" }]];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, index) => {
    const row = body.rows[index] || body.insertRow();
    while (row.cells.length > cells.length) row.deleteCell(-1);
    cells.forEach((cell, place) => {
      const node = row.cells[place] || row.insertCell();
      showCell(node, typeof cell === "string" ? { text: cell } : cell);
      const span = cells.length === 1 && columns ? columns : 1;
      if (node.colSpan !== span) node.colSpan = span;
    });
  });
}

function showCell(node, cell) {
  const shown = JSON.stringify(cell);
  if (node.dataset.shown === shown) return;
  node.dataset.shown = shown;
  node.className = cell.class || "";
  node.title = cell.title || "";
  const parts = [];
  if (cell.swatch) parts.push(element("span", { class: `swatch ${cell.swatch}` }));
  if (cell.tag !== undefined) parts.push(element("span", { class: `tag ${cell.tag}` }, cell.text));
  else if (cell.act) {
    const link = element("button", { type: "button", class: "link" }, ...breakable(cell.text));
    link.addEventListener("click", () => (cell.act === "filter" ? filterBy(cell.text) : explainLine(cell)));
    parts.push(link);
  } else if (cell.path !== undefined) parts.push(spark(cell.path, cell.text));
  else parts.push(...(cell.class === "name" ? breakable(cell.text) : [cell.text]));
  if (cell.more) parts.push(element("span", { class: "quiet" }, ` ${cell.more}`));
  node.replaceChildren(...parts);
}

// Return a text that may be broken after its dots.
function breakable(text) {
  return text.split(/(?<=\.)(?=.)/).flatMap((part, index) => (index ? [document.createElement("wbr"), part] : [part]));
}

const clock = (time) => new Date(time * 1000).toLocaleTimeString("en-GB");
const number = (value) => Math.round(value).toLocaleString("en");
const rate = (value) => (value < 10 ? value.toFixed(1) : number(value));
const share = (part, whole) => (whole ? `${((part / whole) * 100).toFixed(part && part / whole < 0.01 ? 2 : 1)} %` : "–");

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0 s";
  if (seconds < 0.0995) return `${(seconds * 1000).toPrecision(2)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

function octets(value) {
  return value < 1e6 ? `${(value / 1e3).toFixed(0)} kB` : `${(value / 1e6).toFixed(1)} MB`;
}

// Polling

async function poll() {
  if (!state.paused) {
    const last = state.periods.length ? state.periods[state.periods.length - 1].number : 0;
    try {
      const reply = await fetch(`/data?after=${last}`, { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" });
      if (!reply.ok) throw new Error(await reply.text());
      take(await reply.json(), last);
      state.heard = Date.now();
      await pollQueries();
    } catch (error) {
      state.problem = error.message;
    }
  }
  showContact();
  setTimeout(poll, 1000);
}

async function pollQueries() {
  const filter = new URLSearchParams(new FormData(byId("filter"))).toString();
  if (filter !== state.filter) Object.assign(state, { filter, last: 0, lines: [] });
  const reply = await fetch(`/queries?after=${state.last}&${filter}`, { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" });
  if (!reply.ok || filter !== state.filter) return;
  const found = await reply.json();
  if (found.last < state.last) state.lines = []; // the console was restarted
  state.last = found.last;
  state.lines = [...found.lines, ...state.lines].slice(0, MOST_LINES);
  showTop(found.top, found.problem);
  // Rows stay where they are while the reader has scrolled down to read them.
  if (byId("tail-rows-box").scrollTop < 5) showTail(found.problem);
}

function take(data, last) {
  // A console that was restarted counts its periods from 1 again.
  if (data.periods.length && data.periods[0].number <= last) state.periods = [];
  state.periods.push(...data.periods);
  state.periods = state.periods.filter((period) => period.time > data.time - SPAN_S);
  state.data = data;
  show(data);
}

function showContact() {
  const silent_s = state.heard ? (Date.now() - state.heard) / 1000 : 0;
  const lost = !state.paused && (silent_s > 3 || (!state.heard && state.problem));
  document.body.classList.toggle("lost", Boolean(lost));
  if (lost) {
    set("verdict", "no contact", "pill bad");
    set("contact", state.heard ? `nothing heard for ${duration(silent_s)}; is kubectl port-forward still running?` : state.problem);
  } else if (state.paused) set("contact", "paused: press p to go on");
  else if (state.data) set("contact", `up to date, ${clock(state.data.time)}`);
}

// Sections

function show(data) {
  const { status, problems } = data;
  set("domain", status.domain);
  set("version", `pydns ${data.version}`);
  const worst = problems.length ? problems[0].level : "good";
  const words = { good: "healthy", warning: "needs a look", bad: "failing" };
  set("verdict", words[worst], `pill ${worst}`);
  document.title = worst === "good" ? `pydns ${status.domain}` : `${words[worst]}: pydns ${status.domain}`;
  showProblems(problems);
  showFigures(data);
  showTraffic();
  showUpstreams(status);
  showObjectives(status.indicators);
  showKinds(data);
  showProcesses(status);
  showConfiguration(data);
}

function showProblems(problems) {
  const list = byId("problems");
  const shown = JSON.stringify(problems);
  if (list.dataset.shown === shown) return;
  list.dataset.shown = shown;
  list.replaceChildren(...problems.map(({ level, text, see }) => {
    const item = element("li", { class: level }, text);
    if (see) item.append(element("span", { class: "quiet" }, `runbook: ${see}`));
    return item;
  }));
}

function indicator(indicators, name, group, span) {
  return indicators.find((each) => each.indicator === name && each.group === group && each.window === span);
}

function allKinds(status) {
  const kinds = Object.entries(status.kinds);
  for (const [name, source] of Object.entries(status.sources)) {
    kinds.push(...Object.entries(source.kinds).map(([kind, each]) => [`${kind} of ${name}`, each]));
  }
  return kinds;
}

function showFigures({ status, age_s: late_s }) {
  const latest = state.periods[state.periods.length - 1];
  set("figure-rate", latest ? rate(total(latest.by_source) / latest.seconds) : "–");
  let oldest = null;
  for (const [kind, each] of allKinds(status)) {
    if (each.data_age_s !== null && (!oldest || each.data_age_s > oldest.age_s)) oldest = { kind, age_s: each.data_age_s };
  }
  const age_s = oldest ? oldest.age_s + late_s : null;
  set("figure-age", duration(age_s), age_s > 900 ? "bad" : "");
  set("figure-age-of", oldest ? oldest.kind : "nothing listed");
  const errors = indicator(status.indicators, "errors", "own", "5m");
  set("figure-errors", errors && errors.events ? `${((1 - errors.good) * 100).toFixed(2)} %` : "–", isMissed(errors) ? "bad" : "");
  const lookup = indicator(status.indicators, "lookups", "own", "5m");
  set("figure-lookup", lookup ? duration(lookup.p99_s) : "–", isMissed(lookup) ? "warning" : "");
  const changes = status.indicators.filter((each) => each.indicator === "programming" && each.window === "1h" && each.events);
  const slowest = changes.reduce((found, each) => (!found || each.p99_s > found.p99_s ? each : found), null);
  set("figure-change", slowest ? duration(slowest.p99_s) : "–", isMissed(slowest) ? "warning" : "");
  set("figure-change-of", slowest ? `${slowest.group}, 1 h` : "until served, 1 h");
  set("figure-table", status.table ? number(status.table.answers) : "–");
  set("figure-table-of", status.table ? `answers, ${octets(status.table.bytes)}` : "");
}

const total = (counts) => Object.values(counts).reduce((sum, each) => sum + each, 0);
const isMissed = (row) => Boolean(row) && row.objective !== null && row.good !== null && row.good < row.objective;

// The chart: stacked areas. The series are in the same order in the legend, from the top down.

function series() {
  const { data } = state;
  if (state.bySource) {
    return data.sources.map((name, index) => ({ name, title: SOURCE_TITLES[name] || name, colour: `c${index % 7}`, of: (period) => period.by_source[name] || 0 }));
  }
  const sums = new Map();
  for (const period of state.periods) for (const [name, count] of Object.entries(period.by_rcode)) sums.set(name, (sums.get(name) || 0) + count);
  const names = [...sums.keys()].sort((one, other) => sums.get(other) - sums.get(one));
  const spare = ["c1", "c3", "c5", "c6"];
  return names.map((name, index) => ({ name, title: name, colour: RCODE_COLOURS[name] || spare[index % spare.length], of: (period) => period.by_rcode[name] || 0 }));
}

function showTraffic() {
  const { data, periods } = state;
  const shown = series();
  const latest = periods[periods.length - 1];
  const sums = shown.map((each) => periods.reduce((sum, period) => sum + each.of(period), 0));
  const whole = sums.reduce((sum, each) => sum + each, 0);
  const rows = shown.map((each, index) => [
    { text: each.title, swatch: each.colour },
    { text: latest ? rate(each.of(latest) / latest.seconds) : "–", class: "n" },
    { text: number(sums[index]), class: "n" },
    { text: share(sums[index], whole), class: "n" },
  ]);
  showRows(byId("legend"), rows, 4);
  const rates = periods.map((period) => shown.map((each) => each.of(period) / period.seconds));
  const highest = roundUp(Math.max(1, ...rates.map((each) => each.reduce((sum, value) => sum + value, 0))));
  set("chart-top", `${number(highest)} /s`);
  const x = (period) => 600 + (period.time - data.time) * (600 / SPAN_S);
  const y = (value) => 150 - (value / highest) * 148;
  const drawn = [];
  for (const part of [0.25, 0.5, 0.75]) drawn.push(line("grid", 0, 150 - 148 * part, 600, 150 - 148 * part));
  const below = periods.map(() => 0);
  const areas = [];
  shown.forEach((each, index) => {
    const bottom = periods.map((period, at) => `${x(period).toFixed(1)},${y(below[at]).toFixed(1)}`);
    rates.forEach((values, at) => { below[at] += values[index]; });
    const top = periods.map((period, at) => `${x(period).toFixed(1)},${y(below[at]).toFixed(1)}`);
    if (!periods.length || !sums[index]) return;
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", `M${top.join("L")}L${bottom.reverse().join("L")}Z`);
    path.setAttribute("class", each.colour);
    areas.push(path);
  });
  drawn.push(...areas);
  const marked = periods.find((period) => period.number === state.mark);
  if (marked) drawn.push(line("mark", x(marked), 0, x(marked), 150));
  byId("plot").replaceChildren(...drawn);
  showReadout(marked, shown);
}

function showReadout(period, shown) {
  if (!period) return set("readout", "");
  const parts = shown.filter((each) => each.of(period)).map((each) => `${each.name} ${rate(each.of(period) / period.seconds)}`);
  return set("readout", `${clock(period.time)}  ${rate(total(period.by_source) / period.seconds)} /s  ${parts.join("  ")}`);
}

function line(className, x1, y1, x2, y2) {
  const made = document.createElementNS(SVG, "line");
  for (const [name, value] of Object.entries({ x1, y1, x2, y2, class: className })) made.setAttribute(name, value);
  return made;
}

function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((each) => each * power >= value) * power;
}

function moveMark(step) {
  const at = state.periods.findIndex((period) => period.number === state.mark);
  const next = at < 0 ? state.periods.length - 1 : Math.min(Math.max(at + step, 0), state.periods.length - 1);
  if (state.periods[next]) state.mark = state.periods[next].number;
  if (state.data) showTraffic();
}

// Recent queries

const filterLink = (text, more) => ({ text, more, class: "name", act: "filter", title: "Show only the queries with this text" });

function showTop(top, problem) {
  set("top-note", problem || (top.queries ? `${number(top.queries)} queries in ${duration(top.seconds)}` : ""));
  const rows = (found) => found.map((each) => [
    filterLink(each.text, each.more),
    { text: number(each.queries), class: "n" },
    { text: each.denied ? share(each.denied, each.queries) : "–", class: "n" },
  ]);
  showRows(byId("top-names"), rows(top.names), 3);
  showRows(byId("top-clients"), rows(top.clients), 3);
  showRows(byId("top-wasted"), top.wasted.map((each) => [
    filterLink(each.text),
    { text: number(each.walks), class: "n" },
    { text: number(each.wasted), class: "n" },
  ]), 3);
}

const RESULT_TAGS = { NOERROR: "good", NODATA: "", NXDOMAIN: "warning" };

function showTail(problem) {
  set("tail-note", problem || (state.filter === state.noFilter ? "" : "filtered"));
  showRows(byId("tail-rows"), state.lines.map((each) => [
    { text: clock(each.time), class: "mono" },
    { text: each.who || each.client, class: "name", act: "filter", title: each.who ? each.client : "" },
    { text: each.name, class: "name", act: "explain", from: each.client, type: each.type, title: "Explain this answer" },
    { text: each.type, class: "spare" },
    { text: each.result, tag: RESULT_TAGS[each.result] === undefined ? "bad" : RESULT_TAGS[each.result] },
    { text: each.server ? `${each.source} ${each.server}` : each.source, class: "spare" },
    { text: duration(each.seconds), class: "n" },
  ]), 7);
}

function filterBy(text) {
  byId("filter-text").value = text;
  byId("tail").scrollIntoView({ block: "nearest" });
}

function explainLine({ text, from, type }) {
  byId("ask-text").value = text;
  byId("ask-from").value = from;
  const types = [...byId("ask-type").options].map((each) => each.value);
  byId("ask-type").value = types.includes(type) ? type : "";
  byId("explain").scrollIntoView({ block: "nearest" });
  byId("ask").requestSubmit();
}

// Other sections

function showUpstreams(status) {
  showRows(byId("upstream-rows"), status.upstreams.map((each) => {
    const dead = each.breakers_open;
    const points = state.periods.map((period) => [period.time, period.latencies_s[each.upstream]]);
    const facts = Object.keys(each.learned_s).join(", ");
    return [
      { text: each.upstream, class: "name", more: facts },
      dead ? { text: `dead for ${dead} of ${each.workers}`, tag: dead === each.workers ? "bad" : "warning" } : { text: "answers", tag: "good" },
      { text: duration(each.latency_s), class: "n" },
      { path: sparkPath(points), text: `latency of ${each.upstream}` },
    ];
  }), 4);
}

function sparkPath(points) {
  const known = points.filter(([, value]) => value !== undefined);
  if (known.length < 2) return "";
  const highest = Math.max(...known.map(([, value]) => value)) || 1;
  const end = points[points.length - 1][0];
  return `M${known.map(([time, value]) => `${(100 + (time - end) / (SPAN_S / 100)).toFixed(1)},${(17 - (value / highest) * 15).toFixed(1)}`).join("L")}`;
}

function spark(path, title) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 18");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "spark");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  const drawn = document.createElementNS(SVG, "path");
  drawn.setAttribute("d", path);
  svg.append(drawn);
  return svg;
}

function showObjectives(indicators) {
  const rows = new Map();
  for (const each of indicators) {
    const key = `${each.indicator} ${each.group}`;
    if (!rows.has(key)) rows.set(key, {});
    rows.get(key)[each.window] = each;
  }
  const figure = (row) => {
    if (!row || !row.events) return "–";
    if (row.indicator === "errors") return `${((1 - row.good) * 100).toFixed(3)} %`;
    return `${duration(row.p99_s)}`;
  };
  showRows(byId("objective-rows"), [...rows.values()].map((spans) => {
    const row = spans["5m"] || spans["1h"];
    const missed = Object.values(spans).some(isMissed);
    const kind = row.indicator === "errors" ? "" : " p99";
    const wanted = row.objective === null ? "–" : row.within_s === null ? `≤ ${+((1 - row.objective) * 100).toFixed(4)} %` : `${row.objective * 100} % ≤ ${duration(row.within_s)}`;
    return [
      { text: `${INDICATORS[row.indicator] || row.indicator}${kind}`, more: GROUPS[row.group] || row.group },
      { text: figure(spans["5m"]), class: "n" },
      { text: figure(spans["1h"]), class: "n" },
      { text: wanted, class: "n spare" },
      row.objective === null ? "" : { text: missed ? "missed" : "met", tag: missed ? "bad" : "good" },
    ];
  }), 5);
}

function showKinds({ status, age_s: late_s }) {
  set("source", `${status.source}${status.restored ? ", answers from before the restart" : ""}, serial ${status.serial}`);
  showRows(byId("kind-rows"), allKinds(status).map(([kind, each]) => {
    const tag = !each.served ? { text: "not served", tag: "" } : each.problem ? { text: "problem", tag: "warning" } : each.synced ? { text: "synced", tag: "good" } : { text: "not listed", tag: "bad" };
    return [
      { text: kind, more: each.problem || "" },
      tag,
      { text: number(each.objects), class: "n" },
      { text: number(each.skipped), class: "n" },
      { text: each.data_age_s === null ? "–" : duration(each.data_age_s + late_s), class: "n" },
    ];
  }), 5);
}

function showProcesses(status) {
  showRows(byId("process-rows"), status.processes.map((each) => {
    const worker = /^worker (\d+)$/.exec(each.process);
    const answered_s = each.answered_itself_s_ago;
    return [
      { text: each.process, more: each.stuck ? `${each.stuck} times stuck` : "" },
      each.pid ? { text: String(each.pid), class: "n" } : { text: "not running", tag: "bad", class: "n" },
      { text: String(each.restarts), class: "n" },
      { text: worker ? number(status.queries[Number(worker[1])] || 0) : "–", class: "n" },
      { text: answered_s === null ? "–" : duration(answered_s), class: "n" },
    ];
  }), 5);
}

const CONFIG_STATES = {
  none: "flags alone", unread: "not read yet", absent: "the source doesn't exist: the defaults count", accepted: "accepted", refused: "refused: the previous one stays in force",
};

function showConfiguration({ status, configuration, time }) {
  const config = status.config;
  const age = config && config.since ? `, for ${duration(time - config.since)}` : "";
  set("config-state", config ? `${config.source}: ${CONFIG_STATES[config.state] || config.state}${age}${config.hash ? `, hash ${config.hash.slice(0, 12)}` : ""}` : "unknown");
  const notes = [];
  if (config) {
    if (config.problem) notes.push(["bad", "can't be read", config.problem]);
    notes.push(...config.mistakes.map((text) => ["bad", "mistake", text]), ...config.left_out.map((text) => ["warning", "left out", text]));
    notes.push(...config.notices.map((text) => ["", "note", text]));
  }
  notes.push(...status.warnings.map((text) => ["warning", "warning", text]));
  const list = byId("config-notes");
  const shown = JSON.stringify(notes);
  if (list.dataset.shown !== shown) {
    list.dataset.shown = shown;
    list.replaceChildren(...notes.map(([level, title, text]) => element("li", {}, element("span", { class: `tag ${level}` }, title), ` ${text}`)));
  }
  set("config-lines", configuration.join("\n") || "Every key has its default.");
}

// Explaining a name

async function explain(event) {
  event.preventDefault();
  state.asked += 1;
  const mine = state.asked;
  const answer = byId("answer");
  answer.replaceChildren(element("p", { class: "quiet" }, "asking …"));
  const asked = new URLSearchParams(new FormData(byId("ask")));
  const pause_ms = state.mayAsk - Date.now();
  state.mayAsk = Math.max(state.mayAsk, Date.now()) + BETWEEN_MS;
  if (pause_ms > 0) await wait(pause_ms);
  if (mine !== state.asked) return; // the reader has asked another question in the meantime
  try {
    let reply;
    for (let tries = 0; tries < 5; tries += 1) {
      reply = await fetch(`/explain?${asked}`, { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" });
      if (reply.status !== 429) break; // another browser has just asked
      await wait(BETWEEN_MS);
    }
    const found = await reply.json();
    if (mine !== state.asked) return;
    if (found.error) answer.replaceChildren(element("p", { class: "banner bad" }, found.error));
    else answer.replaceChildren(...explanation(found));
  } catch (error) {
    answer.replaceChildren(element("p", { class: "banner bad" }, `no answer: ${error.message}`));
  }
}

const why = (each) => `${each.reason ? `${each.reason}: ` : ""}${each.why.slice(0, 4).join("; ") || each.source}`;

// Answers for one name and with the same reply share a line, such as those for A and AAAA.
function steps(tried) {
  const found = [];
  for (const each of tried) {
    const last = found[found.length - 1];
    if (last && last.name === each.name && last.reply === each.reply && why(last) === why(each)) {
      last.types.push(each.type);
      last.records = [...last.records, ...each.records];
    } else found.push({ ...each, types: [each.type] });
  }
  return found;
}

function explanation({ understood, explanation: found }) {
  const tag = (each) => element("span", { class: `tag ${each.has_answer ? "good" : ["SERVFAIL", "REFUSED"].includes(each.reply) ? "bad" : "warning"}` }, each.reply);
  const shown = [];
  if (understood.name !== byId("ask-text").value.trim()) shown.push(element("p", { class: "quiet" }, "The question is ", element("span", { class: "mono" }, `${understood.name} ${understood.type}`)));
  const asker = found.pod || (found.search === null ? null : `a pod in namespace ${found.search}`);
  if (asker) shown.push(element("p", { class: "quiet" }, `As ${asker} looks it up${found.ndots === null ? "" : `, ndots:${found.ndots}`}:`));
  shown.push(element("ol", {}, ...steps(found.tried).map((each) => {
    const line = element("li", {}, element("span", { class: "mono" }, ...breakable(each.name), ` ${each.types.join(", ")}`), tag(each), element("span", { class: "quiet" }, why(each)));
    if (each.records.length) line.append(element("pre", {}, each.records.slice(0, MOST_RECORDS).join("\n")));
    return line;
  })));
  if (found.result) shown.push(element("p", {}, element("strong", {}, "Result: "), found.result));
  for (const hint of found.hints) shown.push(element("p", {}, element("strong", {}, "Hint: "), hint));
  for (const note of found.notes) shown.push(element("p", { class: "quiet" }, `Note: ${note}`));
  return shown;
}

// Keys and pointers

function showBy(bySource) {
  state.bySource = bySource;
  byId("by-source").setAttribute("aria-pressed", String(bySource));
  byId("by-rcode").setAttribute("aria-pressed", String(!bySource));
  if (state.data) showTraffic();
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const actions = {
    "/": () => byId("ask-text").focus(),
    f: () => byId("filter-text").focus(),
    b: () => showBy(!state.bySource),
    p: () => { state.paused = !state.paused; showContact(); },
  };
  if (actions[event.key]) {
    event.preventDefault();
    actions[event.key]();
  }
}

function start() {
  byId("by-source").addEventListener("click", () => showBy(true));
  byId("by-rcode").addEventListener("click", () => showBy(false));
  state.noFilter = new URLSearchParams(new FormData(byId("filter"))).toString();
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("ask").addEventListener("submit", explain);
  document.addEventListener("keydown", pressed);
  const plot = byId("plot");
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -1000, End: 1000 }[event.key];
    if (step) { event.preventDefault(); moveMark(step); }
  });
  plot.addEventListener("pointermove", (event) => {
    if (!state.data) return;
    const box = plot.getBoundingClientRect();
    const time = state.data.time - SPAN_S * (1 - (event.clientX - box.left) / box.width);
    const nearest = state.periods.reduce((found, period) => (!found || Math.abs(period.time - time) < Math.abs(found.time - time) ? period : found), null);
    state.mark = nearest ? nearest.number : null;
    showTraffic();
  });
  plot.addEventListener("pointerleave", () => { state.mark = null; if (state.data) showTraffic(); });
  poll();
}

start();
