// The status page: draws /status.json once a second. Text from models and clients is only ever set as text,
// never as markup.
"use strict";

const REFRESH_MS = 1000;
const STEPS = 60; // of five seconds, in a plot
const SVG = "http://www.w3.org/2000/svg";
let shown = null;
let choices = "";

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${(seconds * 1000).toPrecision(3)} ms`;
  if (seconds < 60) return `${seconds.toPrecision(3)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

function megabytes(bytes) {
  return bytes === null || bytes === undefined ? "–" : `${Math.round(bytes / 1048576)} MB`;
}

function moment(time) {
  return new Date(time * 1000).toLocaleTimeString();
}

function row(cells) {
  const made = element("tr");
  for (const [text, className] of cells) made.append(element("td", text, className));
  return made;
}

function plot(values, label, className) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "plot");
  svg.setAttribute("viewBox", "0 0 100 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  const top = Math.max(...values.map((value) => value ?? 0), 1e-9);
  const across = Math.max(values.length, STEPS) - 1;
  const padded = [...Array(Math.max(STEPS - values.length, 0)).fill(0), ...values];
  const points = padded.map((value, n) => `${((n / across) * 100).toFixed(2)} ${(29 - ((value ?? 0) / top) * 28).toFixed(2)}`);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", points.length ? `M ${points.join(" L ")}` : "");
  if (className) path.setAttribute("class", className);
  svg.append(path);
  return svg;
}

function figure(list, name, value, picture) {
  const box = element("div");
  box.append(element("dt", name), element("dd", value));
  if (picture) box.append(picture);
  list.append(box);
}

function modelCard(model) {
  const card = element("div", null, "card");
  const title = model.default ? `${model.name} (default)` : model.name;
  card.append(element("h3", title));
  const table = element("table");
  const head = element("tr");
  for (const name of ["Version", "State", "On", "Load time", "Error"]) {
    const cell = element("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  const body = element("tbody");
  for (const version of model.versions) {
    body.append(row([
      [version.version, "number"],
      [version.state, version.state === "AVAILABLE" ? "good" : "bad"],
      [version.program],
      [duration(version.load_seconds), "number"],
      [version.error || "", "text"],
    ]));
  }
  if (!model.versions.length) body.append(row([["No model server has answered yet.", "text"]]));
  const top = element("thead");
  top.append(head);
  table.append(top, body);
  const wide = element("div", null, "wide");
  wide.append(table);
  card.append(wide);
  return card;
}

function trafficCard(model) {
  const card = element("div", null, "card");
  const figures = element("dl", null, "figures");
  const window_ = model.window;
  const seconds = window_.seconds || 1;
  const of = (pick) => window_.steps.map(pick);
  card.append(element("h3", model.name));
  const perSecond = (window_.requests / seconds).toPrecision(3);
  figure(figures, "Requests a second", perSecond, plot(of((s) => s.requests), "requests over five minutes"));
  figure(figures, "Errors", String(window_.errors), plot(of((s) => s.errors), "errors over five minutes", "bad"));
  figure(figures, "p50", duration(window_.p50), plot(of((s) => s.p50), "median duration over five minutes"));
  figure(figures, "p99", duration(window_.p99), plot(of((s) => s.p99), "99th percentile over five minutes"));
  figure(figures, "In flight", String(model.in_flight));
  if (window_.max_batch_size) {
    const fill = window_.batch_rows === null ? "–" : `${window_.batch_rows.toPrecision(3)} of ${window_.max_batch_size}`;
    figure(figures, "Batch fill", fill, plot(of((s) => s.batch_rows), "batch fill over five minutes"));
    figure(figures, "Queue time", duration(window_.queue_seconds));
  }
  card.append(figures);
  return card;
}

function draw(status) {
  const verdict = byId("verdict");
  if (verdict.textContent !== status.verdict) verdict.textContent = status.verdict;
  verdict.className = status.healthy ? "good" : "bad";
  const since = status.since === null ? "" : `For ${duration(status.time - status.since)}, since ${new Date(status.since * 1000).toLocaleString()}.`;
  byId("since").textContent = since;
  byId("degraded").replaceChildren(...status.degraded.map((text) => element("li", text)));
  byId("models").replaceChildren(...status.models.map(modelCard));
  if (!status.models.length) byId("models").append(element("p", "No model is loaded.", "quiet"));
  byId("processes").replaceChildren(...status.processes.map((process) => row([
    [process.program],
    [process.state, process.state === "RUNNING" ? "good" : "bad"],
    [process.pid || "–", "number"],
    [duration(process.uptime), "number"],
    [megabytes(process.memory_bytes), "number"],
    [String(process.restarts), process.restarts ? "number bad" : "number"],
    [process.last_end || "", "text"],
  ])));
  byId("traffic").replaceChildren(...status.models.map(trafficCard));
  byId("settings").replaceChildren(...status.settings.map((setting) => {
    const made = row([[setting.variable], [setting.value, "text"], [setting.source]]);
    made.title = setting.doc;
    return made;
  }));
  byId("no-errors").hidden = status.errors.length > 0;
  byId("errors-table").hidden = status.errors.length === 0;
  byId("errors").replaceChildren(...status.errors.map((error) => row([
    [moment(error.time), "number"],
    [String(error.status), "bad"],
    [error.model],
    [error.text, "text"],
    [error.request_id, "text"],
  ])));
  byId("version").textContent = `tfsd ${status.version}`;
  offer(status);
}

function offer(status) {
  const options = [];
  for (const model of status.models)
    for (const [name, signature] of Object.entries(model.signatures))
      options.push({ model: model.name, name, signature });
  const now = JSON.stringify(options);
  if (now === choices) return;
  choices = now;
  byId("nothing-to-try").hidden = options.length > 0;
  byId("try").hidden = options.length === 0;
  const select = byId("try-signature");
  select.replaceChildren(...options.map((option, n) => {
    const made = element("option", `${option.model} / ${option.name} (${option.signature.method})`);
    made.value = String(n);
    return made;
  }));
  if (options.length) choose();
}

function chosen() {
  return JSON.parse(choices)[Number(byId("try-signature").value)];
}

function choose() {
  const { name, signature } = chosen();
  const tensors = (values) => Object.entries(values)
    .map(([key, tensor]) => `${key} ${tensor.dtype.replace("DT_", "").toLowerCase()}${tensor.shape === null ? "" : `[${tensor.shape.map((n) => (n < 0 ? "?" : n)).join(", ")}]`}`)
    .join(", ");
  byId("try-shape").textContent = `Takes ${tensors(signature.inputs)}; gives ${tensors(signature.outputs)}.`;
  const body = signature.example;
  byId("try-body").value = body === null ? "" : JSON.stringify(name === "serving_default" ? body : { signature_name: name, ...body });
  byId("try-answer").textContent = "Not sent yet.";
  curl();
}

function request() {
  const { model, signature } = chosen();
  const path = shown.multi_model ? `/models/${encodeURIComponent(model)}/invoke` : "/invocations";
  const attributes = [];
  if (!shown.multi_model && shown.models.length > 1) attributes.push(`tfs-model-name=${model}`);
  if (signature.method !== "predict") attributes.push(`tfs-method=${signature.method}`);
  const headers = { "Content-Type": "application/json" };
  if (attributes.length) headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes.join(",");
  return { path, headers, body: byId("try-body").value };
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function curl() {
  const { path, headers, body } = request();
  const words = Object.entries(headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`);
  byId("try-curl").textContent = `curl -s ${words.join(" ")} -d ${quoted(body)} ${quoted(location.origin + path)}`;
}

async function send(event) {
  event.preventDefault();
  const { path, headers, body } = request();
  const answer = byId("try-answer");
  answer.textContent = "Sent; waiting …";
  try {
    const response = await fetch(path, { method: "POST", headers, body });
    answer.textContent = `${response.status}\n${await response.text()}`;
  } catch (error) {
    answer.textContent = `No response: ${error.message}`;
  }
}

async function refresh() {
  if (!document.hidden) {
    try {
      const response = await fetch("/status.json", { cache: "no-store" });
      if (!response.ok) throw new Error(`status ${response.status}`);
      shown = await response.json();
      draw(shown);
    } catch (error) {
      byId("verdict").textContent = `The endpoint does not answer: ${error.message}.`;
      byId("verdict").className = "bad";
    }
  }
  setTimeout(refresh, REFRESH_MS);
}

byId("try-signature").addEventListener("change", choose);
byId("try-body").addEventListener("input", curl);
byId("try").addEventListener("submit", send);
refresh();
