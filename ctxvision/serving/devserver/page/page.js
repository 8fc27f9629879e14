// The page shows only answers of the REST API, and inserts them as text, never as HTML.
"use strict";

const model = document.querySelector('meta[name="model"]').content;
const api = `/v1/models/${encodeURIComponent(model)}`;
const byId = (id) => document.getElementById(id);
let signatures = {};
let shown = 0;

async function ask(path, body) {
  const options = body && { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  let answer;
  try {
    const response = await fetch(api + path, options);
    answer = await response.json();
  } catch {
    throw new Error("The server did not answer: see whether ctxvision serve still runs, and try again.");
  }
  if (answer.error) throw new Error(answer.error);
  return answer;
}

async function predict(signature, image, texts) {
  const instance = { image_bytes: { b64: image }, ...(texts === undefined ? {} : { texts }) };
  const { predictions } = await ask(":predict", { signature_name: signature, instances: [instance] });
  if (!predictions[0].valid) throw new Error("This file is no JPEG, PNG, GIF, BMP or still WebP picture, or it is damaged.");
  return predictions[0];
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("This file cannot be read."));
    reader.readAsDataURL(file);
  });
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;
const cosine = (score) => score.toFixed(2).replace("-", "−");
const signed = (share) => `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(1)}`;

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function bar(share, against) {
  const made = element("span", against ? "bar against" : "bar");
  made.style.width = percent(share);
  made.setAttribute("aria-hidden", "true");
  return made;
}

function showLabels(card, answer, before) {
  const was = before && new Map(before.labels.map((label, place) => [label, before.scores[place]]));
  const items = answer.labels.map((label, place) => {
    const item = element("li");
    const passes = answer.accepted && answer.accepted[place] ? " ✓ passes its threshold" : "";
    item.append(bar(answer.scores[place]), element("span", "name", label + passes));
    if (was && was.has(label)) item.append(element("span", "was", `was ${percent(was.get(label))}`));
    item.append(element("span", "number", percent(answer.scores[place])));
    return item;
  });
  card.querySelector(".labels").replaceChildren(...items);
}

function row(name, score, share, most) {
  const made = element("tr");
  const head = element("th", "", name);
  head.scope = "row";
  const adds = element("td", "number adds");
  if (share !== undefined) {
    const track = element("span", "track");
    track.append(bar(most ? Math.abs(share) / most : 0, share < 0));
    adds.append(element("div", "share"));
    adds.firstChild.append(track, element("span", "points", signed(share)));
  }
  made.append(head, element("td", "number", score), adds);
  return made;
}

function showPhrases(card, answer, explained) {
  const rows = explained ? rowsOfReasons(answer, explained) : answer.phrases.flatMap((phrase, place) =>
    phrase ? [row(phrase, cosine(answer.phrase_scores[place]))] : []);
  card.querySelector("tbody").replaceChildren(...rows);
  if (!explained) return;
  card.querySelector("thead .adds").textContent = `points added to ${explained.labels[0]}`;
  const said = card.querySelector(".reasons");
  const phrases = explained.phrase_shares[0].reduce((sum, share) => sum + share, 0);
  const parts = [["picture", explained.visual_shares[0]], ["phrase generator", explained.query_shares[0]], ["phrases", phrases]];
  // Emphasises the largest part.
  const most = parts.reduce((one, other) => (other[1] > one[1] ? other : one));
  const told = parts.map((part) => element(part === most ? "strong" : "span", "", `${part[0]} ${signed(part[1])}`));
  said.replaceChildren(`${explained.labels[0]}: `, ...told.flatMap((part) => [part, ", "]).slice(0, -1), " points");
  said.hidden = false;
  card.querySelector(".why").textContent = "Why";
}

// Puts phrases with nearly the same meaning into one row; the largest share comes first.
function rowsOfReasons(answer, explained) {
  const groups = new Map();
  answer.phrases.forEach((phrase, place) => {
    if (!phrase) return;
    const group = explained.phrase_groups[place];
    if (!groups.has(group)) groups.set(group, { names: [], score: answer.phrase_scores[group], share: 0 });
    groups.get(group).names.push(phrase);
    groups.get(group).share += explained.phrase_shares[0][place];
  });
  const reasons = [...groups.values()].map(({ names, score, share }) => [names.join(", "), cosine(score), share]);
  reasons.push(["the picture itself", "", explained.visual_shares[0]]);
  reasons.push(["what the phrase generator sees", "", explained.query_shares[0]]);
  reasons.sort((one, other) => Math.abs(other[2]) - Math.abs(one[2]));
  const most = Math.abs(reasons[0][2]);
  return reasons.map(([name, score, share]) => row(name, score, share, most));
}

function say(text) {
  byId("status").textContent = text;
}

function offerOwnPhrase(card, name, image, before) {
  const form = card.querySelector("form");
  const change = card.querySelector(".change");
  const without = card.querySelector(".without");
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const phrase = form.elements.phrase.value;
    try {
      const answer = await predict("with_context", image, phrase);
      const old = before.labels.indexOf(answer.labels[0]);
      const moved = old < 0 ? "" : `, ${signed(answer.scores[0] - before.scores[old])} points`;
      change.textContent = `With “${phrase}”: ${answer.labels[0]} ${percent(answer.scores[0])}${moved}.`;
      showLabels(card, answer, before);
      without.hidden = false;
    } catch (error) {
      change.textContent = error.message;
    }
    change.hidden = false;
    say(`${name}: ${change.textContent}`);
  });
  without.addEventListener("click", () => {
    showLabels(card, before);
    form.reset();
    change.hidden = without.hidden = true;
    form.elements.phrase.focus();
    say(`${name}: without a phrase of your own again.`);
  });
}

async function show(file) {
  const card = byId("card").content.firstElementChild.cloneNode(true);
  const picture = card.querySelector("img");
  picture.src = URL.createObjectURL(file);
  picture.alt = file.name;
  picture.addEventListener("error", () => { picture.hidden = true; });
  card.querySelector("h2").textContent = file.name;
  card.querySelector("h2").id = `answer-${++shown}`;
  card.setAttribute("aria-labelledby", `answer-${shown}`);
  byId("answers").prepend(card);
  byId("clear").hidden = false;
  try {
    const image = await base64(file);
    const answer = await predict("serving_default", image);
    const explained = "explain" in signatures ? await predict("explain", image) : undefined;
    showLabels(card, answer);
    showPhrases(card, answer, explained);
    if ("with_context" in signatures) offerOwnPhrase(card, file.name, image, answer);
    card.querySelector(".found").hidden = false;
    say(`${file.name}: ${answer.labels[0]}, ${percent(answer.scores[0])}.`);
  } catch (error) {
    const problem = card.querySelector(".problem");
    problem.textContent = error.message;
    problem.hidden = false;
    say(`${file.name}: ${error.message}`);
  }
}

async function showAll(files) {
  await ready;
  for (const file of files) {
    say(`${file.name}: asking the model …`);
    await show(file);
  }
}

async function start() {
  try {
    const { model_spec: spec, metadata } = await ask("/metadata");
    signatures = metadata.signature_def.signature_def;
    byId("version").textContent = `version ${spec.version}`;
    if (!("with_context" in signatures)) {
      byId("note").textContent = "This export holds no text ops, so a phrase of your own cannot be added: export with ctxvision export --with-text.";
      byId("note").hidden = false;
    }
  } catch (error) {
    say(error.message);
  }
}

const ready = start();
byId("pictures").addEventListener("change", (event) => {
  const files = [...event.target.files];
  event.target.value = ""; // allows the same picture to be chosen again
  showAll(files);
});
byId("clear").addEventListener("click", () => {
  for (const picture of document.querySelectorAll("article img")) URL.revokeObjectURL(picture.src);
  byId("answers").replaceChildren();
  byId("clear").hidden = true;
  say("Cleared.");
  byId("pictures").focus();
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") showAll([...event.dataTransfer.files]);
  });
}
