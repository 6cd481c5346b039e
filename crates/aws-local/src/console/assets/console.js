// What pages do beyond being read. Without it everything works by reloading.
"use strict";

const main = document.querySelector("main");
const connection = document.getElementById("connection");
const address = main.dataset.live;

function say(text) {
  if (connection && connection.textContent !== text) connection.textContent = text;
}

// Makes one tree like another and keeps the nodes that are the same, and with them focus, selection and what is open.
function liken(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  likenChildren(old, fresh);
}

// What tells a node from its siblings, wherever it is among them: its id, or the first link of a row.
function key(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return "";
  return node.id || (node.nodeName === "TR" && node.querySelector("a")?.getAttribute("href")) || "";
}

// The next node without a key that is of the same kind, before one with a key.
function alike(at, node) {
  for (; at && !key(at); at = at.nextSibling) if (at.nodeName === node.nodeName) return at;
  return null;
}

// Those with a key are found by it, the others by their place. What goes, goes first: what stays is not moved, and keeps the
// focus.
function likenChildren(old, fresh) {
  const wanted = new Set([...fresh.childNodes].map(key));
  const kept = new Map();
  for (const node of [...old.childNodes]) {
    const name = key(node);
    if (!name) continue;
    if (!wanted.has(name) || kept.has(name)) node.remove();
    else kept.set(name, node);
  }
  let at = old.firstChild;
  const removeUntil = (end) => {
    while (at !== end) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  };
  for (const node of [...fresh.childNodes]) {
    const name = key(node);
    const same = name ? kept.get(name) : alike(at, node);
    kept.delete(name);
    if (!same) {
      old.insertBefore(node, at);
      continue;
    }
    if (!name) removeUntil(same);
    else if (same !== at) old.insertBefore(same, at);
    at = same.nextSibling;
    liken(same, node);
  }
  removeUntil(null);
}

// A log that is read at its end stays at its end.
function atEnd(element) {
  return element.scrollTop + element.clientHeight >= element.scrollHeight - 4;
}

function receive({ part, html }) {
  const place = document.getElementById("part-" + part);
  if (!place) return;
  const following = [...place.querySelectorAll("pre.log")].map(atEnd);
  const template = document.createElement("template");
  template.innerHTML = html;
  likenChildren(place, template.content);
  place.querySelectorAll("pre.log").forEach((log, at) => {
    if (following[at] ?? true) log.scrollTop = log.scrollHeight;
  });
}

// Milliseconds from a refusal to the next try: twice as many from one to the next.
const SOONEST = 1000;
const LATEST = 30000;

let source = null;
let pause = SOONEST;

function listen() {
  if (source || document.hidden || !main.hasAttribute("data-live")) return;
  source = new EventSource(address);
  source.addEventListener("open", () => {
    pause = SOONEST;
    say("Live: this page changes by itself.");
  });
  source.addEventListener("part", (event) => receive(JSON.parse(event.data)));
  source.addEventListener("end", (event) => {
    say(JSON.parse(event.data).say);
    main.removeAttribute("data-live");
    rest();
  });
  source.addEventListener("error", () => {
    say("The connection is interrupted; trying again.");
    // After a break a browser tries again by itself, after a refusal it does not.
    if (source.readyState !== EventSource.CLOSED) return;
    rest();
    setTimeout(listen, pause);
    pause = Math.min(pause * 2, LATEST);
  });
}

function rest() {
  source?.close();
  source = null;
}

// A browser keeps few connections to a server: pages that nobody sees give theirs back.
document.addEventListener("visibilitychange", () => (document.hidden ? rest() : listen()));
window.addEventListener("pagehide", rest);
listen();

document.querySelectorAll("pre.log").forEach((log) => (log.scrollTop = log.scrollHeight));

// A picture that does not fit begins where the machine begins.
document.querySelectorAll("figure.machine").forEach((frame) => {
  const start = frame.querySelector(".dot")?.getBoundingClientRect();
  if (start) frame.scrollLeft += start.left - frame.getBoundingClientRect().left - frame.clientWidth / 2;
});

// A state in the picture leads to its input and output.
document.addEventListener("click", (event) => {
  const box = event.target.closest("#part-picture .box");
  const id = box && box.querySelector(".body").id;
  const link = id && document.querySelector(`#part-states a[href="#${CSS.escape(id)}"]`);
  if (!link || event.target.closest("a")) return;
  const row = link.closest("tr");
  const details = row.querySelector("details");
  if (details) details.open = true;
  row.scrollIntoView({ block: "nearest" });
  (details ? details.querySelector("summary") : link).focus({ preventScroll: true });
});

// Lines that one copies.
document.querySelectorAll("pre.copy").forEach((lines) => {
  if (!navigator.clipboard) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "second";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(lines.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  const frame = document.createElement("div");
  frame.className = "copying";
  lines.replaceWith(frame);
  frame.append(lines, button);
});
