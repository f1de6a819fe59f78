// Photographs are gathered here from dropping, choosing and the camera, and sent as one form; the
// answer takes its place in the page, over the photographs that this browser still holds.
const form = document.querySelector("[data-try]"), drop = form.querySelector("[data-drop]");
const chosen = form.querySelector("[data-chosen]"), submit = form.querySelector("[data-submit]");
const answers = document.querySelector("[data-answers]");
let photographs = [];

const asData = (file) => new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => resolve("");
    reader.readAsDataURL(file);
});

function picture(file, alt) {
    const image = document.createElement("img");
    image.alt = alt;
    asData(file).then((data) => { image.src = data; });
    return image;
}

function add(files) {
    photographs = [...photographs, ...files].slice(0, Number(form.dataset.most));
    show();
}

function row(file) {
    const item = document.createElement("li"), remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = form.dataset.remove;
    remove.setAttribute("aria-label", `${form.dataset.remove}: ${file.name}`);
    remove.addEventListener("click", () => {
        const index = photographs.indexOf(file);
        photographs = photographs.filter((other) => other !== file);
        show();
        (chosen.querySelectorAll("button")[index] ?? form.querySelector("input[type=file]")).focus();
    });
    item.append(picture(file, file.name), remove);
    return item;
}

// In one go: what is shown is what would be sent, however soon the next photograph comes or goes.
const rows = new WeakMap();
function show() {
    for (const file of photographs) if (!rows.has(file)) rows.set(file, row(file));
    chosen.replaceChildren(...photographs.map((file) => rows.get(file)));
}

for (const input of form.querySelectorAll("input[type=file]")) {
    input.hasChangeListener = true; // else the theme looks for a text field beside it, and fails
    input.addEventListener("change", () => { add(input.files); input.value = ""; });
}
for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("is-over"); });
}
for (const kind of ["dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.remove("is-over"); });
}
drop.addEventListener("drop", (event) => add(event.dataTransfer.files));

function refuse(sentence) {
    const said = document.createElement("p");
    said.className = "t-refusal";
    said.setAttribute("role", "alert");
    said.textContent = sentence;
    answers.replaceChildren(said);
}

async function ask() {
    const sent = [...photographs], body = new FormData(form);
    body.delete("photographs");
    for (const file of sent) body.append("photographs", file);
    const answered = await fetch(form.action, { method: "POST", body, redirect: "error" });
    const page = new DOMParser().parseFromString(await answered.text(), "text/html");
    const said = page.querySelector("[data-answers]");
    if (!answered.ok || !said) throw new Error(`answered ${answered.status}`);
    for (const frame of said.querySelectorAll("[data-number]")) {
        const { number } = frame.dataset;
        frame.prepend(picture(sent[number - 1], `${form.dataset.photograph} ${number}`));
    }
    answers.replaceChildren(...said.childNodes);
    answers.dispatchEvent(new Event("pictures", { bubbles: true }));
    answers.querySelector("[data-heading]").focus();
}

form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (submit.ariaDisabled === "true") return;
    const text = submit.textContent;
    submit.ariaDisabled = answers.ariaBusy = "true";
    submit.textContent = submit.dataset.busy;
    try {
        await ask();
    } catch {
        refuse(form.dataset.failed);
    } finally {
        submit.ariaDisabled = answers.ariaBusy = "false";
        submit.textContent = text;
    }
});
