// The page of the sandbox. What the sandbox holds is set as text only, never as HTML.
"use strict";

const SHOWN_REQUESTS = 100;
const SHOWN_MINUTES = 45; // an appointment that is shorter takes as much space
const HOUR = 22; // pixels
const WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const EXPLANATIONS = {
  "drop-before": "closes the connection; nothing is done",
  "drop-after": "does it, then closes the connection",
  truncated: "does it, then sends half of the response",
  "wrong-length": "does it, then sends a response that is too short",
  "slow-drip": "does it, then sends the response byte by byte",
  "revoked-token": "says that the token is not valid",
};
const DAY = 24 * 3600 * 1000;
const byId = (id) => document.getElementById(id);
const page = { calendars: [], key: null, start: null, requests: 0, refresh: null, early: [] };

function element(name, text, className) {
  const created = document.createElement(name);
  if (text !== undefined) created.textContent = text;
  if (className) created.className = className;
  return created;
}

async function load(path, options) {
  const response = await fetch(`/_sandbox/${path}`, options);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

function keyOf(calendar) {
  return JSON.stringify([calendar.tenant, calendar.domain_id, calendar.ad_id]);
}

function mondayOf(time) {
  const day = new Date(Math.floor(time / DAY) * DAY);
  return new Date(day - ((day.getUTCDay() + 6) % 7) * DAY);
}

function showCalendars(calendars) {
  page.calendars = calendars;
  const options = calendars.map((calendar) => {
    const user = calendar.ad_id ? `, ${calendar.ad_id}` : "";
    const option = element("option", `${calendar.tenant}${user} (${calendar.count.toLocaleString("en")})`);
    option.value = keyOf(calendar);
    return option;
  });
  byId("calendar").replaceChildren(...options);
  byId("no-calendar").hidden = calendars.length > 0;
  if (!calendars.some((calendar) => keyOf(calendar) === page.key)) choose(calendars[0]);
  byId("calendar").value = page.key;
}

function choose(calendar) {
  page.key = calendar ? keyOf(calendar) : null;
  page.start = calendar ? mondayOf(Date.parse(calendar.first_start)) : mondayOf(Date.now());
}

async function showWeek() {
  const calendar = page.calendars.find((one) => keyOf(one) === page.key);
  const start = page.start;
  const end = new Date(+start + 6 * DAY);
  byId("range").textContent = `${start.toISOString().slice(0, 10)} to ${end.toISOString().slice(0, 10)}, in UTC`;
  let appointments = [];
  if (calendar) {
    const { tenant, domain_id, ad_id } = calendar;
    const query = new URLSearchParams({ tenant, domain_id, ad_id, start: start.toISOString().slice(0, 10) });
    appointments = await load(`week?${query}`);
  }
  if (start === page.start) drawWeek(start, appointments);
}

function drawWeek(start, appointments) {
  const week = byId("week");
  week.style.setProperty("--hour", `${HOUR}px`);
  const hours = element("div", undefined, "hours");
  hours.style.height = `${24 * HOUR}px`;
  for (let hour = 2; hour < 24; hour += 2) {
    const label = element("span", `${String(hour).padStart(2, "0")}:00`);
    label.style.top = `${hour * HOUR}px`;
    hours.append(label);
  }
  const heads = [element("div", "", "head")];
  const days = [hours];
  for (let number = 0; number < 7; number += 1) {
    const day = new Date(+start + number * DAY);
    heads.push(element("div", `${WEEKDAYS[number]} ${day.getUTCDate()}`, "head"));
    days.push(drawDay(+day, appointments));
  }
  week.replaceChildren(...heads, ...days);
}

function drawDay(day, appointments) {
  const column = element("div", undefined, "day");
  const shown = appointments
    .map((one) => ({ ...one, from: Date.parse(one.start), to: Date.parse(one.end) }))
    .filter((one) => one.from < day + DAY && (one.to > day || one.from >= day));
  // Those that overlap share the width: each takes the first lane that is free.
  let lanes = [];
  for (const one of shown) {
    if (lanes.every((end) => end <= one.from)) lanes = [];
    const free = lanes.findIndex((end) => end <= one.from);
    one.lane = free < 0 ? lanes.length : free;
    one.lanes = lanes;
    lanes[one.lane] = Math.max(one.to, one.from + SHOWN_MINUTES * 60 * 1000);
  }
  for (const one of shown) {
    const top = Math.max(0, (one.from - day) / DAY);
    const bottom = Math.min(1, (one.to - day) / DAY);
    const time = one.start.slice(11, 16);
    const event = element("div", `${time} ${one.title}`, "event");
    event.title = `${one.start} to ${one.end}: ${one.title}`;
    event.style.top = `${top * 24 * HOUR}px`;
    event.style.height = `${(bottom - top) * 24 * HOUR}px`;
    event.style.left = `${(one.lane / one.lanes.length) * 100}%`;
    event.style.width = `${100 / one.lanes.length}%`;
    column.append(event);
  }
  return column;
}

function showFaults(faults) {
  const items = faults.map((fault) => {
    const input = element("input");
    input.type = "checkbox";
    input.setAttribute("role", "switch");
    input.name = fault.name;
    input.checked = fault.rate > 0;
    input.addEventListener("change", setFaults);
    const label = element("label");
    const rate = fault.rate > 0 ? `on, ${(fault.rate * 100).toFixed(1)} %` : "off";
    const name = element("span", fault.name, "name");
    if (EXPLANATIONS[fault.name]) name.append(element("small", EXPLANATIONS[fault.name]));
    label.append(input, name, element("span", rate, "rate"));
    const item = element("li");
    item.append(label);
    return item;
  });
  byId("faults").replaceChildren(...items);
}

async function setFaults(event) {
  const faults = [...document.querySelectorAll("#faults input:checked")].map((input) => input.name);
  const body = JSON.stringify({ faults, share: Number(byId("share").value) });
  const focused = event?.target?.name;
  const state = await load("faults", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  showFaults(state.faults);
  if (focused) document.querySelector(`#faults input[name="${CSS.escape(focused)}"]`)?.focus();
}

function addRequest(request) {
  const row = element("tr");
  const failed = request.status === 0 || request.status >= 400;
  if (failed) row.className = "failed";
  row.append(
    element("td", request.at ? new Date(request.at * 1000).toISOString().slice(11, 23) : "earlier"),
    element("td", request.tenant),
    element("td", request.operation),
    element("td", `${request.method} ${request.path}`, "path"),
    element("td", request.status === 0 ? "closed" : String(request.status), "status"),
    element("td", request.fault ?? ""),
  );
  const rows = byId("requests");
  rows.prepend(row);
  while (rows.childElementCount > SHOWN_REQUESTS) rows.lastElementChild.remove();
  page.requests += 1;
  byId("totals").textContent = `${page.requests.toLocaleString("en")} since the page was opened.`;
}

function refreshSoon() {
  page.refresh ??= setTimeout(async () => {
    page.refresh = null;
    showCalendars((await load("state")).calendars);
    await showWeek();
  }, 250);
}

function follow() {
  const events = new EventSource("/_sandbox/events");
  events.onopen = () => { byId("connection").textContent = "connected"; };
  events.onerror = () => { byId("connection").textContent = "not connected; trying again"; };
  events.onmessage = (event) => {
    const request = JSON.parse(event.data);
    if (page.early) page.early.push(request); // those before them are still loaded
    else addRequest(request);
    if (request.applied && ["create", "update", "delete"].includes(request.operation)) refreshSoon();
  };
}

function move(days) {
  page.start = new Date(+page.start + days * DAY);
  showWeek();
}

async function main() {
  byId("address").textContent = location.origin;
  byId("previous").addEventListener("click", () => move(-7));
  byId("next").addEventListener("click", () => move(7));
  byId("share").addEventListener("change", () => setFaults());
  byId("calendar").addEventListener("change", () => {
    choose(page.calendars.find((calendar) => keyOf(calendar) === byId("calendar").value));
    showWeek();
  });
  follow();
  const state = await load("state");
  state.requests.forEach(addRequest);
  page.requests = 0;
  const loaded = new Set(state.requests.map((request) => request.id));
  page.early.filter((request) => !loaded.has(request.id)).forEach(addRequest);
  page.early = null;
  const share = state.faults.reduce((sum, fault) => sum + fault.rate, 0);
  const known = [...byId("share").options].find((option) => Math.abs(Number(option.value) - share) < 1e-6);
  if (known) byId("share").value = known.value;
  showFaults(state.faults);
  showCalendars(state.calendars);
  await showWeek();
}

main();
